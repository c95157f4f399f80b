"""Kinked functions as values.

A piecewise linear function is numbers: ``f(x) = left·x + offset + Σ jumpᵢ·relu(x − knotᵢ) + Σ stepᵢ·[x > knotᵢ]``.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from bevel._checks import check_positive
from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel.formulas import Formulas
from bevel.kernel import SHARP
from bevel.terms import Coefficient, Terms, as_coefficient, as_number, is_zero


@dataclass(frozen=True, init=False, eq=False)
class PiecewiseLinear:
    """``f(x) = left·x + offset + Σ jumpᵢ·relu(x − knotᵢ) + Σ stepᵢ·[x > knotᵢ]``.

    Args:
        left: slope left of all knots. Default: 0.
        offset: value of that leftmost line at 0. Default: 0.
        knots: where f is kinked or jumps, strictly increasing. Default: none.
        jumps: change of slope at each knot. Default: 0 at each.
        steps: change of value at each knot. Default: 0 at each.

    Every number may be a 1-D floating tensor instead (length one, or one value per channel) and then has a gradient
    in :func:`bevel.smooth`. Tensors are checked for shape, not for value: reading them would stall an accelerator.

    Raises:
        InvalidValue: for NaN or infinite numbers, unsorted or repeated knots, or lists of different lengths.

    Example:
        >>> import torch, bevel
        >>> tent = bevel.PiecewiseLinear(knots=[-1.0, 0.0, 1.0], jumps=[1.0, -2.0, 1.0])
        >>> tent(torch.tensor([-2.0, -0.5, 0.0, 2.0])).tolist()
        [0.0, 0.5, 1.0, 0.0]
    """

    left: Coefficient
    offset: Coefficient
    knots: tuple[Coefficient, ...]
    jumps: tuple[Coefficient, ...]
    steps: tuple[Coefficient, ...]

    def __init__(
        self,
        left: Coefficient = 0.0,
        offset: Coefficient = 0.0,
        knots: Iterable[Coefficient] = (),
        jumps: Iterable[Coefficient] | None = None,
        steps: Iterable[Coefficient] | None = None,
    ) -> None:
        knots = _coefficients(knots, "knots")
        jumps = (0.0,) * len(knots) if jumps is None else _coefficients(jumps, "jumps")
        steps = (0.0,) * len(knots) if steps is None else _coefficients(steps, "steps")
        for name, values in (("jumps", jumps), ("steps", steps)):
            if len(values) != len(knots):
                raise InvalidValue(f"{name} must have one entry per knot ({len(knots)}); got {len(values)}.")
        fixed = [k for k in knots if isinstance(k, float)]
        if any(b <= a for a, b in itertools.pairwise(fixed)):
            raise InvalidValue(f"knots must be strictly increasing; got {fixed}. Sort them and merge repeated ones.")
        object.__setattr__(self, "left", as_coefficient(left, "left"))
        object.__setattr__(self, "offset", as_coefficient(offset, "offset"))
        object.__setattr__(self, "knots", knots)
        object.__setattr__(self, "jumps", jumps)
        object.__setattr__(self, "steps", steps)

    @property
    def terms(self) -> Terms[Coefficient]:
        """The engine's description of f, without corrections to its convolution."""
        none: tuple[Coefficient, ...] = (0.0,) * len(self.knots)
        return Terms(self.left, self.offset, self.knots, self.jumps, self.steps, c0=none, c1=none)

    @property
    def has_steps(self) -> bool:
        """Whether any knot changes the value (a tensor counts as changing it)."""
        return not all(is_zero(s) for s in self.steps)

    def __call__(self, x: Tensor, *, dim: int = 1) -> Tensor:
        """Apply the kinked function itself; at a knot it takes the left branch, as torch's ReLU does.

        Args:
            x: float32 or float64, any shape.
            dim: channel axis of per-channel coefficients. Default: 1.

        Returns:
            A tensor of x's shape and dtype.
        """
        return Formulas(x, self.terms, SHARP, 1.0, dim).value()


def _coefficients(values: Iterable[Coefficient], name: str) -> tuple[Coefficient, ...]:
    if isinstance(values, Tensor) or not isinstance(values, Iterable):
        raise InvalidValue(f"{name} must be a sequence with one entry per knot; got {values!r}. Wrap it in a list.")
    return tuple(as_coefficient(v, f"{name}[{i}]") for i, v in enumerate(values))


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
    f.__name__: f for f in (relu, leaky_relu, frelu, hardtanh, relu6, absolute, hard_sigmoid, soft_shrink, step)
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
