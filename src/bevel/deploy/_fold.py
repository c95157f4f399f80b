"""Fold FReLU's positive slope, and SmoothFReLU's sharpness, into the layer before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bevel.deploy._feeders import Feed, feeds, output_axis, scale
from bevel.deploy._model import evaluation, largest_change, replace, table, tensors, working_copy
from bevel.errors import BevelError, InvalidValue
from bevel.nn import Activation, FReLU, SmoothFReLU


@dataclass(frozen=True)
class FoldRow:
    """One activation: what it was, what remains (None: it stayed), the layer it went into ("": none), why it stayed."""

    name: str
    old: str
    new: str | None
    into: str
    reason: str


@dataclass(frozen=True, eq=False)
class Folded:
    """Result of :func:`fold`: the model, a row per activation, and the largest change of the example's output."""

    model: nn.Module
    rows: tuple[FoldRow, ...]
    change: float

    def __str__(self) -> str:
        cells = [("activation", "was", "is", "into", "reason")]
        cells += [(r.name, r.old, r.new or r.old, r.into or "-", r.reason or "-") for r in self.rows]
        return f"{table(cells)}\nlargest change of the example's output: {self.change:.1e}"


def fold(model: nn.Module, *example: Any, inplace: bool = False, **kwargs: Any) -> Folded:
    """Fold what activations multiply by into the layers before them; exact to rounding.

    ``FReLU`` with every positive slope ``a > 0`` is ``PReLU_{b/a}(a·x)``: a goes into the convolution, linear or
    normalising layer before it, and a ReLU, LeakyReLU or PReLU remains. ``SmoothFReLU`` with slopes a, b and
    sharpness n is the one with ``a/n``, ``b/n`` and sharpness 1 at ``n·x``: n goes into the layer. So it does for
    whatever is a SmoothFReLU under another name (one smoothed corner at 0, nothing added): SAU's exact form, a
    mollified ReLU, SmeLU, Squareplus. A layer takes part if, in the example's forward in evaluation mode, it runs
    once, feeds that activation and nothing else, and neither shares its weight nor carries hooks or parametrizations.

    Args:
        model: any bare model; it is copied unless ``inplace``.
        *example, **kwargs: what the model takes, one batch of any size.
        inplace: change the given model.

    Returns:
        The model and a table with one row per activation of bevel's; what stayed has a reason.

    Raises:
        InvalidValue: without an example, or for a model wrapped in DDP or FSDP.
        BevelError: if the output changed by more than rounding; a copy leaves the given model as it was.
    """
    if not example and not kwargs:
        raise InvalidValue("fold runs the model once; give it an example: bevel.fold(model, x).")
    model = working_copy(model, inplace)
    activations = {name: m for name, m in model.named_modules() if isinstance(m, Activation)}
    with evaluation(model):
        before = model(*example, **kwargs)
    found = feeds(model, example, kwargs, activations)
    rows = tuple(_fold_one(model, name, m, found[name]) for name, m in activations.items())
    with evaluation(model):
        after = model(*example, **kwargs)
    return Folded(model, rows, _checked(before, after))


def _checked(before: Any, after: Any) -> float:
    """The change, if it is rounding."""
    change = largest_change(before, after)
    floating = [t for t in tensors(before) if t.is_floating_point() and t.numel()]
    size = max((float(t.abs().max()) for t in floating), default=0.0)
    rounding = max((torch.finfo(t.dtype).eps for t in floating), default=0.0) ** 0.5
    if not change <= rounding * max(size, 1.0):
        raise BevelError(
            f"folding must keep the output; it changed by {change:.1e} of {size:.1e}. Is the forward random, or does "
            "it keep layers or activations where a module walk cannot see them?"
        )
    return change


def _fold_one(model: nn.Module, name: str, activation: Activation, feed: Feed) -> FoldRow:
    old = type(activation).__name__

    def kept(reason: str) -> FoldRow:
        return FoldRow(name, old, None, "", reason)

    if not isinstance(activation, FReLU | SmoothFReLU):
        return kept(f"{old} has no factor that could go into the layer before it; bevel.harden may replace it")
    if feed.x is None:
        return kept(feed.reason)
    factor = _factor(activation)
    if isinstance(factor, str):
        return kept(factor)
    new: nn.Module | str = _remaining(activation, factor, feed.x)
    if isinstance(new, str):
        return kept(new)
    if bool((factor == 1).all()):  # nothing to put anywhere
        if isinstance(activation, SmoothFReLU):
            return kept("its sharpness is 1 already")
        replace(model, activation, new)
        return FoldRow(name, old, type(new).__name__, "", "")
    if feed.layer is None:
        return kept(feed.reason)
    axis = output_axis(feed.layer, feed.x)
    if factor.numel() > 1 and activation.dim % feed.x.dim() != axis:
        return kept(f"its slopes lie along axis {activation.dim % feed.x.dim()}, the layer's channels along {axis}")
    scale(feed.layer, factor)
    replace(model, activation, new)
    return FoldRow(name, old, type(new).__name__, feed.name, "")


def _factor(activation: FReLU | SmoothFReLU) -> Tensor | str:
    """What x is to be multiplied by, float64, one value or one per channel; or why there is none."""
    if isinstance(activation, FReLU):
        a = activation.positive.detach().double()
        if bool((a > 0).all()):
            return a
        bad = int((~(a > 0)).nonzero()[0])
        return f"its positive slope must be > 0 to move before the sign; channel {bad} has {float(a[bad]):.4g}"
    _, n = activation.family.coefficients([p.detach().double() for p in activation.values()])
    return n if isinstance(n, Tensor) else torch.tensor([n], dtype=torch.float64)


def _remaining(activation: FReLU | SmoothFReLU, factor: Tensor, x: Tensor) -> nn.Module | str:
    """The activation of ``factor·x`` that equals the given one of x."""
    a, b = (p.detach().double() / factor.to(p.device) for p in (activation.positive, activation.negative))
    if isinstance(activation, SmoothFReLU):
        soft = SmoothFReLU(activation.num_parameters, 1, 0, activation.family.kernel, 1, False, activation.dim)
        soft.to(activation.positive.device, activation.positive.dtype)
        with torch.no_grad():
            soft.positive.copy_(a)
            soft.negative.copy_(b)
        return soft
    if bool((b == b[0]).all()):
        return nn.LeakyReLU(float(b[0])) if float(b[0]) else nn.ReLU()
    if x.dim() < 2 or activation.dim % x.dim() != 1:
        return f"its negative slopes differ along axis {activation.dim}, and a PReLU has its channels along axis 1"
    return prelu(b, x.device, x.dtype)


def prelu(slopes: Tensor, device: torch.device, dtype: torch.dtype) -> nn.PReLU:
    """A PReLU with these slopes, one per channel along axis 1."""
    module = nn.PReLU(slopes.numel(), device=device, dtype=dtype)
    with torch.no_grad():
        module.weight.copy_(slopes)
    return module
