"""What fold and harden share: the copy they work on, runs in evaluation mode, replacing a module, tables."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bevel._torch_private import move_hooks, tree_leaves
from bevel.errors import InvalidValue
from bevel.surgery._copy import copy_model
from bevel.surgery._route import RoutedForward, shield
from bevel.terms import Coefficient, Terms, is_zero


def working_copy(model: nn.Module, inplace: bool) -> nn.Module:
    """Return the model itself, or a deep copy of it; refuse wrapped models."""
    fsdp = sys.modules.get("torch.distributed.fsdp")  # not imported: nothing can be wrapped in it, and it is heavy
    kinds = (fsdp.FSDPModule, fsdp.FullyShardedDataParallel) if fsdp is not None else ()
    for m in model.modules():
        if isinstance(m, (DistributedDataParallel, *kinds)):
            raise InvalidValue(
                f"deploying works on whole weights; this model is wrapped ({type(m).__name__}). Use the model inside "
                "DistributedDataParallel (.module), or load the full state dict into an unsharded one."
            )
    return model if inplace else copy_model(model)


@contextlib.contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode without gradients, and every module back into its own mode afterwards."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for m, mode in modes.items():
            m.training = mode


def tensors(tree: Any) -> list[Tensor]:
    """Find every tensor in a nested result, data classes included."""
    found: list[Tensor] = []
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "__dict__"):  # output classes that are no pytree node
            found += [v for v in vars(leaf).values() if isinstance(v, Tensor)]
    return found


def largest_change(before: Any, after: Any) -> float:
    """The largest absolute difference between two results, over all floating tensors in them."""
    changes = [0.0]
    for a, b in zip(tensors(before), tensors(after), strict=True):
        if a.is_floating_point() and a.numel():
            changes.append(float((a.double() - b.double()).abs().max()))
    return max(changes)


def replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is registered, in the same mode, with its hooks.

    In a model with replaced functions ``new`` is shielded, so that no scope counts the ``F.relu`` that it calls.
    """
    new.train(old.training)
    move_hooks(old, new)
    forwards = (m.__dict__.get("forward") for m in model.modules())
    if any(isinstance(f, RoutedForward) and f.functions for f in forwards):
        new.__dict__["forward"] = shield(new)
    for parent in model.modules():
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)


def one_corner(terms: Terms[Coefficient]) -> bool:
    """Whether there is one change of slope, at 0, and no step or offset."""
    return len(terms.knots) == 1 and all(map(is_zero, (terms.knots[0], terms.offset, terms.steps[0])))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text with aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
