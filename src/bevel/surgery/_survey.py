"""Sort the activation calls of a traced model into sites: which calls share one activation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bevel._torch_private import FakeTensor, FakeTensorMode
from bevel.errors import InvalidValue
from bevel.surgery._axes import WEIGHT
from bevel.surgery._probe import Source, recognize
from bevel.surgery._route import HOLDER, Plan, free, place
from bevel.surgery._sites import Site, Sites
from bevel.surgery._trace import Call, Scope, Trace, double, run


@dataclass
class Group:
    """Sites whose calls go through one name: one module's, or one function's within one scope.

    Attributes:
        path: the module's qualified name; "" for a function.
        function: the function's name; "" for a module.
        calls: for each site the calls that share its activation.
        sites: the sites, in the same order.
        plans: for each scope, which call belongs to which site.
        first: the index of a function's first site in the scope's holder; earlier swaps have the ones below.
    """

    path: str
    function: str
    calls: list[list[Call]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    first: int = 0

    @property
    def scope(self) -> str:
        """The scope of a function's group, which has exactly one."""
        return next(iter(self.plans))


@dataclass
class Survey:
    """What a swap needs to know of a model: its sites by group, and remarks on the runs that found them."""

    groups: list[Group]
    notes: list[str]

    def sites(self) -> Sites:
        """All sites, in the order in which they first run."""
        found = [(calls[0].order, site) for g in self.groups for calls, site in zip(g.calls, g.sites, strict=True)]
        return Sites([site for _, site in sorted(found, key=lambda pair: pair[0])], self.notes)


