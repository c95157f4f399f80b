"""Find the activation sites of a model: run copies of it, and describe what their calls share."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bevel._torch_private import FakeTensor, FakeTensorMode, forward_hooks, tree_leaves
from bevel.errors import InvalidValue
from bevel.surgery._axes import WEIGHT
from bevel.surgery._calls import Mark
from bevel.surgery._groups import Group, function_groups, module_groups
from bevel.surgery._held import HOLDER
from bevel.surgery._probe import Source, recognize
from bevel.surgery._recipe import Recipe
from bevel.surgery._route import free, place
from bevel.surgery._sites import Site, Sites
from bevel.surgery._trace import double, run
from bevel.surgery._unreached import unreached
from bevel.surgery._watch import Trace


@dataclass
class Survey:
    """What a swap needs to know of a model.

    Attributes:
        groups: its sites.
        unreached: modules that the example never calls, by qualified name, each with its activation functions.
        notes: remarks on the runs that found them.
        recipes: how the new activations were made, by site name.
    """

    groups: list[Group]
    unreached: dict[str, set[str]]
    notes: list[str]
    recipes: dict[str, Recipe] = field(default_factory=dict)

    def sites(self) -> Sites:
        """All sites, in the order in which they first run."""
        found = [(calls[0].order, site) for g in self.groups for calls, site in zip(g.calls, g.sites, strict=True)]
        return Sites([site for _, site in sorted(found, key=lambda pair: pair[0])], self.notes)


@dataclass
class _Known:
    """The runs of a model, and the objects whose identity tells them, kept so that no other takes it."""

    traces: list[Trace]
    notes: list[str]
    kept: tuple[Any, ...]


def survey(model: nn.Module, example: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Survey:
    """Run the model in both modes on fake tensors and sort its activation calls."""
    refuse_wrapped(model)
    sources = {path: s for path, s in _sources(model).items() if path}
    traces, notes = _known_traces(model, example, kwargs, sources)
    calls = [call for trace in traces for call in trace.calls]
    for order, call in enumerate(calls):
        call.order = order
    groups = function_groups([c for c in calls if not c.path]) + module_groups([c for c in calls if c.path])
    homes = _homes(model, sources)
    for group in groups:
        if group.function:
            group.first = free(model.get_submodule(group.scope), group.function)
        for index in range(len(group.calls)):
            group.sites.append(_site(model, group, index, homes, traces))
    return Survey(groups, unreached(model, sources, traces), notes)


_KNOWN: ContextVar[dict[tuple[object, ...], _Known] | None] = ContextVar("known", default=None)


@contextlib.contextmanager
def traced_once() -> Iterator[None]:
    """Within it a model that is surveyed again on the same objects is not run again, which is most of a swap's time.

    For several swaps of one model that is restored after each: what ran the first time would run the same again.
    """
    token = _KNOWN.set({})
    try:
        yield
    finally:
        _KNOWN.reset(token)


def _known_traces(
    model: nn.Module, example: tuple[Any, ...], kwargs: Mapping[str, Any], sources: Mapping[str, Source]
) -> tuple[list[Trace], list[str]]:
    known = _KNOWN.get()
    if known is None:
        return _traces(model, example, kwargs, sources)
    key = (id(model), model.training, *map(id, tree_leaves((example, dict(kwargs)))))
    if key not in known:
        known[key] = _Known(*_traces(model, example, kwargs, sources), kept=(model, example, kwargs))
    return known[key].traces, list(known[key].notes)


def refuse_wrapped(model: nn.Module) -> None:
    """Refuse wrapped models: a wrapper already holds the parameters and would never synchronize new ones."""
    if not isinstance(model, nn.Module):
        raise InvalidValue(f"the model must be a torch.nn.Module; got {type(model).__name__}.")
    remedies = {
        "DistributedDataParallel": "swap first, wrap in DDP afterwards (swap(ddp.module, …) and wrap anew)",
        "FullyShardedDataParallel": "swap first, shard afterwards",
        "FSDPModule": "swap first, call fully_shard afterwards",
        "DataParallel": "swap first, wrap afterwards",
        "OptimizedModule": "swap first, compile afterwards (the model inside is model._orig_mod)",
        "ScriptModule": "swap the Python module, script or trace it afterwards",
    }
    for name, module in model.named_modules():
        for cls in type(module).__mro__:
            if cls.__name__ in remedies and cls.__module__.startswith("torch."):
                where = f"its submodule {name!r}" if name else "the model"
                raise InvalidValue(
                    f"{where} is already wrapped: {cls.__name__}. The order is: {remedies[cls.__name__]}."
                )
        lazy = [n for n, p in module.named_parameters(recurse=False) if nn.parameter.is_lazy(p)]
        if lazy:
            raise InvalidValue(
                f"{name or 'the model'} has uninitialized parameters {lazy}. Run the model once first, then swap."
            )


def _sources(model: nn.Module) -> dict[str, Source]:
    """Find the activation modules under every name they have; a module inside one is no site of its own."""
    known: dict[int, Source | None] = {}
    found: dict[str, Source] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if id(module) not in known:
            known[id(module)] = recognize(module)
        source = known[id(module)]
        parent = path.rpartition(".")[0]
        if source is not None and not any(parent == p or parent.startswith(p + ".") for p in found):
            found[path] = source
    # A block that hangs under two names is one block: its activations are reached under its first name.
    first = {name for name, _ in model.named_modules()}
    return {path: s for path, s in found.items() if not path or path.rpartition(".")[0] in first}


def _traces(
    model: nn.Module, example: tuple[Any, ...], kwargs: Mapping[str, Any], sources: Mapping[str, Source]
) -> tuple[list[Trace], list[str]]:
    """Run the model in its present mode and in the other, since some calls happen in one of them only."""
    notes: list[str] = []
    traces: list[Trace] = []
    failed: list[tuple[str, Exception]] = []
    fake_mode = _fake_mode(model, example, kwargs)
    for training in (model.training, not model.training):
        mode = "train" if training else "eval"
        errors: list[Exception] = []
        for fake, hooks in _attempts(model, example, kwargs, fake_mode, real=not traces):
            try:
                twin = double(model, sources, fake, hooks)
                if training != model.training:
                    twin.train(training)
                weights = dict(model.named_parameters(remove_duplicate=False))
                traces.append(run(twin, example, kwargs, sources, weights, fake))
            except Exception as error:  # whatever another's forward raises
                errors.append(error)
                continue
            if fake is None:
                notes.append(f"run on real tensors in {mode} mode, once: {_said(errors[0])}")
            break
        else:
            failed += [(mode, e) for e in errors]
            notes.append(f"not seen in {mode} mode: {_said(errors[-1])}")
    if not traces:
        tried = "; ".join(dict.fromkeys(f"{mode}: {_said(e)}" for mode, e in failed))
        raise InvalidValue(
            f"the model could not be run on the example given, neither on fake tensors nor for real ({tried}). Give "
            "find and swap what you would give the model: swap(model, to, *inputs, kwargs={…})."
        ) from failed[0][1]
    return traces, notes


def _tensors(model: nn.Module, example: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    given = (t for t in (*example, *kwargs.values()) if isinstance(t, Tensor))
    return [*model.parameters(), *model.buffers(), *given]


def _fake_mode(model: nn.Module, example: tuple[Any, ...], kwargs: Mapping[str, Any]) -> FakeTensorMode:
    """One mode for all runs, since it makes a tensor's fake once, which is a third of a survey's time."""
    fakes = [t.fake_mode for t in _tensors(model, example, kwargs) if isinstance(t, FakeTensor)]
    return fakes[0] if fakes else FakeTensorMode(allow_non_fake_inputs=True)


def _attempts(
    model: nn.Module, example: tuple[Any, ...], kwargs: Mapping[str, Any], fake_mode: FakeTensorMode, real: bool
) -> Iterator[tuple[FakeTensorMode | None, bool]]:
    """The ways to run a copy: on fake tensors, then on real ones if allowed; without its hooks, then with them."""
    hooked = any(hook for m in model.modules() for hook in forward_hooks(m) if not isinstance(hook, Mark))
    for hooks in (False, True) if hooked else (False,):
        yield fake_mode, hooks
    if real and not any(t.is_meta or isinstance(t, FakeTensor) for t in _tensors(model, example, kwargs)):
        for hooks in (False, True) if hooked else (False,):
            yield None, hooks


def _said(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def _homes(model: nn.Module, sources: Mapping[str, Source]) -> Callable[[str], int]:
    """Count the names under which each activation module hangs."""
    counts: dict[int, int] = defaultdict(int)
    for path in sources:
        counts[id(model.get_submodule(path))] += 1
    return lambda path: counts[id(model.get_submodule(path))] if path else 1


def _site(model: nn.Module, group: Group, index: int, homes: Callable[[str], int], traces: Sequence[Trace]) -> Site:
    """Describe one site of a group."""
    calls = group.calls[index]
    call = calls[0]
    modes = {c.trace.training for c in calls}
    now = next((t for t in traces if t.training == model.training), traces[0])
    if group.path:
        name = group.path if len(group.calls) == 1 else f"{group.path}.{index}"
    else:
        name = ".".join(filter(None, (group.scope, HOLDER, place(group.function, group.first + index))))
    mode = "" if len(modes) == len(traces) else "train" if call.trace.training else "eval"
    return Site(
        name=name,
        kind=call.kind,
        function=call.source.name,
        written=call.written,
        feeder=call.label.feeder,
        channels=call.channels,
        axis=call.axis,
        ambiguous=call.label.reason if call.label.axis is None else "",
        calls=sum(c.trace is now for c in calls),
        shared=homes(group.path) > 1 or (bool(group.path) and len(group.calls) > 1),
        mode=mode,
        unit=call.source.unit and call.label != WEIGHT,  # softplus may keep a weight positive
        module=model.get_submodule(group.path) if group.path else None,
    )
