"""Add the kernel ``gelu_tanh`` to ``smoothing.json``: the functions, sharpnesses and places of the Gaussian's rows.

    python tests/oracle/make_gelu_tanh.py     # needs mpmath, takes minutes

By quadrature of the definition, with the density of ``make_bends.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import mpmath as m
from make_bends import gelu_tanh
from mpmath import mp, mpf

from bevel import kinked

mp.dps = 30
FILE = Path(__file__).parent / "smoothing.json"
NAMES = {"abs": "absolute", "softshrink": "soft_shrink"}


def row(given: dict) -> dict:
    f = kinked.FUNCTIONS[NAMES.get(given["function"], given["function"])](**given["args"])
    exact = {float(p) / q: mpf(p) / q for q in (1, 2, 6) for p in range(-6, 7)}  # ⅙ is no float
    number = {c: exact.get(c, mpf(str(c))) for c in (f.left, f.offset, *f.knots, *f.jumps, *f.steps)}
    x, n = mpf(str(given["x"])), mpf(str(given["n"]))
    knots = [number[k] for k in f.knots]

    def at(y: mpf) -> tuple[mpf, mpf]:
        value, slope = number[f.left] * y + number[f.offset], number[f.left]
        for knot, jump, step in zip(knots, f.jumps, f.steps, strict=True):
            if y > knot:
                value, slope = value + number[jump] * (y - knot) + number[step], slope + number[jump]
        return value, slope

    cuts = sorted({*(mpf(u) for u in range(-24, 25)), *(u for k in knots if abs(u := n * (x - k)) < 24)})
    value, slope = (m.quad(lambda s, i=i: at(x - s / n)[i] * gelu_tanh(s), cuts) for i in (0, 1))
    slope += sum(number[s] * n * gelu_tanh(n * (x - k)) for k, s in zip(knots, f.steps, strict=True))
    return given | {"kernel": "gelu_tanh", "value": m.nstr(value, 22), "slope": m.nstr(slope, 22)}


def main() -> None:
    rows = [r for r in json.loads(FILE.read_text()) if r["kernel"] != "gelu_tanh"]
    rows += [row(r) for r in rows if r["kernel"] == "gaussian"]
    FILE.write_text(json.dumps(rows, indent=0), encoding="utf-8")


if __name__ == "__main__":
    main()
