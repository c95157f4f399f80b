"""What Python knows and the explorer's page needs: kernels on a grid, and kinked functions as affine coefficients."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

import bevel
from bevel._bound import largest_lag, largest_moment
from bevel.functional import SauForm, sau_family
from bevel.kernel import Kernel, derivative
from bevel.terms import Terms

FARTHEST = 1e7
"""Where the grid of a kernel that never vanishes ends; beyond, Cauchy's mass is 3e-8."""

STEPS, DENSITY = 96, 20
"""Intervals of a compact kernel's grid; nodes of the others for each unit of asinh(v)."""


@functools.cache
def tables() -> dict[str, Any]:
    """Return kernels, functions and forms, ready for JSON."""
    return {
        "kernels": {name: _kernel(kernel) for name, kernel in bevel.KERNELS.items()},
        "functions": {name: _function(f) for name, f in bevel.kinked.FUNCTIONS.items() if not f().has_bends},
        "forms": {form: _form(form) for form in get_args(SauForm)},
    }


def _kernel(kernel: Kernel) -> dict[str, Any]:
    """A kernel's forms at the nodes; between them the page interpolates by values and derivatives.

    ``excess' = −survival`` and ``survival' = −density``, so six columns give every form with two derivatives.
    """
    v = _nodes(kernel)
    inner = v.clamp(max=math.nextafter(kernel.reach, 0))  # at the edge, the limit from within
    first = functools.partial(derivative, kernel.density)
    second = functools.partial(derivative, first)
    columns = {"density": kernel.density(inner), "slope": first(inner), "bend": second(inner)}
    columns["third"] = derivative(second, inner)
    excess = kernel.excess(inner) if kernel.has_moment else torch.zeros_like(v)
    columns = {"excess": excess, "survival": kernel.survival(inner), **columns}
    lag, moment = 0.0, None
    if kernel.has_moment:
        lag = largest_lag(kernel)
        moment = largest_moment(kernel) if kernel.reach < math.inf else None
    return {
        "v": _numbers(v),
        **{name: _numbers(column) for name, column in columns.items()},
        "formula": kernel.formula,
        "hasMoment": kernel.has_moment,
        "lag": lag,
        "moment": moment,
    }


def _nodes(kernel: Kernel) -> Tensor:
    if kernel.compact:
        return torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    v = torch.sinh(torch.arange(0, math.asinh(FARTHEST) * DENSITY, dtype=torch.float64) / DENSITY)
    v = v[v < kernel.reach]
    return v[kernel.survival(v) > 1e-14] if kernel.reach < math.inf else v


def _numbers(column: Tensor) -> list[float]:
    """Eleven digits: what is drawn is held to six."""
    return [float(f"{number:.11g}") for number in column.tolist()]


def _function(f: Callable[..., bevel.PiecewiseLinear]) -> dict[str, Any]:
    defaults = {name: float(p.default) for name, p in inspect.signature(f).parameters.items()}
    return {"parameters": list(defaults), "defaults": list(defaults.values())} | _affine(
        lambda values: f(*values).terms, list(defaults.values())
    )


def _form(form: SauForm) -> dict[str, Any]:
    """One of SAU's forms as coefficients of Leaky ReLU's slope."""

    def terms(values: Sequence[float]) -> Terms[Any]:
        return sau_family(values[0], 1.0, form).terms

    return _affine(terms, [0.15]) | {"multipliesCdf": terms([0.15]).multiplies_cdf}


def _affine(terms: Callable[[Sequence[float]], Terms[Any]], at: list[float]) -> dict[str, Any]:
    """Coefficients as base + Σ parameterᵢ·directionᵢ, which a third point must confirm."""

    def flat(values: Sequence[float]) -> Tensor:
        return torch.tensor([float(c) for c in terms(values).flat()], dtype=torch.float64)

    start = flat(at)
    moved = [flat([a + 0.25 * (i == j) for j, a in enumerate(at)]) for i in range(len(at))]
    directions = [(m - start) / 0.25 for m in moved]
    base = start - sum((a * d for a, d in zip(at, directions, strict=True)), start=torch.zeros_like(start))
    other = [a + 0.125 + 0.25 * i for i, a in enumerate(at)]
    expected = base + sum((a * d for a, d in zip(other, directions, strict=True)), start=torch.zeros_like(start))
    assert torch.allclose(expected, flat(other)), "the coefficients of a kinked function are affine in its arguments"
    return {"knots": len(terms(at).knots), "base": base.tolist(), "directions": [d.tolist() for d in directions]}
