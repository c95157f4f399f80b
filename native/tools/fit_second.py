"""Fit the second tail integrals that have no elementary form, and write ``kernels/_second.py``.

    python native/tools/fit_second.py     # needs mpmath, takes a minute or two

They are those of tails.py and bump.py.
"""

from __future__ import annotations

import bump
import fit
import mpmath as m
import tails
from fit_triton import HEAD, REACH, SOURCE, TARGET
from mpmath import mpf

A = tails.A["double"]


def gauss(t: mpf) -> mpf:
    """Second tail integral over exp(-v²/2), times (v/a + 1)³."""
    v = fit.v_of(t, A)
    return tails.gauss(v) * (v / A + 1) ** 3


def logistic(t: mpf) -> mpf:
    """−Li₂(−e)/e of t = 2e − 1."""
    return tails.logistic((t + 1) / 2)


def rows() -> list[fit.Fit]:
    top, low = REACH["double"], bump.t_of(1 / (2 * bump.LARGEST["double"]))
    return [
        fit.Fit("logistic", logistic, mpf(-1), mpf(1), "double", "second/e, e = exp(-v), t = 2e - 1", start=18),
        fit.Fit(
            "gaussian",
            gauss,
            mpf(-1),
            (top - A) / (top + A),
            "double",
            "second·exp(v²/2)·(v/a + 1)³, t = (v-a)/(v+a), a = 5",
            start=20,
        ),
        fit.Fit(
            "bump",
            bump.second_form(),
            low,
            bump.t_of(mpf(1)),
            "double",
            "second·exp(1/(2z))/z⁶, z = 1 - v, t = (z-a)/(z+a), a = 1/4",
            start=34,
        ),
    ]


def variance_of_bump() -> mpf:
    return 4 * m.exp(mpf(-1) / 2) * bump.second_form()(bump.t_of(mpf(1)))


def entry(row: fit.Fit) -> list[str]:
    for degree in range(row.start, 50):
        coefficients, error = fit.remez(row, degree)
        print(row.name, degree, m.nstr(error, 2), flush=True)
        if error <= TARGET["double"]:
            numbers = ", ".join(m.nstr(c, 17) for c in coefficients)
            return [f"    # {row.note}: relative error {m.nstr(error, 2)}", f'    "{row.name}": ({numbers}),']
    raise RuntimeError(f"no polynomial of degree < 50 reaches the target for {row.name}")


def main() -> None:
    lines = [line for row in rows() for line in entry(row)]
    head = HEAD.format(title="Second tail integrals in float64.").replace("fit_triton", "fit_second")
    table = ["", "SECOND: dict[str, tuple[float, ...]] = {", *lines, "}", ""]
    variance = f"BUMP_VARIANCE = {m.nstr(variance_of_bump(), 17)}\n"
    (SOURCE / "kernels" / "_second.py").write_text(head + "\n".join(table) + variance, encoding="utf-8")


if __name__ == "__main__":
    main()
