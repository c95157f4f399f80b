"""Fit every polynomial of the native library and write ``src/coefficients.h``.

    python native/tools/fit.py            # rewrites the header next to it; needs mpmath, takes a minute or two

Each row of FITS is a smooth positive function on an interval. It is approximated by a polynomial that is minimax in
*relative* error (Remez exchange in 40-digit arithmetic), so that tails keep their digits; or in error against a scale
of its own. The degree is the least that meets the target of its precision: 8e-8 for float, 6e-17 for double (the
rounding error of either is 6e-8 and 1.1e-16); the error reached stands in the header next to each polynomial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bump
import mpmath as m
import tails
from mpmath import mp, mpf

mp.dps = 40
TARGET = {"float": mpf("8e-8"), "double": mpf("6e-17")}
Real = mpf
Function = Callable[[Real], Real]


@dataclass(frozen=True)
class Fit:
    name: str
    function: Function
    low: Real
    high: Real
    ctype: str
    note: str
    target: Real | None = None
    scale: Function | None = None  # what errors count against; the function itself if None
    start: int = 3  # no degree below it is tried


def chebyshev_points(low: Real, high: Real, count: int) -> list[Real]:
    """Extrema of the Chebyshev polynomial of degree count - 1, ascending."""
    return [(low + high) / 2 - (high - low) / 2 * m.cos(m.pi * k / (count - 1)) for k in range(count)]


def horner(coefficients: list[Real], t: Real) -> Real:
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * t + c
    return total


def remez(fit: Fit, degree: int) -> tuple[list[Real], Real]:
    """Coefficients (ascending) of the polynomial of least relative error, and that error on a dense grid."""
    grid = chebyshev_points(fit.low, fit.high, 24 * (degree + 2) + 1)
    values = [fit.function(t) for t in grid]
    scales = values if fit.scale is None else [fit.scale(t) for t in grid]
    picks = [24 * k for k in range(degree + 2)]
    picks[-1] = len(grid) - 1
    best: tuple[list[Real], Real] | None = None
    for _ in range(12):
        rows = m.matrix(degree + 2, degree + 2)
        right = m.matrix(degree + 2, 1)
        for r, p in enumerate(picks):
            for k in range(degree + 1):
                rows[r, k] = grid[p] ** k
            rows[r, degree + 1] = (-1) ** r * scales[p]
            right[r] = values[p]
        solution = m.lu_solve(rows, right)
        coefficients = [solution[k] for k in range(degree + 1)]
        errors = [(horner(coefficients, t) - v) / s for t, v, s in zip(grid, values, scales, strict=True)]
        worst = max(abs(e) for e in errors)
        if best is None or worst < best[1]:
            best = (coefficients, worst)
        if worst < abs(solution[degree + 1]) * mpf("1.02"):
            break
        picks = exchange(errors, degree + 2, picks)
    assert best is not None
    return best


def exchange(errors: list[Real], count: int, old: list[int]) -> list[int]:
    """Alternating extrema of the error: one per run of equal sign; the least of surplus ends are dropped."""
    runs: list[int] = []
    for i, e in enumerate(errors):
        if runs and (errors[runs[-1]] > 0) == (e > 0):
            if abs(e) > abs(errors[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
    return runs if len(runs) == count else old


def least_degree(fit: Fit) -> tuple[list[Real], Real]:
    target = TARGET[fit.ctype] if fit.target is None else fit.target
    for degree in range(fit.start, 50):
        # A single solve at Chebyshev extrema is within a small factor of the optimum: cheap enough to search with.
        coefficients, error = remez(fit, degree)
        if error <= target:
            return coefficients, error
    raise RuntimeError(f"no polynomial of degree < 50 reaches {target} for {fit.name}")


# ---- the functions --------------------------------------------------------------------------------------------------

# a in t = (v - a)/(v + a) for survival and excess: where the error, which swings by a factor of ten with a, is least.
# In float that saves a degree each against a round number.
SURVIVAL_A = {"float": mpf("4.3125"), "double": mpf(5)}
EXCESS_A = {"float": mpf("3.90625"), "double": mpf(5)}
NEAR_TARGET = mpf("5e-9")  # of gauss_near: it is there for accuracy, so its own error must not show
BULK_A, BULK_REACH, BULK_TARGET, MILLS_TARGET = mpf("3.5"), mpf("6.51"), mpf("3e-8"), mpf("3e-7")
REACH = {"float": mpf("12.51"), "double": mpf("37.7")}  # reach_of() in task.h, and a little more


def mills(v: Real) -> Real:
    """Survival of the Gaussian over exp(-v²/2)."""
    return m.erfc(v / m.sqrt(2)) / 2 * m.exp(v * v / 2)


def mills_excess(v: Real) -> Real:
    """Excess over exp(-v²/2); the difference loses about v⁴ and so gets 20 digits more."""
    with mp.workdps(60):
        return 1 / m.sqrt(2 * m.pi) - v * mills(v)


def v_of(t: Real, a: Real) -> Real:
    return a * (1 + t) / (1 - t)


def gauss_near(s: Real) -> Real:
    """Excess of the Gaussian plus v/2, as a function of s = v²: even in v, so analytic in s."""
    v = m.sqrt(s)
    return m.npdf(v) + v * m.erf(v / m.sqrt(2)) / 2


def bulk_form(r: Real) -> Real:
    """Survival over exp(-v²/2), as the factor of r = 1/(v + a)."""
    return mills(1 / r - BULK_A) / r


def bulk_scale(r: Real) -> Real:
    """What bulk_form's error counts against: the peak of v·survival and survival, not their values far out."""
    v = 1 / r - BULK_A
    return m.exp(v * v / 2) / (max(v, mpf(1)) * r)


