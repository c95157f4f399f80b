"""Kinked functions by name; :class:`PiecewiseLinear` is what they are values of."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor

from bevel._checks import check_positive
from bevel._piecewise import PiecewiseLinear
from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel.terms import Coefficient, as_coefficient, as_number


def relu() -> PiecewiseLinear:
    """Return ``max(x, 0)``.

    Returns:
        The function as a value.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.relu()(torch.tensor([-2.0, 3.0])).tolist()
        [0.0, 3.0]
    """
    return PiecewiseLinear(knots=(0.0,), jumps=(1.0,))


def leaky_relu(alpha: Coefficient = 0.01) -> PiecewiseLinear:
    """Return ``x for x > 0, alpha·x otherwise``.

    Args:
        alpha: slope for x ≤ 0; a number, or a 1-D tensor of length one or one per channel. Default: 0.01.

    Returns:
        The function as a value.

    Raises:
        InvalidValue: if ``alpha`` is neither a finite number nor such a tensor.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.leaky_relu(0.25)(torch.tensor([-2.0, 3.0])).tolist()
        [-0.5, 3.0]
    """
    return frelu(1.0, alpha)


def frelu(positive: Coefficient = 1.0, negative: Coefficient = 0.01) -> PiecewiseLinear:
    """Return ``positive·x for x > 0, negative·x otherwise`` (fully parametric ReLU; not Funnel or Flexible ReLU).

    Args:
        positive: slope for x > 0; a number, or a 1-D tensor of length one or one per channel. Default: 1.
        negative: slope for x ≤ 0; a number or such a tensor. Default: 0.01.

    Returns:
        The function as a value.

    Raises:
        InvalidValue: for bad slopes, or tensors of different lengths.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.frelu(2.0, -0.5)(torch.tensor([-2.0, 3.0])).tolist()
        [1.0, 6.0]
    """
    positive, negative = as_coefficient(positive, "positive"), as_coefficient(negative, "negative")
    counts = {c.numel() for c in (positive, negative) if isinstance(c, Tensor)} - {1}
    if len(counts) > 1:
        raise InvalidValue(f"positive and negative must have as many channels as one another; got {sorted(counts)}.")
    return PiecewiseLinear(left=negative, knots=(0.0,), jumps=(positive - negative,))


def hardtanh(low: float = -1.0, high: float = 1.0) -> PiecewiseLinear:
    """Return ``x`` clipped to ``[low, high]``.

    Args:
        low, high: the two levels, low < high. Default: −1 and 1.

    Returns:
        The function as a value.

    Raises:
        InvalidValue: unless low < high.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.hardtanh(0.0, 2.0)(torch.tensor([-2.0, 1.5, 3.0])).tolist()
        [0.0, 1.5, 2.0]
    """
    return PiecewiseLinear(offset=low, knots=(low, high), jumps=(1.0, -1.0))


def relu6() -> PiecewiseLinear:
    """Return ``x`` clipped to ``[0, 6]``.

    Returns:
        The function as a value.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.relu6()(torch.tensor([-2.0, 3.0, 9.0])).tolist()
        [0.0, 3.0, 6.0]
    """
    return hardtanh(0.0, 6.0)


def absolute() -> PiecewiseLinear:
    """Return ``|x|``.

    Returns:
        The function as a value.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.absolute()(torch.tensor([-2.0, 3.0])).tolist()
        [2.0, 3.0]
    """
    return PiecewiseLinear(left=-1.0, knots=(0.0,), jumps=(2.0,))


def hard_sigmoid() -> PiecewiseLinear:
    """Return ``x/6 + 1/2`` clipped to ``[0, 1]``.

    Returns:
        The function as a value.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.hard_sigmoid()(torch.tensor([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return PiecewiseLinear(knots=(-3.0, 3.0), jumps=(1 / 6, -1 / 6))


def soft_shrink(lam: float = 0.5) -> PiecewiseLinear:
    """Return ``x`` moved towards zero by ``lam``, and zero within ``lam`` of it.

    Args:
        lam: the threshold λ, finite and > 0. Default: 0.5.

    Returns:
        The function as a value.

    Raises:
        InvalidValue: if ``lam`` is not finite and > 0.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.soft_shrink(0.5)(torch.tensor([-2.0, 0.25, 3.0])).tolist()
        [-1.5, 0.0, 2.5]
    """
    lam = check_positive(as_number(lam, "lam"), "lam")
    return PiecewiseLinear(left=1.0, offset=lam, knots=(-lam, lam), jumps=(-1.0, 1.0))


def hard_shrink(lam: float = 0.5) -> PiecewiseLinear:
    """Return ``x``, and zero within ``lam`` of zero, both ends included.

    Args:
        lam: the threshold λ, finite and > 0. Default: 0.5.

    Returns:
        The function as a value.

    Raises:
        InvalidValue: if ``lam`` is not finite and > 0.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.hard_shrink(0.5)(torch.tensor([-2.0, -0.5, 0.5, 3.0])).tolist()
        [-2.0, 0.0, 0.0, 3.0]
    """
    lam = check_positive(as_number(lam, "lam"), "lam")
    return PiecewiseLinear(1.0, 0.0, (-lam, lam), (-1.0, 1.0), (lam, lam), sides=("right", "left"))


def threshold(threshold: float = 0.0, value: float = 0.0) -> PiecewiseLinear:
    """Return ``x for x > threshold, value otherwise``.

    Args:
        threshold: where it begins to pass x. Default: 0.
        value: what it is up to there. Default: 0.

    Returns:
        The function as a value.

    Raises:
        InvalidValue: if either is no finite number.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.threshold(1.0, -2.0)(torch.tensor([0.5, 1.0, 3.0])).tolist()
        [-2.0, -2.0, 3.0]
    """
    threshold, value = as_number(threshold, "threshold"), as_number(value, "value")
    return PiecewiseLinear(offset=value, knots=(threshold,), jumps=(1.0,), steps=(threshold - value,))


def hardswish() -> PiecewiseLinear:
    """Return ``x·relu6(x + 3)/6``: a parabola between −3 and 3.

    Returns:
        The function as a value.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.hardswish()(torch.tensor([-4.0, 1.5, 1e30])).tolist()
        [0.0, 1.125, 1.0000000150474662e+30]
    """
    return PiecewiseLinear(knots=(-3.0, 3.0), jumps=(-0.5, -0.5), bends=(1 / 3, -1 / 3))


def relu_squared() -> PiecewiseLinear:
    """Return ``max(x, 0)²``.

    Returns:
        The function as a value.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.relu_squared()(torch.tensor([-2.0, 3.0])).tolist()
        [0.0, 9.0]
    """
    return PiecewiseLinear(knots=(0.0,), bends=(2.0,))


def step() -> PiecewiseLinear:
    """Return ``1 for x > 0, 0 otherwise``.

    Returns:
        The function as a value.

    Example:
        >>> import torch, bevel
        >>> bevel.kinked.step()(torch.tensor([-2.0, 0.0, 3.0])).tolist()
        [0.0, 0.0, 1.0]
    """
    return PiecewiseLinear(knots=(0.0,), steps=(1.0,))


FUNCTIONS: dict[str, Callable[..., PiecewiseLinear]] = {
    f.__name__: f
    for f in (
        relu,
        leaky_relu,
        frelu,
        hardtanh,
        relu6,
        absolute,
        hard_sigmoid,
        soft_shrink,
        hard_shrink,
        threshold,
        hardswish,
        relu_squared,
        step,
    )
}
"""The named kinked functions, as spec strings name them."""


def as_function(f: object) -> PiecewiseLinear:
    """Return a kinked function from its name, or itself.

    Args:
        f: a :class:`PiecewiseLinear`, or a name as :func:`named` takes it.

    Returns:
        The function as a value.

    Raises:
        InvalidValue: for anything else, or a name's arguments that do not fit.
        UnknownName: for a name that is not in ``FUNCTIONS``.

    Example:
        >>> from bevel import kinked
        >>> kinked.as_function("relu6").knots
        (0.0, 6.0)
    """
    if isinstance(f, str):
        return named(f)
    if not isinstance(f, PiecewiseLinear):
        raise InvalidValue(f"a kinked function must be a PiecewiseLinear or the name of one, as 'relu6'; got {f!r}.")
    return f


def named(name: str) -> PiecewiseLinear:
    """Return a kinked function from its name and numbers, as spec strings write it.

    Args:
        name: e.g. ``"relu6"``, ``"leaky_relu(0.1)"`` or ``"hardtanh(low=0,high=2)"``.

    Returns:
        The function as a value.

    Raises:
        UnknownName: for a name that is not in ``FUNCTIONS``.
        InvalidValue: for arguments it does not take.

    Example:
        >>> from bevel import kinked
        >>> kinked.named("leaky_relu(0.1)").left
        0.1
    """
    head, bracket, rest = name.strip().partition("(")
    if head not in FUNCTIONS:
        raise UnknownName(f"unknown kinked function {head!r}; {did_you_mean(head, FUNCTIONS)}")
    if bracket and not rest.endswith(")"):
        raise InvalidValue(f"a kinked function's arguments must stand in one pair of brackets; got {name!r}.")
    positional: list[float] = []
    keywords: dict[str, float] = {}
    for argument in filter(None, rest[:-1].split(",") if bracket else ()):
        key, equals, text = argument.rpartition("=")
        try:
            value = float(text)
        except ValueError:
            raise InvalidValue(f"arguments of {head!r} must be numbers; got {text!r}.") from None
        if equals:
            keywords[key.strip()] = value
        else:
            positional.append(value)
    signature = inspect.signature(FUNCTIONS[head])
    try:
        signature.bind(*positional, **keywords)
    except TypeError:
        takes = ", ".join(signature.parameters) or "no arguments"
        raise InvalidValue(f"{head!r} takes {takes}; got {name!r}.") from None
    return FUNCTIONS[head](*positional, **keywords)


__all__ = [*FUNCTIONS, "FUNCTIONS", "Coefficient", "PiecewiseLinear", "as_function", "named"]
