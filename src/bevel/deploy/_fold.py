"""Fold FReLU's positive slope, and the sharpness of what is a SmoothFReLU or a Gate, into the layer before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

import torch
from torch import Tensor, nn

from bevel.deploy._feeders import Feed, feeds, output_axis, scale
from bevel.deploy._kinked import prelu
from bevel.deploy._model import (
    Example,
    largest_change,
    one_corner,
    refuse_wrapped,
    replace,
    right_slope,
    table,
    tensors,
)
from bevel.errors import BevelError, InvalidValue
from bevel.kernel import SHARP, Kernel
from bevel.nn import Activation, Gate, SmoothFReLU
from bevel.nn._base import LearnableModule
from bevel.surgery._arguments import Where, activation_modules, model_kwargs
from bevel.surgery._copy import copy_model
from bevel.surgery._install import Edits
from bevel.terms import as_numbers


@dataclass(frozen=True)
class FoldRow:
    """What became of one activation.

    Attributes:
        name: its qualified name.
        old: its class.
        new: the class of what remains; None if it stayed as it was.
        into: the layer that took the factor; "" if there was none to put anywhere.
        reason: why it stayed; "" if it did not.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6), bevel.FReLU(6, positive=2.0, negative=0.5))
        >>> bevel.fold(model, torch.randn(8, 4)).rows[0]
        FoldRow(name='1', old='FReLU', new='LeakyReLU', into='0', reason='')
    """

    name: str
    old: str
    new: str | None
    into: str
    reason: str


@dataclass(frozen=True, eq=False)
class Folded:
    """What :func:`fold` did.

    Attributes:
        model: the folded model.
        rows: one :class:`FoldRow` per activation of bevel's; prints as a table.
        change: the largest absolute change of the example's output.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6), bevel.FReLU(6, positive=2.0, negative=0.5))
        >>> folded = bevel.fold(model, torch.randn(8, 4))
        >>> folded.change < 1e-5, [row.into for row in folded.rows]
        (True, ['0'])
    """

    model: nn.Module
    rows: tuple[FoldRow, ...]
    change: float

    def __str__(self) -> str:
        cells = [("activation", "was", "is", "into", "reason")]
        cells += [(r.name, r.old, r.new or r.old, r.into or "-", r.reason or "-") for r in self.rows]
        return f"{table(cells)}\nlargest change of the example's output: {self.change:.1e}"


def fold(
    model: nn.Module,
    *example: Any,
    kwargs: Mapping[str, Any] | None = None,
    where: Where = None,
    inplace: bool = False,
    **unknown: Never,
) -> Folded:
    """Fold the factors of activations into the layers before them; exact to rounding.

    ``FReLU`` with every positive slope ``a > 0`` is ``PReLU_{b/a}(a·x)``: a goes into the convolution, linear or
    normalizing layer before it, and a ReLU, LeakyReLU or PReLU remains. ``SmoothFReLU`` with slopes a, b and
    sharpness n is the one with ``a/n``, ``b/n`` and sharpness 1 at ``n·x``: n goes into the layer. The same holds for
    whatever is a SmoothFReLU under another name (one smoothed corner at 0, nothing added): SAU's exact form, a
    mollified ReLU, SmeLU, Squareplus; and for a ``Gate``, which remains one. A layer takes part if, in the example's
    forward in evaluation mode, it runs once, feeds that activation and nothing else, and neither shares its weight nor
    carries hooks or parametrizations.

    Args:
        model: any bare model.
        *example: the model's positional arguments, one batch of any size.
        kwargs: the model's keyword arguments in one dictionary, as ``torch.export.export`` has it; default none.
        where: which activations: a name, glob patterns of names, or a function of a :class:`bevel.surgery.Site`;
            default all.
        inplace: whether to change the given model; default False, which changes a copy.

    Returns:
        A :class:`Folded`: the model, and a table with one row per activation of bevel's; what stayed has a reason.

    Raises:
        InvalidValue: without an example, for other keywords, for a model wrapped in DDP or FSDP, or where ``where``
            picks nothing.
        BevelError: if the output changed by more than rounding. The given model is then as it was.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6), bevel.FReLU(6, positive=2.0, negative=0.5))
        >>> result = bevel.fold(model, torch.randn(8, 4))
        >>> result.model[1]
        LeakyReLU(negative_slope=0.25)
        >>> result.rows[0].into
        '0'
    """
    arguments = model_kwargs(fold, kwargs, unknown)
    if not example and not arguments:
        raise InvalidValue("fold runs the model once; give it an example: bevel.fold(model, x).")
    refuse_wrapped(model)
    batch = Example(example, arguments)
    before = batch.run(model)
    model = model if inplace else copy_model(model)
    activations = activation_modules(model, LearnableModule, where)
    edits = Edits(model)
    try:
        found = feeds(model, batch, activations)
        rows = tuple(_fold_one(model, name, m, found[name], edits) for name, m in activations.items())
        return Folded(model, rows, _checked(before, batch.run(model)))
    except BaseException:
        edits.undo()
        raise


def _checked(before: Any, after: Any) -> float:
    """Return the change of the output; raise if it is more than rounding."""
    change = largest_change(before, after)
    floating = [t for t in tensors(before) if t.is_floating_point() and t.numel()]
    size = max((float(t.abs().max()) for t in floating), default=0.0)
    rounding = max((torch.finfo(t.dtype).eps for t in floating), default=0.0) ** 0.5
    if not change <= rounding * max(size, 1.0):
        raise BevelError(
            f"folding must keep the output; it changed by {change:.1e} of {size:.1e}. Does the forward keep layers or "
            "activations where a module walk cannot see them, or choose by rounding (as a detector ranks its boxes: "
            "fold its parts)?"
        )
    return change


def _fold_one(model: nn.Module, name: str, activation: nn.Module, feed: Feed, edits: Edits) -> FoldRow:
    """Fold one activation if that is possible."""
    old = type(activation).__name__

    def kept(reason: str) -> FoldRow:
        return FoldRow(name, old, None, "", reason)

    corner = _corner(activation)
    if isinstance(corner, str):
        return kept(corner)
    if feed.x is None:
        return kept(feed.reason)
    factor = corner.factor()
    if isinstance(factor, str):
        return kept(factor)
    with torch.inference_mode(False):  # what is made under it could never be trained
        new = corner.remaining(factor, feed.x)
    if isinstance(new, str):
        return kept(new)
    if bool((factor == 1).all()):  # nothing to put anywhere
        if corner.kernel is not SHARP:
            return kept("its sharpness is 1 already")
        replace(model, activation, new, edits)
        return FoldRow(name, old, type(new).__name__, "", "")
    if feed.layer is None:
        return kept(feed.reason)
    axis = output_axis(feed.layer, feed.x)
    if factor.numel() > 1 and corner.dim % feed.x.dim() != axis:
        return kept(f"its slopes lie along axis {corner.dim % feed.x.dim()}, the layer's channels along {axis}")
    scale(feed.layer, factor, edits)
    replace(model, activation, new, edits)
    return FoldRow(name, old, type(new).__name__, feed.name, "")


@dataclass(frozen=True)
class _Corner:
    """``a·x for x > 0, b·x otherwise``, smoothed: float64, one value or one per channel along ``dim``."""

    a: Tensor
    b: Tensor
    n: Tensor
    kernel: Kernel
    gated: bool
    dim: int

    def factor(self) -> Tensor | str:
        """The factor that x is multiplied by; or the reason why there is none."""
        if self.kernel is not SHARP:
            return self.n
        if bool((self.a > 0).all()):
            return self.a
        bad = int((~(self.a > 0)).nonzero()[0])
        return f"its positive slope must be > 0 to move before the sign; channel {bad} has {float(self.a[bad]):.4g}"

    def remaining(self, factor: Tensor, x: Tensor) -> nn.Module | str:
        """The activation that, applied to ``factor·x``, equals this one at x; or the reason why there is none."""
        a, b = self.a / factor, self.b / factor
        if self.kernel is not SHARP:
            soft: SmoothFReLU | Gate
            if self.gated:
                soft = Gate(a.numel(), 1.0, 0.0, self.kernel, 1.0, learn_n=False, learn_slopes=True, dim=self.dim)
            else:
                soft = SmoothFReLU(a.numel(), 1.0, 0.0, self.kernel, 1.0, learn_n=False, dim=self.dim)
            soft.to(x.device, torch.float64 if x.dtype == torch.float64 else torch.float32)
            with torch.no_grad():
                soft.positive.copy_(a)
                soft.negative.copy_(b)
            return soft
        if bool((b == b[0]).all()):
            return nn.LeakyReLU(float(b[0])) if float(b[0]) else nn.ReLU()
        if x.dim() < 2 or self.dim % x.dim() != 1:
            return f"its negative slopes differ along axis {self.dim}, and a PReLU has its channels along axis 1"
        return prelu(b, x.device, x.dtype)


def _corner(activation: nn.Module) -> _Corner | str:
    """Read an activation as one smoothed or sharp corner at 0; or say why it is none."""
    old = type(activation).__name__
    if not isinstance(activation, Activation):
        return f"{old} is outside FReLU's family: no factor of it is known that could move"
    terms, n = activation.coefficients()
    if any(bool(as_numbers(c).any()) for c in terms.c1):
        return f"{old}'s centred form is at no factor on x the one of another sharpness; bevel.harden may replace it"
    if any(bool(as_numbers(c).any()) for c in terms.c0):
        return (
            f"{old} is 1/n times itself at sharpness 1 of n·x, and has no slope on the right to take the 1/n; "
            "bevel.harden may replace it"
        )
    if not one_corner(terms):
        return f"only one corner at 0 takes a factor on x; {old} has other corners, steps, bends or an offset"
    left, right, sharpness = torch.broadcast_tensors(  # type: ignore[no-untyped-call]
        as_numbers(terms.left), right_slope(activation), as_numbers(n)
    )
    return _Corner(right, left, sharpness, activation.family.kernel, terms.multiplies_cdf, activation.dim)