def excess_scale(r: Real) -> Real:
    """What bulk_form's error counts against where the excess is formed from it: the excess itself."""
    v = 1 / r - BULK_A
    return (m.npdf(0) - v * mills(v)) / (max(v, mpf(1)) * r)


def cosine_form(power: int) -> Function:
    """Density (2), survival (3), excess (4), second (5) of the raised cosine over z^power, z = 1 - v, of z²."""

    def form(s: Real) -> Real:
        s = max(s, mpf("1e-30"))
        with mp.workdps(90):
            z = m.sqrt(s)
            full = {
                2: m.sin(m.pi * z / 2) ** 2,
                3: z / 2 - m.sin(m.pi * z) / (2 * m.pi),
                4: z * z / 4 - m.sin(m.pi * z / 2) ** 2 / m.pi**2,
                5: z**3 / 12 - (z - m.sin(m.pi * z) / m.pi) / (2 * m.pi**2),
            }[power]
            return full / z**power

    return form


def atan_form(s: Real) -> Real:
    r = m.sqrt(max(s, mpf("1e-40")))
    return m.atan(r) / r


def log1p_form(e: Real) -> Real:
    return m.log1p(e) / e if e > mpf("1e-30") else mpf(1)


def fits(ctype: str) -> list[Fit]:
    sa, xa, top = SURVIVAL_A[ctype], EXCESS_A[ctype], REACH[ctype]
    half_ln2 = m.log(2) / 2 * mpf("1.0001")
    rows = [
        ("exp", lambda r: m.exp(-r), -half_ln2, half_ln2, "exp(-r), |r| <= ln(2)/2"),
        (
            "gauss_survival",
            lambda t: mills(v_of(t, sa)) * (v_of(t, sa) + sa),
            mpf(-1),
            (top - sa) / (top + sa),
            "survival·exp(v²/2)·(v + a), t = (v-a)/(v+a), a = survival_a",
        ),
        (
            "gauss_excess",
            lambda t: mills_excess(v_of(t, xa)) * (v_of(t, xa) + xa) ** 2,
            mpf(-1),
            (top - xa) / (top + xa),
            "excess·exp(v²/2)·(v + a)², t = (v-a)/(v+a), a = excess_a",
        ),
        ("log1p", log1p_form, mpf(0), mpf(1), "log1p(e)/e, 0 <= e <= 1")
        if ctype == "float"
        else ("log1p", lambda t: log1p_form((t + 1) / 2), mpf(-1), mpf(1), "log1p(e)/e, t = 2e - 1"),
        ("cosine_density", cosine_form(2), mpf(0), mpf(1), "density/z², s = z², z = 1 - v"),
        ("cosine_survival", cosine_form(3), mpf(0), mpf(1), "survival/z³"),
        ("cosine_excess", cosine_form(4), mpf(0), mpf(1), "excess/z⁴"),
        ("atan", atan_form, mpf(0), mpf(1), "atan(r)/r, s = r²")
        if ctype == "float"
        else ("atan", lambda t: atan_form((t + 1) / 2), mpf(-1), mpf(1), "atan(r)/r, t = 2r² - 1"),
    ]
    found = [Fit(name, f, low, high, ctype, note) for name, f, low, high, note in rows]
    found += [Fit(*row, start=start) for *row, start in bump_rows(ctype)]
    found += second_rows(ctype)
    if ctype == "float":
        # Where the quotient of gauss_excess, with its seven roundings, would cost too much.
        note = "excess + v/2 of the Gaussian, s = v², v <= 1"
        found.append(Fit("gauss_near", gauss_near, mpf(0), mpf(1), ctype, note, NEAR_TARGET))
        note = "survival·exp(v²/2)·(v + a), by powers of r = 1/(v + a), a = bulk_a, not to be seen beside its peak"
        low, high = 1 / (BULK_REACH + BULK_A), 1 / BULK_A
        found.append(Fit("gauss_bulk", bulk_form, low, high, ctype, note, BULK_TARGET, bulk_scale))
        note = "the same, so that the excess is good to so much of itself"
        found.append(Fit("gauss_mills", bulk_form, low, high, ctype, note, MILLS_TARGET, excess_scale))
    return found


