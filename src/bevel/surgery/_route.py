"""What a swap leaves in the model: how a replaced call finds its activation at run time.

A module called once per forward is replaced where it hangs. Two cases need more, because several calls go through one
name, and both get it from the module whose ``forward`` makes the calls, the *scope*:

- a function (``F.relu(x)``, ``x.relu()``): the scope's forward runs under a ``TorchFunctionMode``, :class:`_Route`;
- one module called several times: it becomes a :class:`PerCall`, which holds one activation per call.

The scope gets an instance attribute ``forward``, a :class:`RoutedForward`. Of the ways to get between a module and its
forward this one leaves ``type(module)`` alone, is copied and pickled with the module, passes through
``torch.compile(fullgraph=True)`` and ``torch.export`` (a wrapped class would change the type, hooks cannot keep a mode
open under compile, and rewritten source needs the source), and is run again by activation checkpointing. A mode costs
about 4 µs per torch call inside the scope in eager mode and nothing when compiled; a ``PerCall`` costs about 2 µs.

Calls are told apart by their place in the forward's code (:mod:`bevel.surgery._calls`), within one run of the forward
and never by state that outlives it: threads, exceptions and recursion do not disturb them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bevel._torch_private import exchange_function_modes, function_modes, replicate, skip_frame, submodules
from bevel.errors import BevelError, InvalidValue
from bevel.surgery._calls import LEAVE, OPEN, UNSURE, UNTRACEABLE, Run, Slot, Table, tell
from bevel.surgery._held import HOLDER, UNSCRIPTABLE
from bevel.surgery._names import spelled
from bevel.surgery._place import lines_of, located
from bevel.surgery._products import Products


class PerCall(nn.Module):
    """Take the place of one module that is called several times, with an activation for each call.

    The open run of the scope says which call this is. The activations are the submodules "0", "1", …; None leaves a
    number out.
    """

    def __init__(self, activations: Sequence[nn.Module | None]) -> None:
        super().__init__()
        for index, activation in enumerate(activations):
            if activation is not None:
                self.add_module(str(index), activation)
        self.original: nn.Module | None = None  # for calls that were not swapped
        self.slot = Slot()  # replicas of the module share it

    def forward(self, x: Tensor) -> Tensor:
        slot, tracing = self.slot, torch.compiler.is_dynamo_compiling()
        if tracing and slot.traced is None and slot.eager:
            skip_frame()(msg=UNTRACEABLE)
        run = slot.traced if tracing else OPEN.runs.get(id(slot), slot.traced)
        if run is None:
            raise InvalidValue(
                "this activation stands for several calls of one module and is told apart by the forward that "
                "makes them; it was called from outside that forward. Call the block it belongs to."
            )
        if tracing:
            from bevel.surgery import _traced

            index = run.pick_traced(*_traced.here())
            if index == UNSURE:
                skip_frame()(msg=UNTRACEABLE)
        else:
            index = run.pick(*located(sys._getframe(), module=True))
        if index is None:
            raise InvalidValue(
                f"the example did not run this call of {run.table.what}, which has an activation for each call. "
                "Restore, and swap again with an example that makes all calls."
            )
        activation: nn.Module = getattr(self, "original" if index == LEAVE else str(index))
        result: Tensor = activation(x)
        return result

    def __prepare_scriptable__(self) -> nn.Module:
        raise BevelError(UNSCRIPTABLE)


class WriteBack(nn.Module):
    """Take the place of a call in place whose input is read again: write the result into the input.

    The activation gets a copy, because autograd may keep its input for backward.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return x.copy_(self.activation(x.clone()))


class _Route(TorchFunctionMode):
    """A function mode that sends the calls of some functions to the scope's activations."""

    def __init__(self, owner: nn.Module, names: Mapping[Any, str], runs: Mapping[str, Run]) -> None:
        super().__init__()
        self.owner = owner
        self.names = names
        self.runs = runs
        self.products = Products() if any(run.table.products for run in runs.values()) else None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.products is not None:
            closed = self.products.closed(func, args, kwargs)
            if closed is not None:
                multiple, key = closed
                return getattr(self.owner, HOLDER).get_submodule(key)(multiple.of)
        if func not in self.names:
            result = func(*args, **kwargs)
            if self.products is not None:
                self.products.follow(func, args, kwargs, result)
            return result
        name = self.names[func]
        if torch.compiler.is_dynamo_compiling():
            from bevel.surgery import _traced

            lines, whole = _traced.here()
            index = self.runs[name].pick_traced(lines, whole)
            if index == UNSURE:
                skip_frame()(msg=UNTRACEABLE)
            if index is None:
                _traced.tell_here(name, lines)
        else:
            code, found = located(sys._getframe(1), module=False)
            index = self.runs[name].pick(code, found)
            if index is None:
                tell(name, lines_of(found))
        if index is None or index == LEAVE:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        if self.products is not None and index in self.runs[name].table.products:
            multiple = self.products.multiple(x)  # as x is now: the call may be in place
            result = func(*args, **kwargs)
            self.products.opened(multiple, result, place(name, index))
            return result
        return getattr(self.owner, HOLDER).get_submodule(place(name, index))(x)


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
    its own calls only; a mode of another kind in between, such as ``with torch.device(...)``, stays. Without any table
    it only hides what the module calls from the routes around it.

    Args:
        module: the scope.
        functions: for each function name the table over the activations in ``module.bevel_sites``.
        shared: the slot of each ``PerCall`` that the scope calls, with its table.
    """

    def __init__(
        self, module: nn.Module, functions: Mapping[str, Table], shared: Sequence[tuple[Slot, Table]] = ()
    ) -> None:
        self.module = module
        self.inner: Callable[..., Any] | None = module.__dict__.get("forward")
        self.functions = dict(functions)
        self.shared = tuple(shared)
        self.names = spelled(self.functions)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        training = self.module.training
        runs = {name: Run(table, training) for name, table in self.functions.items()}
        opened = [(run.table.slot, run) for run in runs.values() if run.table.several]
        for slot, table in self.shared:
            run = Run(table, training)
            opened.append((slot, run))
            if table.several:
                opened.append((table.slot, run))
        before = [slot.put(run) for slot, run in opened]
        try:
            routed = len(self.functions) > 0 or len(self.shared) == 0
            result = self._routed(runs, args, kwargs) if routed else self._run(args, kwargs)
            for _, run in opened:
                run.check()
            return result
        finally:
            for (slot, _), outer in zip(opened, before, strict=True):
                slot.put(outer)

    def _run(self, args: Any, kwargs: Any) -> Any:
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)

    def _routed(self, runs: Mapping[str, Run], args: Any, kwargs: Any) -> Any:
        route = _Route(self.module, self.names, runs)
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

    def replica(self) -> nn.Module:
        """Make a replica of the scope for ``nn.DataParallel``, whose calls are routed to the replica's activations."""
        made = replicate(self.module)
        made.__dict__["forward"] = self._bound_to(made)
        return made

    def _bound_to(self, module: nn.Module) -> RoutedForward:
        twin = RoutedForward.__new__(RoutedForward)
        twin.__dict__.update(self.__dict__)
        twin.module = module
        if isinstance(self.inner, RoutedForward):
            twin.inner = self.inner._bound_to(module)
        return twin

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
