"""Recognize activation modules by what they compute on a grid of numbers.

A list of classes would miss transformers' ``NewGELUActivation``, timm's ``Swish`` and every user's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.nn import ACTIVATIONS
from bevel.nn._base import LearnableModule
from bevel.surgery._copy import copy_model
from bevel.surgery._names import UNITS

Function = Callable[[Tensor], Tensor]

ROUNDING = 1e-6
"""Two functions closer than this, times 1 + |x|, count as equal: the rounding of their coefficients in float32."""

FAR = 64.0
"""The largest number of the grid; a power of two, so that dividing by it is exact."""


@dataclass(frozen=True)
class Source:
    """What an activation computes.

    Attributes:
        name: ``relu``, ``gelu``, …; for a function torch does not know, the class's own name in lower case.
        function: maps a float64 tensor to one of the same shape; None where it cannot be evaluated alone.
        weight: the slopes for x < 0 of a PReLU, one or one per channel.
        unit: whether a swap replaces it unless told otherwise.
    """

    name: str
    function: Function | None
    weight: Tensor | None = None
    unit: bool = True


@functools.cache
def grid() -> Tensor:
    """The points at which functions are compared: 240, dense near 0, up to ±FAR; float64, shape (2, 3, 5, 8)."""
    near = torch.linspace(-9, 9, 200, dtype=torch.float64, device="cpu")
    far = torch.linspace(10, FAR, 20, dtype=torch.float64, device="cpu")
    return torch.cat((near, far, -far)).reshape(2, 3, 5, 8)


def evaluate(function: Function) -> Tensor | None:
    """Evaluate a function on the grid; None if it is not an elementwise function of real numbers."""
    try:
        # It may stand inside anything: the fake tensors of a trace, autocast, a default device.
        with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.autocast("cpu", enabled=False):
            x = grid().clone()
            y = function(x)
            if not isinstance(y, Tensor) or y.shape != x.shape or y.dtype != x.dtype:
                return None
            moved = function(grid().flatten().flip(0).reshape(5, 2, 8, 3)).flatten().flip(0).reshape(x.shape)
    except Exception:  # another's code, on an input it was not written for
        return None
    return y if bool(torch.isfinite(y).all()) and torch.equal(moved, y) else None


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two evaluations on the grid are one function to rounding."""
    return bool(((a - b).abs() <= ROUNDING * (1 + grid().abs())).all())


@functools.cache
def _known() -> dict[str, Tensor]:
    functions: dict[str, Function] = {
        name: getattr(F, name)
        for name in (*UNITS, "sigmoid", "tanh", "hardsigmoid", "hardtanh", "logsigmoid")
        if hasattr(F, name) and name not in ("prelu", "rrelu", "leaky_relu")
    }
    functions["relu_squared"] = lambda x: F.relu(x) ** 2  # as transformers writes it
    functions["quick_gelu"] = lambda x: x * torch.sigmoid(1.702 * x)
    values = {name: evaluate(f) for name, f in functions.items()}
    values["gelu "] = evaluate(lambda x: F.gelu(x, approximate="tanh"))  # the blank keeps both forms under one name
    return {name: y for name, y in values.items() if y is not None}


def ends(y: Tensor) -> tuple[float, float]:
    """Return the values at −FAR and FAR."""
    x = grid()
    return float(y[x == -FAR]), float(y[x == FAR])


def sample(source: Source | None) -> list[float] | None:
    """A function's values at sixteen points of the grid; None if it cannot be evaluated alone."""
    y = evaluate(source.function) if source is not None and source.function is not None else None
    return None if y is None else y.flatten()[::15].tolist()


def near(values: list[float] | None, others: list[float]) -> bool:
    """Whether two samples are of one function to rounding."""
    x = grid().flatten()[::15].tolist()
    if values is None or not len(values) == len(others) == len(x):
        return False
    return all(abs(a - b) <= ROUNDING * (1 + abs(at)) for a, b, at in zip(values, others, x, strict=True))


def limits(y: Tensor) -> tuple[float, float] | None:
    """Return both levels of a function that is constant far out on either side, else None."""
    low, high = ends(y)
    x = grid().flatten()
    outer = y.flatten()[x.abs() > FAR * 0.9]
    return (low, high) if bool(((outer == low) | (outer == high)).all()) and low < high else None


def slopes(y: Tensor) -> tuple[float, float] | None:
    """Return (left, right) if the values are those of a line with a kink at zero, else None."""
    x = grid()
    low, high = ends(y)
    left, right = low / -FAR + 0.0, high / FAR + 0.0  # no −0.0
    return (left, right) if same(y, torch.where(x > 0, right * x, left * x)) else None


def named(y: Tensor, otherwise: str) -> str | None:
    """Name the function with these values; None for a straight line, which is no activation."""
    lines = slopes(y)
    if lines is not None:
        left, right = lines
        if abs(left - right) < ROUNDING:
            return None
        return "relu" if (left, right) == (0, 1) else "leaky_relu" if right == 1 else otherwise
    for name, values in _known().items():
        if same(y, values):
            return name.strip()
    return otherwise


def recognize(module: nn.Module) -> Source | None:
    """Say what an activation module computes; None if it is no activation.

    A module of bevel or an ``nn.PReLU`` is one by its class. Any other is one if it has no parameters, buffers or
    random parts, is elementwise, and is no straight line. Only a copy of it is run.
    """
    if isinstance(module, LearnableModule):
        return Source(catalog_name(module), None)
    if isinstance(module, nn.PReLU):
        return Source("prelu", None, module.weight)
    if isinstance(module, nn.RReLU):  # its slopes are random in training; what can be kept is evaluation's function
        return Source("rrelu", functools.partial(F.rrelu, lower=module.lower, upper=module.upper))
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict) or type(module) is nn.Module:
        return None
    if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
        return None
    leaves = [m for m in module.modules() if m is not module and not list(m.children())]
    if any(recognize(leaf) is None for leaf in leaves):  # a Dropout inside does nothing in evaluation
        return None
    try:
        double = copy_model(module).eval()
    except Exception:
        return None
    y = evaluate(double.forward)
    name = None if y is None else named(y, type(module).__name__.lower())
    return None if name is None else Source(name, double.forward, unit=name in UNITS)


def catalog_name(module: nn.Module) -> str:
    """The name of a module's class in ``bevel.ACTIVATIONS``, else the class's own in lower case."""
    for name, entry in ACTIVATIONS.items():
        if entry.factory is type(module):
            return name
    return type(module).__name__.lower()
