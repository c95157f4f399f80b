"""Every use that bevel makes of names that torch does not promise to keep.

No other file of the library but ``_torch_func.py`` touches a name of torch that begins with an underscore, so that a
release of torch that takes one away is answered here. ``tests/test_torch_private.py`` names each and says what stops
working without it. Two names without an underscore are no promise either: ``to_save`` and ``materialize_grads`` of the
context of a ``Function``. ``ops/_direct.py`` writes them itself, since a call of a helper would cost what they save.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from traceback import StackSummary
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
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


@contextlib.contextmanager
def jit_paused() -> Iterator[None]:
    """Stop ``torch.jit.trace`` from recording: in the block sizes are plain numbers, as they are outside of a trace."""
    state = _C._get_tracing_state()
    _C._set_tracing_state(None)
    try:
        yield
    finally:
        _C._set_tracing_state(state)


def forward_mode_active() -> bool:
    """Whether forward-mode differentiation (``torch.autograd.forward_ad.dual_level``) surrounds the call."""
    return forward_ad._current_level >= 0


def plainly_eager() -> bool:
    """Whether nothing but autograd's backward mode sees the call: no compiler, trace, transform, mode, forward mode."""
    return not (
        torch.compiler.is_dynamo_compiling()  # this and the next are torch.compiler.is_compiling(), in one call for two
        or torch.compiler._is_compiling_flag
        or _C._get_tracing_state()
        or _C._are_functorch_transforms_active()
        or _C._len_torch_dispatch_stack()
        or forward_ad._current_level >= 0
    )


def export_flag() -> bool:
    """What ``torch.compiler.is_exporting()`` says in eager mode; of a compiled call torch 2.11 answers with True."""
    return torch.compiler._is_exporting_flag


def traced_stack() -> StackSummary:
    """The user's stack at the call that ``torch.compile`` traces now, the innermost last; empty outside of it."""
    return TracingContext.extract_stack()


def skip_frame() -> Callable[..., None]:
    """The function that makes ``torch.compile`` leave the function that calls it to eager mode; for traced code only.

    It must be called there, as ``skip_frame()(msg=…)``: within another function it would skip that one.
    """
    function: Callable[..., None] = torch._dynamo.skip_frame
    return function


def graph_task() -> int:
    """Return the number of the run of autograd that this is part of."""
    return int(_C._current_graph_task_id())


def will_run(node: Any) -> bool:
    """Whether this run of autograd comes to a node."""
    return bool(_C._will_engine_execute_node(node))


dispatch_mode_active: Callable[[], int] = _C._len_torch_dispatch_stack
"""Not 0 where a ``TorchDispatchMode`` watches the operators of this thread, as ``make_fx`` does to record them."""


# ------------------------------------------------------------------------------------------------- functions of torch


def hidden_functions() -> Any:
    """The module that holds the C++ spelling of ``torch.nn.functional``'s activations, e.g. ``torch._C._nn.gelu``."""
    return _C._nn


def operator_function(namespace: str, name: str) -> Callable[..., Any]:
    """The C++ function behind ``torch.ops.<namespace>.<name>.default``, which wraps it in a call of Python's."""
    operator: Any = getattr(getattr(torch.ops, namespace), name).default
    function: Callable[..., Any] = operator._op
    return function