def survey(model: nn.Module, example: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Survey:
    """Run the model in both modes on fake tensors and sort its activation calls."""
    refuse_wrapped(model)
    sources = {path: s for path, s in _sources(model).items() if path}
    traces, notes = _traces(model, example, kwargs, sources)
    calls = [call for trace in traces for call in trace.calls]
    for order, call in enumerate(calls):
        call.order = order
    groups = _function_groups([c for c in calls if not c.path]) + _module_groups([c for c in calls if c.path])
    homes = _homes(model, sources)
    for group in groups:
        if group.function:
            group.first = free(model.get_submodule(group.scope), group.function)
        for index in range(len(group.calls)):
            group.sites.append(_site(model, group, index, homes, traces))
    return Survey(groups, notes)


def refuse_wrapped(model: nn.Module) -> None:
    """Refuse wrapped models: a wrapper already holds the parameters and would never synchronise new ones."""
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
                f"{name or 'the model'} has uninitialised parameters {lazy}. Run the model once first, then swap."
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
    for training in (model.training, not model.training):
        mode = "train" if training else "eval"
        trace, errors = _run_once(model, training, example, kwargs, sources, real=not traces)
        if trace is not None:
            traces.append(trace)
            if errors:
                notes.append(f"run on real tensors in {mode} mode, once: {_said(errors[0])}")
        else:
            failed += [(mode, e) for e in errors]
            notes.append(f"not seen in {mode} mode: {_said(errors[-1])}")
    if not traces:
        tried = "; ".join(f"{mode}: {_said(e)}" for mode, e in failed)
        raise InvalidValue(
            f"the model could not be run on the example given, neither on fake tensors nor for real ({tried}). Give "
            "find and swap what you would give the model: swap(model, to, *inputs, kwargs={…})."
        ) from failed[0][1]
    return traces, notes


def _run_once(
    model: nn.Module,
    training: bool,
    example: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    sources: Mapping[str, Source],
    real: bool,
) -> tuple[Trace | None, list[Exception]]:
    """Run a copy of the model on fake tensors, or on real ones if it reads the values of tensors."""
    errors: list[Exception] = []
    weights = dict(model.named_parameters(remove_duplicate=False))
    tensors = [
        *model.parameters(),
        *model.buffers(),
        *(t for t in (*example, *kwargs.values()) if isinstance(t, Tensor)),
    ]
    on_real = not any(t.is_meta or isinstance(t, FakeTensor) for t in tensors)
    fakes = [t.fake_mode for t in tensors if isinstance(t, FakeTensor)]
    for fake in (fakes[0] if fakes else FakeTensorMode(allow_non_fake_inputs=True), None):
        if fake is None and not (real and on_real):
            break
        try:
            twin = double(model, sources, fake)
            if training != model.training:
                twin.train(training)
            return run(twin, example, kwargs, sources, weights, fake), errors
        except Exception as error:  # whatever another's forward raises
            errors.append(error)
    return None, errors


def _said(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def _assign(calls: Sequence[Call]) -> list[tuple[Scope, Call]]:
    """Assign each call to the innermost module whose call order determines its channel count.

    A module without layers of its own, used at several widths, cannot tell its calls apart; its caller can.
    """
    raised: set[str] = set()
    root = calls[0].scopes[0].name if calls else ""
    while True:
        assigned = [(next(s for s in reversed(c.scopes) if s.name == root or s.name not in raised), c) for c in calls]
        runs: dict[tuple[Any, ...], list[Call]] = defaultdict(list)
        for scope, call in assigned:
            runs[(scope.name, scope.training, call.path, call.source.name, scope.run)].append(call)
        settled: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        bad = {
            name
            for (name, training, path, function, _), members in runs.items()
            for k, call in enumerate(members)
            if settled.setdefault((name, training, path, function, k), call.width) != call.width and name != root
        }
        if not bad:
            return assigned
        raised |= bad


def _fill(group: Group, scope_name: str, runs: Mapping[tuple[bool, int], list[Call]]) -> None:
    """Sort the calls of a scope into sites: one for each line of code, feeding layer and width."""
    keys: dict[tuple[Any, ...], int] = {}
    plans: dict[bool, list[int]] = {}
    for (training, _), calls in runs.items():
        plan = plans.setdefault(training, [])
        for k, call in enumerate(calls):
            if k >= len(plan):
                key = (call.position, call.label.feeder, call.width)
                if key not in keys:
                    keys[key] = len(group.calls)
                    group.calls.append([])
                plan.append(keys[key])
            group.calls[plan[k]].append(call)
    group.plans[scope_name] = {training: tuple(plan) for training, plan in plans.items()}


def _by_scope(assigned: Sequence[tuple[Scope, Call]]) -> dict[str, dict[tuple[bool, int], list[Call]]]:
    scopes: dict[str, dict[tuple[bool, int], list[Call]]] = {}
    for scope, call in assigned:
        scopes.setdefault(scope.name, {}).setdefault((scope.training, scope.run), []).append(call)
    return scopes


def _function_groups(calls: Sequence[Call]) -> list[Group]:
    groups = []
    for scope, runs in _by_scope(_assign(calls)).items():
        names = dict.fromkeys(c.source.name for members in runs.values() for c in members)
        for name in names:
            group = Group("", name)
            _fill(group, scope, {k: [c for c in members if c.source.name == name] for k, members in runs.items()})
            groups.append(group)
    return groups


def _module_groups(calls: Sequence[Call]) -> list[Group]:
    groups = []
    for path in dict.fromkeys(c.path for c in calls):
        group = Group(path, "")
        for scope, runs in _by_scope(_assign([c for c in calls if c.path == path])).items():
            _fill(group, scope, runs)
        groups.append(group)
    return groups


def _homes(model: nn.Module, sources: Mapping[str, Source]) -> Callable[[str], int]:
    """Count the names under which each activation module hangs."""
    counts: dict[int, int] = defaultdict(int)
    for path in sources:
        counts[id(model.get_submodule(path))] += 1
    return lambda path: counts[id(model.get_submodule(path))] if path else 1


def _site(model: nn.Module, group: Group, index: int, homes: Callable[[str], int], traces: Sequence[Trace]) -> Site:
    """Describe one site of a group."""
    call = group.calls[index][0]
    members = {id(c) for c in group.calls[index]}
    ran = [t.training for t in traces if any(id(c) in members for c in t.calls)]
    now = next((t for t in traces if t.training == model.training), traces[0])
    if group.path:
        name = group.path if len(group.calls) == 1 else f"{group.path}.{index}"
    else:
        name = ".".join(filter(None, (group.scope, HOLDER, place(group.function, group.first + index))))
    mode = "" if len(ran) == len(traces) else "train" if ran[0] else "eval"
    return Site(
        name=name,
        kind=call.kind,
        function=call.source.name,
        written=call.written,
        feeder=call.label.feeder,
        channels=call.channels,
        axis=call.axis,
        ambiguous=call.label.reason if call.label.axis is None else "",
        calls=sum(id(c) in members for c in now.calls),
        shared=homes(group.path) > 1 or (bool(group.path) and len(group.calls) > 1),
        mode=mode,
        unit=call.source.unit and call.label != WEIGHT,  # softplus may keep a weight positive
        module=model.get_submodule(group.path) if group.path else None,
    )
