"""What a swap leaves in the model: how a replaced call finds its activation at run time.

A module called once per forward is replaced where it hangs. Two cases need more, because several calls go through one
name, and both get it from the module whose ``forward`` makes the calls, the *scope*:

- a function (``F.relu(x)``, ``x.relu()``): the scope's forward runs under a ``TorchFunctionMode``, :class:`_Route`;
- one module called several times: it becomes a :class:`PerCall`, which holds one activation per call.

The scope gets an instance attribute ``forward``, a :class:`RoutedForward`. Of the ways to get between a module and its
forward this one leaves ``type(module)`` alone, is copied and pickled with the module, passes through
``torch.compile(fullgraph=True)`` and ``torch.export`` (a wrapped class would change the type, hooks cannot keep a mode
open under compile, and rewritten source needs the source), and is run again by activation checkpointing. A mode costs
about 4 µs per torch call inside the scope in eager mode and nothing when compiled; a ``PerCall`` costs about 1 µs.

Calls are told apart by their order within one run of the scope's forward, never by state that outlives it: threads,
exceptions and recursion cannot put it out of step.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bevel._torch_private import exchange_function_modes, function_modes, submodules
from bevel.errors import InvalidValue
from bevel.surgery._names import spelled

LEAVE = -1
"""In a plan: this call keeps its function."""

HOLDER = "bevel_sites"
"""The name under which a scope holds the activations of its function calls."""

Plan = dict[bool, tuple[int, ...]]
"""For a scope in training (True) and in evaluation (False): which activation each call takes, in the calls' order."""


def take(plan: tuple[int, ...], step: int, what: str) -> int:
    """Look up the activation of the ``step``-th call; a plan of one activation serves any number of calls."""
    if step < len(plan):
        return plan[step]
    if plan and len(set(plan)) == 1:
        return plan[0]
    raise InvalidValue(
        f"{what} ran {step + 1} times in one forward but {len(plan)} times when it was swapped, so the call has no "
        "activation of its own. Restore, and swap again with an example that runs it as often."
    )


def chosen(plan: Plan, training: bool) -> tuple[int, ...]:
    """Return the plan of a mode, or the other mode's if this one was not seen."""
    return plan[training] if training in plan else plan[not training]


class _Steps(threading.local):
    """Per thread: for each ``PerCall`` its present plan and the next step."""

    def __init__(self) -> None:
        self.at: dict[int, list[Any]] = {}


_STEPS = _Steps()


class PerCall(nn.Module):
    """Take the place of one module that is called several times, with an activation for each call.

    The scope says which call is next. The activations are the submodules "0", "1", …; None leaves a number out.
    """

    def __init__(self, activations: Sequence[nn.Module | None]) -> None:
        super().__init__()
        for index, activation in enumerate(activations):
            if activation is not None:
                self.add_module(str(index), activation)
        self.original: nn.Module | None = None  # for calls that were not swapped
        self.plan: tuple[int, ...] = ()
        self.step = 0

    def open(self, plan: tuple[int, ...]) -> Any:
        """Begin a run of the scope; return what :meth:`close` takes."""
        if torch.compiler.is_compiling():  # traced by one thread, and thread-local state cannot be traced
            before = (self.plan, self.step)
            self.plan, self.step = plan, 0
            return before
        outer = _STEPS.at.get(id(self))
        _STEPS.at[id(self)] = [plan, 0]
        return outer

    def close(self, before: Any) -> None:
        """End a run of the scope."""
        if torch.compiler.is_compiling():
            self.plan, self.step = before
        elif before is None:
            _STEPS.at.pop(id(self), None)
        else:
            _STEPS.at[id(self)] = before

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            plan, step = self.plan, self.step
            self.step = step + 1
        else:
            state = _STEPS.at.get(id(self))
            if state is None:
                raise InvalidValue(
                    "this activation stands for several calls of one module and is told apart by the forward that "
                    "makes them; it was called from outside that forward. Call the block it belongs to."
                )
            plan, step = state
            state[1] = step + 1
        index = take(plan, step, "a shared activation module")
        activation: nn.Module = getattr(self, "original" if index == LEAVE else str(index))
        result: Tensor = activation(x)
        return result