def written_by(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments of an operator that it writes to."""
    if not operator._schema.is_mutable:
        return []
    own = {a.name: a.alias_info is not None and a.alias_info.is_write for a in operator._schema.arguments}
    given = [*zip(own, args, strict=False), *kwargs.items()]
    return [value for name, value in given if own[name]]


def bare_apply(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """``function.apply`` as C++ has it, without the look for wrappers that ``torch.func`` left behind."""
    base: Any = super(torch.autograd.Function, function)
    apply: Callable[..., Any] = base.apply
    return apply


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


def forward_hooks(module: nn.Module) -> list[Callable[..., Any]]:
    """The forward hooks and forward pre-hooks that are registered on the module itself."""
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def is_watched(module: nn.Module) -> bool:
    """Whether a hook, of the module or of all modules, or a mode of torch functions would see a call of it."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    everywhere = torch.nn.modules.module._has_any_global_hook()  # type: ignore[no-untyped-call]
    return any(hooks) or bool(everywhere) or bool(_C._len_torch_function_stack())


def drop_later_hooks(module: nn.Module, keep: Callable[[Callable[..., Any]], bool]) -> None:
    """Remove the module's backward hooks and the forward hooks that ``keep`` does not pick; keep its pre-hooks."""
    for key in [key for key, hook in module._forward_hooks.items() if not keep(hook)]:
        del module._forward_hooks[key]
    module._backward_hooks.clear()
    module._backward_pre_hooks.clear()


def own_buffer(module: nn.Module, name: str) -> Tensor | None:
    """A buffer that the module registers itself, or None. It takes a tenth of the time of ``getattr``."""
    return module._buffers.get(name)


def own_tensors(module: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """The dictionaries themselves in which a module keeps its parameters and its buffers: one call for all of them."""
    return module._parameters, module._buffers


def own_parameter(module: nn.Module, name: str) -> Tensor:
    """A parameter of a module, in a third of the time of ``getattr`` where the module registers it itself."""
    found = module._parameters.get(name)
    result: Tensor = getattr(module, name) if found is None else found
    return result


def read_number(t: Tensor) -> float | None:
    """The value of a real tensor of one element, or None for one that something wraps or records.

    No ``TorchDispatchMode``, such as one of fake tensors, takes part. Called in every forward: it calls C directly.
    """
    if type(t) is not Tensor or _C._get_tracing_state() or _C._are_functorch_transforms_active():
        return None
    if _C._len_torch_dispatch_stack():
        with modes_paused():
            return t.item()
    return t.item()


modes_paused: Callable[[], contextlib.AbstractContextManager[Any]] = _disable_current_modes
"""A block in which no ``TorchDispatchMode``, such as one of fake tensors, takes part."""


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A block that computes on the CPU as if it stood alone: for what is made once, wherever it is first asked for.

    No mode, default device, trace or transform takes part; an inference mode would make tensors that no training takes.
    """
    apart = jit_paused(), modes_paused(), _C.DisableTorchFunction(), temporarily_clear_interpreter_stack()
    with contextlib.ExitStack() as stack:
        for block in (*apart, torch.inference_mode(False)):
            stack.enter_context(block)
        yield


def readable(t: Tensor) -> bool:
    """Whether the values can be read in this process: nothing wraps the tensor, records it, or is still to fill it.

    A subclass may hold no values, or may ask other processes for them, as distributed tensors do.
    """
    return type(t) in (Tensor, nn.Parameter) and not (t.is_meta or jit_tracing() or func_transforms_active())


class StatefulModule(nn.Module):
    """A module that is asked when its tensors are converted or moved, and before its state is loaded."""

    def convert(self, t: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """What becomes of a parameter or buffer under ``change``, as ``.half()`` or ``.to()`` brings it."""
        return change(t)

    def complete(self, state: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
        """The state to load, of which this module's keys begin with ``prefix``."""
        return state

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        return super()._apply(lambda t: self.convert(t, fn), recurse)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(self.complete(state_dict, prefix), prefix, *args)


REPLICATE = "_replicate_for_data_parallel"
"""The method by which ``nn.DataParallel`` makes a module's shallow copies; an instance may have its own."""


def replicate(module: nn.Module) -> nn.Module:
    """A shallow copy of a module as ``nn.DataParallel`` makes it, whatever the instance has under :data:`REPLICATE`."""
    made: nn.Module = type(module)._replicate_for_data_parallel(module)  # type: ignore[no-untyped-call]
    return made


def move_hooks(old: nn.Module, new: nn.Module) -> None:
    """Give ``new`` the hooks of ``old``: the same dictionaries, so that handles still remove."""
    for key in nn.Module().__dict__:
        if "_hook" in key:  # the dictionaries, and whether the backward hooks are full ones
            new.__dict__[key] = old.__dict__[key]


class _Followed:
    """A hook of another module, called as long as the other module keeps it."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], key: int) -> None:
        self.hooks = hooks
        self.key = key

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        hook = self.hooks.get(self.key)
        return None if hook is None else hook(*args, **kwargs)


def follow_hooks(old: nn.Module, new: nn.Module) -> None:
    """Let ``new`` run the forward and backward hooks of ``old`` while ``old`` keeps them, beside hooks of its own."""
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        hooks = old.__dict__[name]
        new.__dict__[name].update({key: _Followed(hooks, key) for key in hooks})
    for name in ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"):
        new.__dict__[name].update(old.__dict__[name])
    new._is_full_backward_hook = old._is_full_backward_hook


def is_zero_tensor(t: Tensor) -> bool:
    """Whether a tensor is one of the zeros without memory that torch's own backward passes may make."""
    return t._is_zerotensor()


def storage_address(t: Tensor) -> int:
    """A number that two tensors share if they share memory; also fake tensors, which have no data pointer."""
    return int(t.untyped_storage()._cdata)


def version(t: Tensor) -> int:
    """How often a tensor, or one that shares its memory, was written to; torch does not count for inference tensors."""
    return 0 if t.is_inference() else int(t._version)


def load_state_hooks(optimizer: Optimizer) -> tuple[list[Any], list[Any]]:
    """What is registered to run before and after ``load_state_dict`` of an optimizer."""
    before, after = optimizer._optimizer_load_state_dict_pre_hooks, optimizer._optimizer_load_state_dict_post_hooks
    return list(before.values()), list(after.values())


__all__ = [
    "FAKE_TENSOR_LOG",
    "REPLICATE",
    "FakeCopyMode",
    "FakeTensor",
    "FakeTensorMode",
    "StatefulModule",
    "TorchDispatchMode",
    "bare_apply",
    "dispatch_mode_active",
    "drop_later_hooks",
    "exchange_function_modes",
    "export_flag",
    "follow_hooks",
    "forward_hooks",
    "forward_mode_active",
    "func_transforms_active",
    "function_modes",
    "graph_task",
    "hidden_functions",
    "is_watched",
    "is_zero_tensor",
    "jit_paused",
    "jit_tracing",
    "load_state_hooks",
    "modes_paused",
    "move_hooks",
    "operator_function",
    "own_buffer",
    "own_parameter",
    "own_parameters",
    "own_tensors",
    "plainly_eager",
    "read_number",
    "readable",
    "replicate",
    "skip_frame",
    "storage_address",
    "submodules",
    "traced_stack",
    "tree_leaves",
    "tree_map",
    "undisturbed",
    "version",
    "will_run",
    "written_by",
]
