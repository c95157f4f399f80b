"""The swap itself: decide for each site, make the activations, put them in, and remember how to take them out."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bevel._torch_private import move_hooks, submodules
from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel.surgery._names import GATES, SPELLINGS, UNITS
from bevel.surgery._preserve import CannotKeep, Maker, placed
from bevel.surgery._route import HOLDER, LEAVE, PerCall, Plan, RoutedForward, WriteBack, place, shield
from bevel.surgery._sites import Site, Sites
from bevel.surgery._survey import Group, Survey
from bevel.surgery._trace import Call

Where = str | Iterable[str] | Callable[[Site], bool] | None

_ABSENT: Any = object()


def _kept_in(module: nn.Module) -> tuple[torch.device, torch.dtype] | None:
    """Device and dtype of a module's first floating tensor."""
    tensors = (t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    first = next(tensors, None)
    return None if first is None else (first.device, first.dtype)


class Edits:
    """Changes of dictionaries, in order, and the way back.

    Args:
        model: the model they belong to; what it goes through in the meantime, what was taken out catches up with.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._place = _kept_in(model)
        self._done: list[tuple[dict[str, Any], str, Any, Any]] = []

    def set(self, where: dict[str, Any], key: str, value: Any) -> None:
        self._done.append((where, key, where.get(key, _ABSENT), value))
        where[key] = value

    def undo(self) -> None:
        """Take everything back; a second time does nothing.

        Raises:
            InvalidValue: if someone changed what was put in since; nothing is taken back then.
        """
        latest = {(id(where), key): (where, key, value) for where, key, _, value in self._done}
        for where, key, value in latest.values():
            if where.get(key, _ABSENT) is not value:
                raise InvalidValue(
                    f"the model was changed at {key!r} since this swap. Undo the later change first (a later swap by "
                    "its own restore()), or reload the model."
                )
        place = _kept_in(self._model)
        for where, key, before, after in reversed(self._done):
            if before is _ABSENT:
                del where[key]
                continue
            where[key] = before
            if isinstance(before, nn.Module) and isinstance(after, nn.Module):
                before.train(after.training)
                if place is not None and place != self._place:  # else its own dtype, whatever it was, is right
                    before.to(*place)
        self._done.clear()


@dataclass
class Result:
    """What a swap did.

    Attributes:
        model: the model given, changed in place.
        sites: every activation site, with ``old`` and ``new``, or the reason why it was skipped.
        activations: the new activations by site name.
    """

    model: nn.Module
    sites: Sites
    activations: dict[str, nn.Module]
    _edits: Edits = field(repr=False)

    def restore(self) -> nn.Module:
        """Put the old activations back: the same objects in the same places, in the model's present mode.

        Trained weights stay as they are now; if the model was moved or cast since, the old activations are too.

        Raises:
            InvalidValue: if the model's activations were changed since.
        """
        self._edits.undo()
        return self.model

    def __str__(self) -> str:
        return str(self.sites)


def select(site: Site, where: Where, what: tuple[str, ...] | None, maker: Maker) -> str:
    """Why a site is to be left alone; "" if it is to be swapped."""
    if what is None and not site.unit:
        own = "a function of a weight" if site.function in UNITS else "a function of the model's own"
        kind = "a gate or read-out" if site.function in GATES else own
        return f"{kind}: name it in what= to swap it"
    if what is not None and site.function not in what:
        return "not in what="
    if callable(where):
        if not where(site):
            return "not in where="
    elif where is not None:
        patterns = [where] if isinstance(where, str) else list(where)
        if not any(fnmatch.fnmatchcase(site.name, pattern) for pattern in patterns):
            return "not in where="
    if maker.per_channel and site.axis is None:
        return (
            f"the channel axis is ambiguous: {site.ambiguous}. Name it in the spec for this site (num_parameters=…, "
            "dim=…), or share one coefficient (num_parameters=1)"
        )
    return ""


def checked_what(what: str | Iterable[str] | None, survey: Survey) -> tuple[str, ...] | None:
    """The functions to swap, each known to torch or found in the model."""
    if what is None:
        return None
    names = (what,) if isinstance(what, str) else tuple(what)
    known = {*UNITS, *GATES, *(s.function for s in survey.sites)}
    for name in names:
        if name not in known:
            raise UnknownName(f"unknown activation function {name!r} in what=; {did_you_mean(name, known)}")
    return names


def decide(survey: Survey, maker: Maker, where: Where, what: tuple[str, ...] | None) -> dict[int, nn.Module]:
    """Make the activations: by the id of their spot. Every spot's site gets its ``new`` or its reason.

    Raises:
        InvalidValue: if a function named in ``what`` cannot be preserved, or nothing at all could be.
    """
    made: dict[int, nn.Module] = {}
    refused: list[str] = []
    for spot in (s for g in survey.groups for s in g.spots):
        site, call = spot.site, spot.call
        assert site is not None
        reason = select(site, where, what, maker)
        new, bound = "", None
        if not reason:
            try:
                result = maker.make(call.source, call.channels, call.axis, len(call.shape))
            except CannotKeep as error:
                reason = f"{error}; preserve=False starts from its own initial values instead"
                if what is not None:
                    raise InvalidValue(f"{site.name}: {reason}.") from None
                refused.append(reason)
            else:
                module = placed(result.module, call.device, call.dtype)
                made[id(spot)] = WriteBack(module) if call.reused else module
                new, bound, reason = maker.name, result.bound, result.remark
        spot.site = replace(site, old=site.written, new=new, bound=bound, reason=reason)
    if refused and not made:
        raise InvalidValue(f"no site can keep its function: {refused[0]}.")
    return made


def put_in(model: nn.Module, survey: Survey, made: Mapping[int, nn.Module], edits: Edits) -> None:
    """Install the activations."""
    modules = dict(model.named_modules())
    routes: dict[str, dict[str, Plan]] = {}
    shared: dict[str, list[tuple[PerCall, Plan]]] = {}
    for group in survey.groups:
        chosen = [made.get(id(spot)) for spot in group.spots]
        if not any(chosen):
            continue
        if group.path:
            _replace_module(modules, group, chosen, shared, edits)
        else:
            _hold_functions(modules[group.scope], group, chosen, edits)
            routes.setdefault(group.scope, {})[group.function] = _pruned(group, group.plans[group.scope], chosen)
    for scope in dict.fromkeys((*routes, *shared)):
        forward = RoutedForward(modules[scope], routes.get(scope, {}), tuple(shared.get(scope, ())))
        edits.set(modules[scope].__dict__, "forward", forward)
    _shield(modules, survey, routes, made, edits)
    _leave_fused_path(model, survey, made, edits)


def _pruned(group: Group, plan: Plan, chosen: Sequence[nn.Module | None]) -> Plan:
    """The plan by where the activations are held, without those that are not."""
    return {m: tuple(LEAVE if chosen[i] is None else group.first + i for i in indices) for m, indices in plan.items()}


def _replace_module(
    modules: Mapping[str, nn.Module],
    group: Group,
    chosen: Sequence[nn.Module | None],
    shared: dict[str, list[tuple[PerCall, Plan]]],
    edits: Edits,
) -> None:
    """Put one activation where the module hung, or one per call behind its name; its hooks move along."""
    parent, _, name = group.path.rpartition(".")
    old = submodules(modules[parent])[name]
    assert old is not None
    first = chosen[0]
    new: nn.Module
    if len(chosen) == 1 and first is not None:
        new = first
    else:
        new = PerCall(chosen)
        for scope, plan in group.plans.items():
            shared.setdefault(scope, []).append((new, _pruned(group, plan, chosen)))
    new.train(old.training)
    if isinstance(new, PerCall) and None in chosen:
        new.original = old
    move_hooks(old, new)
    edits.set(submodules(modules[parent]), name, new)


def _hold_functions(scope: nn.Module, group: Group, chosen: Sequence[nn.Module | None], edits: Edits) -> None:
    holder = submodules(scope).get(HOLDER)
    if holder is None:
        holder = nn.ModuleDict().train(scope.training)
        edits.set(submodules(scope), HOLDER, holder)
    for index, activation in enumerate(chosen):
        if activation is not None:
            edits.set(submodules(holder), place(group.function, group.first + index), activation.train(scope.training))


class _Heard(TorchFunctionMode):
    """Which activation functions are called, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in SPELLINGS:
            self.names.add(SPELLINGS[func].name)
        return func(*args, **(kwargs or {}))


def _calls(module: nn.Module, call: Call) -> set[str]:
    """The functions an activation module calls itself, such as ``relu`` for ``nn.ReLU``."""
    shape = [1] * len(call.shape)
    if call.label.axis is not None:
        shape[call.label.axis] = call.shape[call.label.axis]
    heard = _Heard()
    with torch.no_grad(), heard:
        module(torch.zeros(shape, device=call.device, dtype=call.dtype))
    return heard.names


def _shield(
    modules: Mapping[str, nn.Module],
    survey: Survey,
    routes: Mapping[str, Mapping[str, Plan]],
    made: Mapping[int, nn.Module],
    edits: Edits,
) -> None:
    """Keep what runs inside a routed scope without being a call of its own from being counted there."""
    for group in survey.groups:
        for spot in group.spots:
            around = {name for call in spot.calls for s in call.scopes for name in routes.get(s.name, ())}
            if group.path and around:
                shielded = made.get(id(spot)) or modules[group.path]
                needed = bool(around & _calls(shielded, spot.call))
            else:
                shielded = modules[group.scope]
                needed = group.scope not in routes and group.function in around
            if needed and not isinstance(shielded.__dict__.get("forward"), RoutedForward):
                edits.set(shielded.__dict__, "forward", shield(shielded))


def _leave_fused_path(model: nn.Module, survey: Survey, made: Mapping[int, nn.Module], edits: Edits) -> None:
    """torch's fused encoder layer computes ReLU or GELU itself in inference; its own switches turn that off."""
    touched = {spot.site.name for g in survey.groups for spot in g.spots if id(spot) in made and spot.site}
    for name, module in model.named_modules():
        prefix = name + "." if name else ""
        if any(t.startswith(prefix) for t in touched):
            if isinstance(module, nn.TransformerEncoderLayer):
                edits.set(module.__dict__, "activation_relu_or_gelu", 0)
            elif isinstance(module, nn.TransformerEncoder):
                edits.set(module.__dict__, "use_nested_tensor", False)
