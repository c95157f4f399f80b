"""Fit the polynomials of the Triton backend and of the bump in float64, and write both ``_polynomials.py``.

    python native/tools/fit_triton.py     # needs mpmath, takes a minute or two

The solver and the functions are those of ``fit.py``; what differs is the chip. A GPU divides once for both Gaussian
forms, so they share one ``a``, where the CPU's registers are worth an ``a`` each and a coarser target.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bump
import fit
import tails
from mpmath import mp, mpf

# "half" is float32 arithmetic for results of 11 bits at most, whose last one is 5e-4.
MILLS = {"half": mpf("2.25"), "float": mpf(4), "double": mpf(5)}  # the number, of few digits, of the least degrees
REACH = {"half": mpf("13.3"), "float": mpf("13.3"), "double": mpf("39")}  # beyond it exp(-v²/2) is zero there
TARGET = {"half": mpf("1.2e-5"), "float": mpf("6e-8"), "double": mpf("6e-17")}
SOURCE = Path(__file__).parents[2] / "src" / "bevel"
HEAD = """\
\"""{title}

Written by native/tools/fit_triton.py; do not edit. Minimax polynomials, ascending powers, one a line.
\"""

# ruff: noqa: E501
# fmt: off

from __future__ import annotations
"""


def rows(ctype: str) -> list[fit.Fit]:
    a, top = MILLS[ctype], REACH[ctype]
    end = (top - a) / (top + a)
    single = ctype != "double"
    ratio = f"t = (v-a)/(v+a), a = {mp.nstr(a, 3).removesuffix('.0')}"
    gauss = [
        (
            "gauss_survival",
            lambda t: fit.mills(fit.v_of(t, a)) * (fit.v_of(t, a) / a + 1),
            f"survival·exp(v²/2)·(v/a + 1), {ratio}",
        ),
        (
            "gauss_excess",
            lambda t: fit.mills_excess(fit.v_of(t, a)) * (fit.v_of(t, a) / a + 1) ** 2,
            f"excess·exp(v²/2)·(v/a + 1)², {ratio}",
        ),
        (
            "gauss_second",
            lambda t: tails.gauss(fit.v_of(t, a)) * (fit.v_of(t, a) / a + 1) ** 3,
            f"second·exp(v²/2)·(v/a + 1)³, {ratio}",
        ),
    ]
    low = mpf(0) if single else mpf(-1)  # in double the variable is centred: t = 2s - 1

    def centred(function: fit.Function) -> fit.Function:
        return function if single else lambda t: function((t + 1) / 2)

    variable = "s" if single else "t = 2s - 1"
    plain = [
        ("log1p", low, centred(fit.log1p_form), f"log1p(s)/s, of {variable}"),
        ("atan", low, centred(fit.atan_form), f"atan(r)/r, s = r², of {variable}"),
        ("cosine_density", mpf(0), fit.cosine_form(2), "density/z², of z² = (1-v)²"),
        ("cosine_survival", mpf(0), fit.cosine_form(3), "survival/z³"),
        ("cosine_excess", mpf(0), fit.cosine_form(4), "excess/z⁴"),
        ("cosine_second", mpf(0), fit.cosine_form(5), "second/z⁵"),
        (
            "logistic_second",
            low,
            centred(tails.logistic),
            f"second/e, e = exp(-v), of {'e' if single else 't = 2e - 1'}",
        ),
    ]
    half_ln2 = mp.log(2) / 2 * mpf("1.0001")
    found = []
    if ctype != "half":  # which takes exp of coefficients alone, from "float"
        found.append(fit.Fit("exp", lambda r: mp.exp(-r), -half_ln2, half_ln2, ctype, "exp(-r), |r| <= ln(2)/2"))
    found += [fit.Fit(name, f, mpf(-1), end, ctype, note) for name, f, note in gauss]
    found += [fit.Fit(name, f, start, mpf(1), ctype, note) for name, start, f, note in plain]
    bumps = [fit.Fit(*row, start=start) for *row, start in fit.bump_rows("float" if single else "double")]
    second = replace(
        bumps[-1], name="bump_second", function=bump.second_form(), note="second·exp(1/(2z))/z⁶, of the same t"
    )
    if single:
        bumps.append(second)
    else:  # those of the kernels' own that fit_second.py writes
        found = [row for row in found if row.name not in ("gauss_second", "logistic_second")]
    return found + [replace(row, ctype=ctype, start=3 if ctype == "half" else row.start) for row in bumps]


def least_degree(row: fit.Fit) -> tuple[list[mpf], mpf]:
    for degree in range(max(3 if row.ctype == "half" else 4, row.start), 50):
        coefficients, error = fit.remez(row, degree)
        if error <= TARGET[row.ctype]:
            return coefficients, error
    raise RuntimeError(f"no polynomial of degree < 50 reaches {TARGET[row.ctype]} for {row.name}")


def entry(row: fit.Fit) -> list[str]:
    coefficients, error = least_degree(row)
    print(f"{row.ctype:6} {row.name:16} degree {len(coefficients) - 1:2}  error {mp.nstr(error, 2)}", flush=True)
    digits = 17 if row.ctype == "double" else 9
    numbers = ", ".join(mp.nstr(c, digits) for c in coefficients)
    return [f"    # {row.note}: relative error {mp.nstr(error, 2)}", f'    "{row.name}": ({numbers}),']


def table(name: str, entries: list[list[str]]) -> list[str]:
    return ["", f"{name}: dict[str, tuple[float, ...]] = {{", *(line for lines in entries for line in lines), "}"]


def write(path: Path, title: str, *tables: list[str]) -> None:
    lines = [line for lines in tables for line in lines]
    path.write_text(HEAD.format(title=title) + "\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """The bump's float64 rows are the kernel's own, which Triton reads too; all others are Triton's alone."""
    fitted = {ctype: {row.name: entry(row) for row in rows(ctype)} for ctype in TARGET}
    bump = {name: lines for name, lines in fitted["double"].items() if name.startswith("bump_")}
    others = [lines for name, lines in fitted["double"].items() if name not in bump]
    write(SOURCE / "kernels" / "_polynomials.py", "The bump's forms in float64.", table("BUMP", list(bump.values())))
    write(
        SOURCE / "ops" / "triton" / "_polynomials.py",
        "Polynomials that Triton programs evaluate.",
        table("HALF", list(fitted["half"].values())),
        table("SINGLE", list(fitted["float"].values())),
        table("DOUBLE", others),
    )


if __name__ == "__main__":
    main()
