"""The bump's smooth parts, for ``fit.py`` and ``fit_triton.py``.

With z = 1 - v its exponent is 1/(1 - v²) = 1/(2z) + 1/(2(2 - z)). All that is steep is in the first half: density over
exp(-1/(2z)) is analytic up to z = 2, and

    survival = exp(-1/(2z))·z²·(z + A)·S(t)      excess = exp(-1/(2z))·z⁴·X(t)      t = (z - A)/(z + A)

leave S and X infinitely smooth down to z = 0. The factor z + A saves S two degrees; a second one would make it so steep
that powers of t cancel where it is least (measured in float: an error of 2e-6, and of 8e-6 in X). One division, of
z·(z + A), gives both 1/z and t.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mpmath as m
from mpmath import mp, mpf

Real = mpf
Function = Callable[[Real], Real]
A = mpf("0.25")
LARGEST = {"float": mpf("87.4"), "double": mpf("708.1")}  # of 1/(2z): beyond it exp(-1/(2z)) leaves the normal numbers
NODES = 140  # of the interpolants: S and X to 20 digits and more


def density_form(z: Real) -> Real:
    """Density over exp(-1/(2z)), not normalised."""
    return m.exp(-1 / (2 * (2 - z)))


def _integral(z: Real, power: int) -> Real:
    """∫ (z - y)^power·density(y) dy from 0 to z over exp(-1/(2z)), by s = 1/(2y) - 1/(2z): nothing cancels."""

    def integrand(s: Real) -> Real:
        y = 1 / (2 * s + 1 / z)
        return m.exp(-s) * density_form(y) * 2 * y * y * (z - y) ** power

    return m.quad(integrand, [0, 1, 4, 10, 25, 50, 95])


@functools.cache
def mass() -> Real:
    """Of the density e^(-1/(1 - u²)) on (-1, 1)."""
    return 2 * _integral(mpf(1), 0) * m.exp(mpf(-1) / 2)


def t_of(z: Real) -> Real:
    return (z - A) / (z + A)


def z_of(t: Real) -> Real:
    return A * (1 + t) / (1 - t)


@functools.cache
def _interpolant(power: int) -> Function:
    """S (0), X (1) or Y (2): a quadrature takes ten times as long."""
    low, high = t_of(1 / (2 * LARGEST["double"])), t_of(mpf(1))
    angles = [m.pi * (k + mpf("0.5")) / NODES for k in range(NODES)]
    nodes = [(low + high) / 2 - (high - low) / 2 * m.cos(angle) for angle in angles]
    weights = [(-1) ** k * m.sin(angle) for k, angle in enumerate(angles)]

    def exact(t: Real) -> Real:
        z = z_of(t)
        return _integral(z, power) / (z * z * (z + A), z**4, 2 * z**6)[power] / mass()

    values = [exact(t) for t in nodes]

    def barycentric(t: Real) -> Real:
        above = below = mpf(0)
        for node, weight, value in zip(nodes, weights, values, strict=True):
            if t == node:
                return value
            above += weight / (t - node) * value
            below += weight / (t - node)
        return above / below

    return barycentric


def second_form() -> Function:
    return _interpolant(2)


def rows(ctype: str) -> list[tuple[str, Function, Real, Real, str, int]]:
    """Name, function, interval, note and a degree to start from."""
    low, high = t_of(1 / (2 * LARGEST[ctype])), t_of(mpf(1))
    single = ctype == "float"

    def density(s: Real) -> Real:
        return density_form(s if single else (s + 1) / 2) / mass()

    start = 11 if single else 38
    return [
        (
            "bump_density",
            density,
            mpf(0 if single else -1),
            mpf(1),
            f"density·exp(1/(2z)), z = 1 - v{'' if single else ', t = 2z - 1'}",
            4,
        ),
        (
            "bump_survival",
            _interpolant(0),
            low,
            high,
            "survival·exp(1/(2z))/(z²·(z + a)), t = (z-a)/(z+a), a = 1/4",
            start,
        ),
        ("bump_excess", _interpolant(1), low, high, "excess·exp(1/(2z))/z⁴, of the same t", start),
    ]


mp.dps = 40
