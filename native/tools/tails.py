"""The second tail integrals that have no elementary form, for fit.py and fit_second.py.

Gaussian: the closed form ½[(1 + v²)·survival − v·density] cancels like v⁴. Logistic: a dilogarithm, −Li₂(−e^(−v)).
Bump: as its other two integrals, ``exp(-1/(2z))·z⁶·Y(t)`` (bump.py).
"""

from __future__ import annotations

import mpmath as m
from mpmath import mp, mpf

Real = mpf
A = {"float": mpf("3.5"), "double": mpf(5)}  # of the Gaussian's t = (v - a)/(v + a)


def gauss(v: Real) -> Real:
    """Second tail integral over exp(-v²/2)."""
    with mp.workdps(70):
        mills = m.erfc(v / m.sqrt(2)) / 2 * m.exp(v * v / 2)
        return ((1 + v * v) * mills - v / m.sqrt(2 * m.pi)) / 2


def logistic(e: Real) -> Real:
    """−Li₂(−e)/e."""
    e = max(e, mpf("1e-30"))
    return -m.polylog(2, -e) / e