def second_rows(ctype: str) -> list[Fit]:
    """Second tail integrals."""
    a, top, single = tails.A[ctype], REACH[ctype], ctype == "float"
    low, high = bump.t_of(1 / (2 * bump.LARGEST[ctype])), bump.t_of(mpf(1))
    note = "second·exp(v²/2)·(v + a)³, t = (v-a)/(v+a), a = second_a"

    def gauss(t: Real) -> Real:
        return tails.gauss(v_of(t, a)) * (v_of(t, a) + a) ** 3

    def logistic(t: Real) -> Real:
        return tails.logistic(t if single else (t + 1) / 2)

    variable = "e = exp(-v)" if single else "e = exp(-v), t = 2e - 1"
    return [
        Fit("cosine_second", cosine_form(5), mpf(0), mpf(1), ctype, "second/z⁵, s = z², z = 1 - v"),
        Fit("gauss_second", gauss, mpf(-1), (top - a) / (top + a), ctype, note, start=8 if single else 20),
        Fit("logistic_second", logistic, mpf(0 if single else -1), mpf(1), ctype, f"second/e, {variable}"),
        Fit(
            "bump_second", bump.second_form(), low, high, ctype, "second·exp(1/(2z))/z⁶, of bump_survival's t", start=11
        ),
    ]


def bump_rows(ctype: str) -> list[tuple[str, Function, Real, Real, str, str, int]]:
    return [(name, f, low, high, ctype, note, start) for name, f, low, high, note, start in bump.rows(ctype)]


def literal(c: Real, ctype: str) -> str:
    return m.nstr(c, 9 if ctype == "float" else 17) + ("f" if ctype == "float" else "")


def render(ctype: str) -> str:
    suffix = "f" if ctype == "float" else ""
    bulk = f", bulk_a = {m.nstr(BULK_A, 9)}{suffix}" if ctype == "float" else ""
    lines = [
        f"template <> struct Coefficients<{ctype}> {{",
        f"    static constexpr {ctype} survival_a = {m.nstr(SURVIVAL_A[ctype], 9)}{suffix}, "
        f"excess_a = {m.nstr(EXCESS_A[ctype], 9)}{suffix}, "
        f"second_a = {m.nstr(tails.A[ctype], 9)}{suffix}{bulk};",
    ]
    for fit in fits(ctype):
        coefficients, error = least_degree(fit)
        print(f"{ctype:6} {fit.name:16} degree {len(coefficients) - 1:2}  error {m.nstr(error, 2)}", flush=True)
        body = ", ".join(literal(c, ctype) for c in coefficients)
        lines.append(f"    // {fit.note}: {'' if fit.scale else 'relative '}error {m.nstr(error, 2)}")
        lines.append(f"    static constexpr {ctype} {fit.name}[] = {{{body}}};")
    lines.append("};")
    return "\n".join(lines)


def main() -> None:
    head = (
        "// Written by tools/fit.py; do not edit. Minimax polynomials, ascending powers.\n"
        "#pragma once\n\n"
        "namespace bevel {\n\n"
        "template <class T> struct Coefficients;\n\n"
    )
    text = head + render("float") + "\n\n" + render("double") + "\n\n}  // namespace bevel\n"
    Path(__file__).parents[1].joinpath("src", "coefficients.h").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
