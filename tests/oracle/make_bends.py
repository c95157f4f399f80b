"""Write ``bends.json``: piecewise quadratics convolved with kernels, by quadrature of their definition.

    python tests/oracle/make_bends.py     # needs mpmath, takes minutes

It uses the densities and nothing else of what the library computes with. A row has value, slope, curvature and the
derivative by n, as decimal strings.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import mpmath as m
from mpmath import mp, mpf

mp.dps = 30  # for the Gaussian 50: its tail at 12 widths is 1e-35, and quad counts errors against 1
DENSITIES: dict[str, tuple[Callable[[mpf], mpf], int | None]] = {  # the density, and where it ends
    "gaussian": (lambda u: m.exp(-u * u / 2) / m.sqrt(2 * m.pi), None),
    "logistic": (lambda u: 1 / (2 + m.exp(u) + m.exp(-u)), None),
    "laplace": (lambda u: m.exp(-abs(u)) / 2, None),
    "box": (lambda u: mpf(1) / 2, 1),
    "triangle": (lambda u: 1 - abs(u), 1),
    "epanechnikov": (lambda u: mpf(3) / 4 * (1 - u * u), 1),
    "biweight": (lambda u: mpf(15) / 16 * (1 - u * u) ** 2, 1),
    "triweight": (lambda u: mpf(35) / 32 * (1 - u * u) ** 3, 1),
    "cosine": (lambda u: (1 + m.cos(m.pi * u)) / 2, 1),
    "gelu_tanh": (lambda u: gelu_tanh(u), None),
    "bump": (lambda u: m.exp(-1 / (1 - u * u)) / mass() if abs(u) < 1 else mpf(0), 1),
}
FUNCTIONS: dict[str, dict[str, list[mpf] | mpf]] = {
    "hardswish": {"knots": [-3, 3], "jumps": [mpf(-1) / 2] * 2, "bends": [mpf(1) / 3, mpf(-1) / 3], "left_bend": 0},
    "relu_squared": {"knots": [0], "jumps": [0], "bends": [2], "left_bend": 0},
    "leaky": {"knots": [0], "jumps": [0], "bends": [mpf(3) / 2], "left_bend": mpf(1) / 2},
}
FAR = {None: 12, 1: mpf("0.875")}
STEEP = {"gaussian": 45, "gelu_tanh": 24}  # tails that need digits, and where they are nothing


def gelu_tanh(u: mpf) -> mpf:
    """The derivative of (1 + tanh(√(2/π)·(u + 0.044715u³)))/2."""
    rate = 2 * m.sqrt(2 / m.pi)
    h = rate * u * (1 + mpf("0.044715") * u * u)
    return rate * (1 + 3 * mpf("0.044715") * u * u) / (2 + m.exp(h) + m.exp(-h))


def mass() -> mpf:
    global _mass
    if _mass is None:
        _mass = m.quad(lambda u: m.exp(-1 / (1 - u * u)) if abs(u) < 1 else mpf(0), m.linspace(-1, 1, 17))
    return _mass


_mass: mpf | None = None


def derivatives(f: dict, x: mpf) -> tuple[mpf, mpf, mpf]:
    """f, its slope and its second derivative between the knots."""
    value, slope, bend = f["left_bend"] * x * x / 2, f["left_bend"] * x, mpf(f["left_bend"])
    for knot, jump, change in zip(f["knots"], f["jumps"], f["bends"], strict=True):
        if x > knot:
            d = x - knot
            value, slope, bend = value + jump * d + change * d * d / 2, slope + jump + change * d, bend + change
    return value, slope, bend


def row(kernel: str, function: str, n: mpf, x: mpf) -> dict[str, str]:
    pdf, end = DENSITIES[kernel]
    f, reach = FUNCTIONS[function], end or STEEP.get(kernel, 160)
    cuts = sorted({mpf(-reach), mpf(0), mpf(reach), *(u for k in f["knots"] if abs(u := n * (x - k)) < reach)})
    points: list[mpf] = []
    for a, b in itertools.pairwise(cuts):
        parts = 8 if end else max(4, int((b - a) / (1 if kernel == "gelu_tanh" else 4)))
        points += m.linspace(a, b, parts + 1)[:-1]
    points.append(cuts[-1])

    def integral(of: Callable[[mpf], mpf]) -> mpf:
        return m.quad(lambda s: of(s) * pdf(s), points)

    value = integral(lambda s: derivatives(f, x - s / n)[0])
    slope = integral(lambda s: derivatives(f, x - s / n)[1])
    curvature = integral(lambda s: derivatives(f, x - s / n)[2])
    for knot, jump in zip(f["knots"], f["jumps"], strict=True):
        u = n * (x - knot)
        curvature += jump * n * (pdf(u) if end is None or abs(u) < end else 0)
    dn = integral(lambda s: derivatives(f, x - s / n)[1] * s) / n**2
    found = {"x": x, "n": n, "value": value, "slope": slope, "curvature": curvature, "dn": dn}
    return {"kernel": kernel, "function": function, **{k: m.nstr(v, 22) for k, v in found.items()}}


def main() -> None:
    rows = []
    for kernel, (_, end) in DENSITIES.items():
        far = 6 if kernel == "gelu_tanh" else FAR[end]
        for function, f in FUNCTIONS.items():
            for n, u in itertools.product((mpf("0.5"), mpf(4)), (-far, mpf("-0.625"), mpf("0.25"), far)):
                knot = f["knots"][0] if u < 0 else f["knots"][-1]
                with mp.workdps(50 if kernel in STEEP else 30):
                    rows.append(row(kernel, function, n, knot + u / n))
            print(kernel, function, flush=True)
    (Path(__file__).parent / "bends.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
