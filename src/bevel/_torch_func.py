"""The transforms of ``torch.func`` that surround a call, taken off one by one: the rest of torch's private names.

As in :mod:`bevel._torch_private`, no other file touches them. ``tests/test_torch_func.py`` tries what is used here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import coerce_cinterpreter
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

_F: Any = torch._C._functorch
SingleLevelFunction = _SingleLevelFunction
"""An ``autograd.Function`` of one transform: what its forward returns, it has wrapped itself."""


def is_wrapped(x: Tensor) -> bool:
    """Whether a transform has wrapped the tensor, or, outside of all, forward mode."""
    return bool(_F.is_functorch_wrapped_tensor(x)) or (forward_ad._current_level >= 0 and _tangent(x) is not None)


def is_alive(x: Tensor) -> bool:
    """Whether the transform that wrapped the tensor is not over."""
    return not _F.is_dead_tensor_wrapper(x)


def plain_if_over(x: Tensor) -> Tensor:
    """Return the tensor inside where the transform that wrapped it is over."""
    found: Tensor = _F.unwrap_if_dead(x)
    return found


def _tangent(x: Tensor) -> Tensor | None:
    found: Tensor | None = forward_ad.unpack_dual(x, level=0).tangent  # type: ignore[no-untyped-call]
    return found


class Transform:
    """The innermost transform."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = coerce_cinterpreter(interpreter)
        self.level: int = self._interpreter.level()
        key = self._interpreter.key()
        self.batches, self.reverse = key == _F.TransformType.Vmap, key == _F.TransformType.Grad
        self.forward = key == _F.TransformType.Jvp

    def outside(self) -> AbstractContextManager[Any]:
        """Compute in the block as if it were not there."""
        lowered: AbstractContextManager[Any] = self._interpreter.lower()
        return lowered

    def concerns(self, x: Tensor) -> bool:
        """Whether x is what it batches or differentiates by."""
        return bool(_F.is_functorch_wrapped_tensor(x)) and _F.maybe_get_level(x) == self.level

    def unbatched(self, x: Tensor) -> tuple[Tensor, int]:
        """Return the tensor inside, and the axis of the batch."""
        return _F.get_unwrapped(x), _F.maybe_get_bdim(x)

    def batched(self, x: Tensor) -> Tensor:
        """Wrap a tensor that has its batch in front."""
        made: Tensor = _F._add_batch_dim(x, 0, self.level)
        return made

    def undifferentiated(self, x: Tensor) -> Tensor:
        """Return the tensor inside."""
        made: Tensor = _F._unwrap_for_grad(x, self.level)
        return made

    def differentiable(self, function: Any, x: Tensor, *fixed: Any) -> Tensor:
        """Apply a :data:`SingleLevelFunction` to x."""
        with enable_single_level_autograd_function():
            made: Tensor = function.apply(x, self, *fixed)
        return made

    def wrapped(self, x: Tensor) -> Tensor:
        """Wrap a tensor from outside."""
        made: Tensor = _F._wrap_for_grad(x, self.level)
        return made

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return value and tangent of forward mode, from inside."""
        primal, tangent = forward_ad.unpack_dual(x)  # type: ignore[no-untyped-call]
        inner = None if tangent is None else self.undifferentiated(tangent)
        return self.undifferentiated(primal), inner

    def dual(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Give a tensor a tangent."""
        made: Tensor = forward_ad.make_dual(x, tangent)  # type: ignore[no-untyped-call]
        return made


def innermost_transform() -> Transform | None:
    """Return the transform that surrounds the call most closely."""
    found = _F.peek_interpreter_stack()
    return None if found is None else Transform(found)
