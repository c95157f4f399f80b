"""Watch one run of a model: which activation calls it makes, in which forward and on what."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

from bevel.surgery._axes import CONSTANT, WEIGHT, Channels, Label
from bevel.surgery._names import SPELLINGS, UNITS, Kind, Spelling
from bevel.surgery._place import Place, place_of_call
from bevel.surgery._probe import Source
from bevel.surgery._products import Products

_RUNS = itertools.count()


@dataclass(frozen=True)
class Scope:
    """One run of a module's forward.

    Attributes:
        name: of the module.
        run: a number that no other run has.
        training: the module's mode.
        since: how many modules had finished when it began.
    """

    name: str
    run: int
    training: bool
    since: int


@dataclass
class Call:
    """One activation call.

    Attributes:
        trace: the run of the whole model that it is part of.
        path: for a module the qualified name it hangs under, for a function "".
        kind, written: as in :class:`bevel.surgery.Site`.
        source: what it computes.
        scopes: the forwards it was made in, outermost first.
        place: where in the innermost forward's code it was made.
        after: how many modules had finished before it.
        nth: its number among the innermost forward's calls of the same module or function.
        label, shape: of the input: where its channels are, and its lengths.
        device, dtype: of the input.
        reused: whether it was in place and its input was read afterwards.
        changed: how its output may change after the call: ``written`` if an operation wrote to it, ``returned`` if the
            model returned it, so that its caller may; else "".
        order: its number among all calls of all runs.
        function: of torch that it calls, by name; "" for a module.
        factor: for a sigmoid of a·x whose product with x the forward makes, the number a; else 0.
    """

    trace: Trace
    path: str
    kind: Kind
    written: str
    source: Source
    scopes: tuple[Scope, ...]
    place: Place
    after: int
    nth: int
    label: Label
    shape: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype
    reused: bool = False
    changed: str = ""
    order: int = 0
    function: str = ""
    factor: float = 0.0

    @property
    def channels(self) -> int | None:
        return None if self.label.axis is None else self.shape[self.label.axis]

    @property
    def axis(self) -> int | None:
        """The channel axis, counted so that it holds with and without a batch: −1 if it is the last.

        A first axis is none of a batch: a convolution that was given no batch counts its channels from the end.
        """
        axis, rank = self.label.axis, len(self.shape)
        return axis if axis is None or 0 < axis < rank - 1 else axis - rank

    @property
    def width(self) -> tuple[int | None, int | None]:
        return self.channels, self.axis


@dataclass
class Trace:
    """The calls of one run, and the names of the modules that finished, both in order."""

    training: bool
    calls: list[Call] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


class Watch(TorchFunctionMode):
    """A function mode that sees every torch function of a run; hooks on the copy tell in which module."""

    def __init__(
        self, twin: nn.Module, trace: Trace, sources: Mapping[str, Source], weights: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.twin = twin
        self.trace = trace
        self.sources = sources
        self.stack: list[Scope] = []
        self.inside = 0  # how many activation modules are running
        self.counts: Counter[tuple[int, str]] = Counter()  # calls by run of a forward and name
        self.channels = Channels(lambda: self.stack[-1].name if self.stack else "")
        self.products = Products()
        self.originals = {id(p): weights[n] for n, p in twin.named_parameters(remove_duplicate=False) if n in weights}
        for parameter in twin.parameters():
            self.channels.set(parameter, WEIGHT)
        for buffer in twin.buffers():
            self.channels.set(buffer, CONSTANT)

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Register hooks on every module of the copy."""
        handles = []
        for name, module in self.twin.named_modules():
            source = self.sources.get(name)
            handles.append(
                module.register_forward_pre_hook(
                    lambda m, args, kwargs, n=name, s=source: self.enter(m, n, s, args, kwargs),
                    prepend=True,
                    with_kwargs=True,
                )
            )
            handles.append(
                module.register_forward_hook(
                    lambda m, args, kwargs, out, n=name, s=source: self.leave(m, n, s, out),
                    with_kwargs=True,
                    always_call=True,
                )
            )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def enter(self, module: nn.Module, name: str, source: Source | None, args: Any, kwargs: Any) -> Any:
        if source is None:
            self.stack.append(Scope(name, next(_RUNS), module.training, len(self.trace.finished)))
            return None
        self.inside += 1
        x = next((t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)), None)
        if self.inside > 1:
            return None
        nth = self.number(name)
        if x is None:
            return None
        call = self.record(x, name, nth, "module", type(module).__name__, source)
        if call is None:
            return None
        safe = x.clone()  # what it does in place must not reach x: only then is a later use of x to be seen
        self.pending = (call, x, safe)
        return tuple(safe if t is x else t for t in args), {k: safe if t is x else t for k, t in kwargs.items()}

    def leave(self, module: nn.Module, name: str, source: Source | None, output: Any) -> None:
        if isinstance(module, ParametrizationList) and isinstance(output, Tensor):
            self.channels.set(output, WEIGHT)  # whatever it was made of: orthogonal ones of an identity and a base
        if source is None:
            self.stack.pop()
            self.trace.finished.append(name)
            return
        self.inside -= 1
        if self.inside == 0 and self.pending is not None:
            call, x, safe = self.pending
            self.pending = None
            self.check_in_place(call, x, safe, output)

    pending: tuple[Call, Tensor, Tensor] | None = None

    def check_in_place(self, call: Call, x: Tensor, safe: Tensor, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if output is safe:
            self.channels.on_next_use(x, lambda: setattr(call, "reused", True))
            self.channels.written(x)  # it went into a copy here
        self.channels.on_write(output, lambda how: setattr(call, "changed", how))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        spelling = None if self.inside else SPELLINGS.get(func)
        x = args[0] if args else kwargs.get("input")
        nth = self.number(spelling.name) if spelling is not None else 0
        if spelling is None or not isinstance(x, Tensor) or not x.is_floating_point():
            result = func(*args, **kwargs)
            if func is F.instance_norm:  # made of views that forget the axis
                self.channels.set(result, Label(1, self.stack[-1].name))
            if self.stack and not self.inside:
                self.find_product(func, args, kwargs, result)
            return result
        call = self.record(x, "", nth, spelling.kind, spelling.written, self.source(spelling, func, args, kwargs))
        safe = x.clone()
        rest = args[1:]
        result = func(safe, *rest, **{k: v for k, v in kwargs.items() if k != "input"})
        if call is not None:
            call.function = spelling.name
            self.check_in_place(call, x, safe, result)
            multiple = self.products.multiple(x, self.stack[-1].run)
            lost = result is safe and multiple.of is x  # it was overwritten
            in_graph = isinstance(self.twin.get_submodule(self.stack[-1].name), GraphModule)
            if spelling.name == "sigmoid" and not lost and not in_graph:
                self.products.opened(multiple, result, call)
        return result

    def find_product(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note of a sigmoid's call that this call is the product with its input."""
        run = self.stack[-1].run
        self.products.follow(func, args, kwargs, result, run)
        closed = self.products.closed(func, args, kwargs, run)
        if closed is not None:
            multiple, call = closed
            call.factor = multiple.factor

    def source(self, spelling: Spelling, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Source:
        rest, named = args[1:], {k: v for k, v in kwargs.items() if k != "input"}
        tensors = [t for t in (*rest, *named.values()) if isinstance(t, Tensor)]
        unit = spelling.name in UNITS
        if tensors:
            return Source(spelling.name, None, self.originals.get(id(tensors[0])), unit=unit)
        if spelling.name == "rrelu":  # evaluation's function
            bounds = dict(zip(("lower", "upper"), rest, strict=False)) | named
            bounds = {k: v for k, v in bounds.items() if k in ("lower", "upper")}
            return Source("rrelu", functools.partial(F.rrelu, **bounds), unit=unit)
        return Source(spelling.name, lambda x: func(x, *rest, **named), unit=unit)

    def number(self, name: str) -> int:
        """Count a call of a module or function in the innermost forward."""
        key = (self.stack[-1].run if self.stack else 0, name)
        self.counts[key] += 1
        return self.counts[key] - 1

    def record(self, x: Tensor, path: str, nth: int, kind: Kind, written: str, source: Source) -> Call | None:
        if not self.stack:
            return None
        place = place_of_call(1, module=kind == "module")
        call = Call(
            self.trace, path, kind, written, source, tuple(self.stack), place, len(self.trace.finished), nth,
            self.channels.label(x), tuple(x.shape), x.device, x.dtype,
        )  # fmt: skip
        self.trace.calls.append(call)
        return call
