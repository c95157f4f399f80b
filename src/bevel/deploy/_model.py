"""What fold and harden share: runs in evaluation mode, replacing a module, tables."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bevel._torch_private import move_hooks, submodules, tree_leaves
from bevel.errors import InvalidValue
from bevel.family import Affine
from bevel.nn import Activation
from bevel.surgery._install import Edits
from bevel.surgery._random import RandomState
from bevel.surgery._route import RoutedForward, shield
from bevel.terms import Coefficient, Terms, as_numbers, is_zero


def refuse_wrapped(model: nn.Module) -> None:
    """Refuse a model that is wrapped in DDP or FSDP."""
    fsdp = sys.modules.get("torch.distributed.fsdp")  # not imported: nothing can be wrapped in it, and it is heavy
    kinds = (fsdp.FSDPModule, fsdp.FullyShardedDataParallel) if fsdp is not None else ()
    for m in model.modules():
        if isinstance(m, (DistributedDataParallel, *kinds)):
            raise InvalidValue(
                f"deploying works on whole weights; this model is wrapped ({type(m).__name__}). Use the model inside "
                "DistributedDataParallel (.module), or load the full state dict into an unsharded one."
            )


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


class Example:
    """One batch, and the random state that every run on it draws from: a forward may be random in evaluation."""

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._args = args
        self._kwargs = kwargs
        self._state = RandomState()

    def __bool__(self) -> bool:
        return bool(self._args or self._kwargs)

    def run(self, model: nn.Module) -> Any:
        """Run the model on the batch in evaluation mode."""
        with evaluation(model), self._state.drawn_from():
            return model(*self._args, **self._kwargs)


def tensors(tree: Any) -> list[Tensor]:
    """Find every tensor in a nested result, data classes included."""
    found: list[Tensor] = []
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "__dict__"):  # output classes that are no pytree node
            found += [v for v in vars(leaf).values() if isinstance(v, Tensor)]
    return found


def in_double(t: Tensor) -> Tensor:
    """A tensor in float64 without gradients; on the CPU where its device has no such numbers."""
    t = t.detach()
    return (t.cpu() if t.device.type == "mps" else t).double()


def largest_change(before: Any, after: Any) -> float:
    """The largest absolute difference between two results, over all floating tensors; inf if their shapes differ.

    Where both are the same infinity, or both NaN, nothing changed; where one of them is NaN, the change is inf.
    """
    firsts, seconds = tensors(before), tensors(after)
    if [t.shape for t in firsts] != [t.shape for t in seconds]:
        return math.inf
    changes = [0.0]
    for a, b in zip(firsts, seconds, strict=True):
        if a.is_floating_point() and a.numel():
            a, b = in_double(a), in_double(b)
            same = (a == b) | (a.isnan() & b.isnan())
            changes.append(float((a - b).abs().masked_fill(same, 0.0).nan_to_num(math.inf, math.inf).max()))
    return max(changes)


def changes_made(
    model: nn.Module, batch: Example, replacements: Mapping[nn.Module, nn.Module]
) -> tuple[Any, dict[nn.Module, float]]:
    """Run the model as it is; measure what each module's replacement would give for the same input.

    Returns:
        The output, and by module the largest absolute difference of all its calls; none for what did not run.
    """
    found: dict[nn.Module, float] = {}

    def seen(module: nn.Module, x: Tensor, output: Any) -> None:
        found[module] = max(found.get(module, 0.0), largest_change(output, shield(replacements[module])(x)))

    with hooked(dict.fromkeys(replacements, seen)):
        return batch.run(model), found


@contextlib.contextmanager
def hooked(hooks: Mapping[nn.Module, Callable[[nn.Module, Tensor, Any], Any]]) -> Iterator[None]:
    """Call a hook with each activation's input and output; what it returns is the activation's output.

    It comes before the user's own forward hooks, which see what it returns, as they see a replaced module's output.
    """

    def called(hook: Callable[[nn.Module, Tensor, Any], Any]) -> Callable[..., Any]:
        def call(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
            return hook(module, next(iter((*args, *kwargs.values()))), output)

        return call

    handles = [m.register_forward_hook(called(h), prepend=True, with_kwargs=True) for m, h in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def replace(model: nn.Module, old: nn.Module, new: nn.Module, edits: Edits) -> None:
    """Put ``new`` wherever ``old`` is registered, in the same mode, with its hooks.

    In a model with replaced functions ``new`` is shielded, so that no scope counts the ``F.relu`` that it calls.
    """
    new.train(old.training)
    move_hooks(old, new)
    forwards = (m.__dict__.get("forward") for m in model.modules())
    if any(isinstance(f, RoutedForward) and f.functions for f in forwards):
        edits.route(new, shield(new))
    for parent in list(model.modules()):
        for name, child in list(submodules(parent).items()):
            if child is old:
                edits.set(submodules(parent), name, new)


def right_slope(module: Activation) -> Tensor:
    """The slope far right of all knots, in float64, summed as an expression: SAU's α + (1 − α) is exactly 1."""
    terms = module.family.terms
    total = Affine(0.0, ())
    for slot in (terms.left, *terms.jumps):
        total = total + slot
    total = total.without_zeros()
    if not total.indices():
        return torch.tensor([total.constant], dtype=torch.float64)
    parameters = [as_numbers(p) for p in module.values()]
    return total.value(parameters)


def one_corner(terms: Terms[Coefficient]) -> bool:
    """Whether there is one change of slope, at 0, and no step, offset or bend."""
    return (
        not terms.curve and len(terms.knots) == 1 and all(map(is_zero, (terms.knots[0], terms.offset, terms.steps[0])))
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text with aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