class WriteBack(nn.Module):
    """Take the place of a call in place whose input is read again: write the result into the input.

    The activation gets a copy, because autograd keeps its input for backward.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return x.copy_(self.activation(x.clone()))


class _Route(TorchFunctionMode):
    """A function mode that sends the calls of some functions to the scope's activations, in the plan's order."""

    def __init__(self, owner: nn.Module, table: Mapping[Any, str], plans: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.owner = owner
        self.table = table
        self.plans = plans
        self.steps = dict.fromkeys(plans, 0)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in self.table:
            return func(*args, **(kwargs or {}))
        name = self.table[func]
        step = self.steps[name]
        self.steps[name] = step + 1
        index = take(self.plans[name], step, name)
        if index == LEAVE:
            return func(*args, **(kwargs or {}))
        x = args[0] if args else (kwargs or {})["input"]
        return getattr(self.owner, HOLDER)[place(name, index)](x)


def place(name: str, index: int) -> str:
    """Name a function call's activation within its scope's ``bevel_sites``."""
    return name if index == 0 else f"{name}_{index}"


def free(scope: nn.Module, name: str) -> int:
    """Find the first index of the scope's ``bevel_sites`` that no earlier swap has taken."""
    held = submodules(scope).get(HOLDER)
    tails = [key.removeprefix(name) for key in submodules(held) if key.startswith(name)] if held is not None else []
    taken = [int(tail[1:] or 0) for tail in tails if not tail or (tail[0] == "_" and tail[1:].isdecimal())]
    return max(taken, default=-1) + 1


class RoutedForward:
    """Run a scope's forward with its calls routed; stored in the module's own ``__dict__``.

    A route inside another (a routed module called by a routed module) suspends the outer one, so that a scope counts
    its own calls only; a mode of another kind in between, such as ``with torch.device(...)``, stays. Without any plan
    it only hides what the module calls from the routes around it.

    Args:
        module: the scope.
        functions: for each function name the plan over the activations in ``module.bevel_sites``.
        modules: each ``PerCall`` that the scope calls, with its plan.
    """

    def __init__(
        self, module: nn.Module, functions: Mapping[str, Plan], modules: tuple[tuple[PerCall, Plan], ...] = ()
    ) -> None:
        self.module = module
        self.inner: Callable[..., Any] | None = module.__dict__.get("forward")
        self.functions = dict(functions)
        self.modules = modules
        self.table = spelled(self.functions)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.modules:
            return self._routed(args, kwargs)
        training = self.module.training
        before = [percall.open(chosen(plan, training)) for percall, plan in self.modules]
        try:
            return self._routed(args, kwargs) if self.functions else self._run(args, kwargs)
        finally:
            for (percall, _), state in zip(self.modules, before, strict=True):
                percall.close(state)

    def _run(self, args: Any, kwargs: Any) -> Any:
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)

    def _routed(self, args: Any, kwargs: Any) -> Any:
        route = _Route(self.module, self.table, {n: chosen(p, self.module.training) for n, p in self.functions.items()})
        # A swap of a swapped scope runs the earlier swap's forward, whose calls both count. A scope that calls itself
        # begins with its latest swap.
        latest = self.module.__dict__.get("forward") is self
        stack = function_modes()
        kept = [m for m in stack if not isinstance(m, _Route) or (m.owner is self.module and not latest)]
        if len(kept) == len(stack):
            with route:
                return self._run(args, kwargs)
        exchange_function_modes(stack, kept)
        try:
            with route:
                return self._run(args, kwargs)
        finally:
            exchange_function_modes(kept, stack)

    # What others read off a module's forward: inspect.signature, torch.export, Lightning, transformers' Trainer.

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        if self.inner is not None:
            return self.inner
        bound: Callable[..., Any] = type(self.module).forward.__get__(self.module)
        return bound

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__wrapped__)

    @property
    def __code__(self) -> CodeType:
        code: CodeType = self.__wrapped__.__code__
        return code

    @property
    def __name__(self) -> str:
        return "forward"


def shield(module: nn.Module) -> RoutedForward:
    """Make a forward for ``module.__dict__`` that hides the module's calls from the scopes around it."""
    return RoutedForward(module, {})
