"""Every use that bevel makes of names that torch does not promise to keep.

No other file of the library touches a name of torch that begins with an underscore, so that a release of torch that
takes one away is answered here. ``tests/test_torch_private.py`` names each and says what stops working without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_C: Any = torch._C

FAKE_TENSOR_LOG = "torch._subclasses.fake_tensor"
"""The logger that reports a failed operation on fake tensors."""

# ------------------------------------------------------------------------------------------ who is looking at a call


def func_transforms_active() -> bool:
    """Whether a transform of ``torch.func`` (``grad``, ``vmap``, ``jvp``, …) surrounds the call."""
    return bool(_C._are_functorch_transforms_active())


def jit_tracing() -> bool:
    """Whether ``torch.jit.trace`` records the call."""
    return bool(_C._get_tracing_state())


def forward_mode_active() -> bool:
    """Whether forward-mode differentiation (``torch.autograd.forward_ad.dual_level``) surrounds the call."""
    return forward_ad._current_level >= 0


# ------------------------------------------------------------------------------------------------- functions of torch


def hidden_functions() -> Any:
    """The module that holds the C++ spelling of ``torch.nn.functional``'s activations, e.g. ``torch._C._nn.gelu``."""
    return _C._nn


def function_modes() -> list[Any]:
    """This thread's ``TorchFunctionMode``s, the innermost last."""
    return [_C._get_function_stack_at(i) for i in range(_C._len_torch_function_stack())]


def exchange_function_modes(present: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Replace this thread's function modes; those at the bottom that are in both stay untouched."""
    same = 0
    while same < min(len(present), len(wanted)) and present[same] is wanted[same]:
        same += 1
    for _ in present[same:]:
        _C._pop_torch_function_stack()
    for mode in wanted[same:]:
        _C._push_on_torch_function_stack(mode)


# ------------------------------------------------------------------------------------------------ modules and tensors


def submodules(module: nn.Module) -> dict[str, nn.Module | None]:
    """The dictionary itself in which a module keeps its submodules: writing to it runs no ``__setattr__``."""
    return module._modules


def own_parameters(module: nn.Module) -> Iterable[nn.Parameter]:
    """The parameters that a module registers itself, each registration once, also where two share a tensor."""
    return [p for p in module._parameters.values() if p is not None]


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether a forward hook or a forward pre-hook is registered on the module itself."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def drop_later_hooks(module: nn.Module) -> None:
    """Remove the module's forward hooks and backward hooks, and keep the hooks that run before its forward."""
    module._forward_hooks.clear()
    module._backward_hooks.clear()
    module._backward_pre_hooks.clear()


def move_hooks(old: nn.Module, new: nn.Module) -> None:
    """Give ``new`` the hooks of ``old``: the same dictionaries, so that handles still remove."""
    for key in nn.Module().__dict__:
        if "_hook" in key:  # the dictionaries, and whether the backward hooks are full ones
            new.__dict__[key] = old.__dict__[key]


def storage_address(t: Tensor) -> int:
    """A number that two tensors share if they share memory; also fake tensors, which have no data pointer."""
    return int(t.untyped_storage()._cdata)


def load_state_hooks(optimizer: Optimizer) -> tuple[list[Any], list[Any]]:
    """What is registered to run before and after ``load_state_dict`` of an optimizer."""
    before, after = optimizer._optimizer_load_state_dict_pre_hooks, optimizer._optimizer_load_state_dict_post_hooks
    return list(before.values()), list(after.values())


__all__ = [
    "FAKE_TENSOR_LOG",
    "FakeCopyMode",
    "FakeTensor",
    "FakeTensorMode",
    "TorchDispatchMode",
    "drop_later_hooks",
    "exchange_function_modes",
    "forward_mode_active",
    "func_transforms_active",
    "function_modes",
    "has_forward_hooks",
    "hidden_functions",
    "jit_tracing",
    "load_state_hooks",
    "move_hooks",
    "own_parameters",
    "storage_address",
    "submodules",
    "tree_leaves",
    "tree_map",
]
