"""A kinked function as a value.

A function made of lines is numbers: ``f(x) = left·x + offset + Σ jumpᵢ·relu(x − knotᵢ) + Σ stepᵢ·[x > knotᵢ]``. One
made of parabolas has two kinds more: ``½·left_bend·x²``, and ``½·bendᵢ·relu(x − knotᵢ)²`` at each knot.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from bevel.errors import InvalidValue
from bevel.formulas import Formulas
from bevel.kernel import SHARP
from bevel.terms import Coefficient, Terms, as_coefficient, is_zero


@dataclass(frozen=True, init=False, eq=False)
class PiecewiseLinear:
    """A piecewise *quadratic* function; without bends, which is the default, it is made of lines, as its name says.

    ::

        f(x) = left·x + offset + Σ jumpᵢ·relu(x − knotᵢ) + Σ stepᵢ·[x > knotᵢ]
               + ½·left_bend·x² + Σ ½·bendᵢ·relu(x − knotᵢ)²

    Args:
        left: slope left of all knots. Default: 0.
        offset: value of that leftmost line at 0. Default: 0.
        knots: where f is kinked or jumps, strictly increasing. Default: none.
        jumps: change of slope at each knot. Default: 0 at each.
        steps: change of value at each knot. Default: 0 at each.
        bends: change of the second derivative at each knot. Default: 0 at each.
        left_bend: second derivative left of all knots. Default: 0.
        sides: of each knot the branch that it belongs to itself, ``left`` or ``right``; it matters where f jumps.
            Default: ``left`` at each, as torch's ReLU has it.

    Every number may be a 1-D floating tensor instead (length one, or one value per channel) and then has a gradient
    in :func:`bevel.smooth`. Tensors are checked for shape, not for value: reading them would stall an accelerator.

    Raises:
        InvalidValue: for NaN or infinite numbers, unsorted or repeated knots, lists of different lengths, or sides that
            are neither ``left`` nor ``right``.

    Example:
        >>> import torch, bevel
        >>> tent = bevel.PiecewiseLinear(knots=[-1.0, 0.0, 1.0], jumps=[1.0, -2.0, 1.0])
        >>> tent(torch.tensor([-2.0, -0.5, 0.0, 2.0])).tolist()
        [0.0, 0.5, 1.0, 0.0]
        >>> square = bevel.PiecewiseLinear(knots=[0.0], bends=[2.0])  # relu(x)²
        >>> square(torch.tensor([-2.0, 3.0])).tolist()
        [0.0, 9.0]
    """

    left: Coefficient
    offset: Coefficient
    knots: tuple[Coefficient, ...]
    jumps: tuple[Coefficient, ...]
    steps: tuple[Coefficient, ...]
    bends: tuple[Coefficient, ...]
    left_bend: Coefficient
    sides: tuple[str, ...]

    def __init__(
        self,
        left: Coefficient = 0.0,
        offset: Coefficient = 0.0,
        knots: Iterable[Coefficient] = (),
        jumps: Iterable[Coefficient] | None = None,
        steps: Iterable[Coefficient] | None = None,
        bends: Iterable[Coefficient] | None = None,
        left_bend: Coefficient = 0.0,
        sides: Iterable[str] | None = None,
    ) -> None:
        knots = _coefficients(knots, "knots")
        sides = ("left",) * len(knots) if sides is None else tuple(sides)
        changes = {
            name: (0.0,) * len(knots) if values is None else _coefficients(values, name)
            for name, values in (("jumps", jumps), ("steps", steps), ("bends", bends))
        }
        for name, values in (*changes.items(), ("sides", sides)):
            if len(values) != len(knots):
                raise InvalidValue(f"{name} must have one entry per knot ({len(knots)}); got {len(values)}.")
        if not {"left", "right"}.issuperset(sides):
            raise InvalidValue(f"sides must each be 'left' or 'right', the branch of the knot itself; got {sides}.")
        fixed = [k for k in knots if isinstance(k, float)]
        if any(b <= a for a, b in itertools.pairwise(fixed)):
            raise InvalidValue(f"knots must be strictly increasing; got {fixed}. Sort them and merge repeated ones.")
        object.__setattr__(self, "left", as_coefficient(left, "left"))
        object.__setattr__(self, "offset", as_coefficient(offset, "offset"))
        object.__setattr__(self, "knots", knots)
        for name, values in changes.items():
            object.__setattr__(self, name, values)
        object.__setattr__(self, "left_bend", as_coefficient(left_bend, "left_bend"))
        object.__setattr__(self, "sides", sides)

    @classmethod
    def of(cls, terms: Terms[Coefficient]) -> PiecewiseLinear:
        """Return the kinked function that the engine's terms smooth.

        Args:
            terms: coefficients as numbers or tensors.

        Returns:
            The function as a value.
        """
        left_bend, *bends = terms.curve or (0.0, *(0.0 for _ in terms.knots))
        return cls(
            terms.left, terms.offset, terms.knots, terms.jumps, terms.steps, bends, left_bend, terms.sides or None
        )

    @property
    def terms(self) -> Terms[Coefficient]:
        """The engine's description of f, without corrections to its convolution."""
        none: tuple[Coefficient, ...] = (0.0,) * len(self.knots)
        return Terms(
            self.left,
            self.offset,
            self.knots,
            self.jumps,
            self.steps,
            c0=none,
            c1=none,
            curve=(self.left_bend, *self.bends) if self.has_bends else (),
            sides=self.sides if "right" in self.sides else (),
        )

    @property
    def has_bends(self) -> bool:
        """Whether any part is a parabola (a tensor counts as one)."""
        return not all(is_zero(c) for c in (self.left_bend, *self.bends))

    @property
    def has_steps(self) -> bool:
        """Whether any knot changes the value (a tensor counts as changing it)."""
        return not all(is_zero(s) for s in self.steps)

    def __call__(self, x: Tensor, *, dim: int = 1) -> Tensor:
        """Apply the kinked function itself; at a knot it takes the branch that ``sides`` names.

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
