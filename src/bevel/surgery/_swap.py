"""The swap: decide for each site, make the new activations, install them, and undo it all again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bevel._torch_private import move_hooks, submodules
from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel.surgery._arguments import Where, matcher
from bevel.surgery._names import LEFT_ALONE, SPELLINGS, UNITS
from bevel.surgery._preserve import CannotKeep, Maker, placed
from bevel.surgery._route import HOLDER, LEAVE, PerCall, Plan, RoutedForward, WriteBack, place, shield
from bevel.surgery._sites import Site, Sites
from bevel.surgery._survey import Group, Survey
from bevel.surgery._trace import Call

_ABSENT: Any = object()


def _kept_in(module: nn.Module) -> tuple[torch.device, torch.dtype] | None:
    """Device and dtype of a module's first floating tensor."""
    tensors = (t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    first = next(tensors, None)
    return None if first is None else (first.device, first.dtype)


class Edits:
    """A journal of changes to dictionaries, which :meth:`undo` takes back.

    Args:
        model: the model they belong to. If it is moved or cast before ``undo``, so is what returns to it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._place = _kept_in(model)
        self._done: list[tuple[dict[str, Any], str, Any, Any]] = []

    def set(self, where: dict[str, Any], key: str, value: Any) -> None:
        self._done.append((where, key, where.get(key, _ABSENT), value))
        where[key] = value

    def undo(self) -> None:
        """Take every change back; a second call does nothing.

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
    """What :func:`swap` did.

    Attributes:
        model: the swapped model: the one given, or its copy with ``inplace=False``.
        sites: every activation site, with ``old`` and ``new``, or the reason why it was left alone.
    """

    model: nn.Module
    sites: Sites
    _edits: Edits = field(repr=False)

    @property
    def activations(self) -> dict[str, nn.Module]:
        """The new activations by site name."""
        return {site.name: site.module for site in self.sites if site.new and site.module is not None}

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


def _left_alone(site: Site, picked: bool, what: tuple[str, ...] | None, maker: Maker) -> str:
    """Say why a site is to be left alone; "" if it is to be swapped."""
    if what is None and not site.unit:
        own = "a function of a weight" if site.function in UNITS else "a function of the model's own"
        kind = "a gate or read-out" if site.function in LEFT_ALONE else own
        return f"{kind}: name it in what= to swap it"
    if what is not None and site.function not in what:
        return "not in what="
    if not picked:
        return "not in where="
    if maker.per_channel and site.axis is None:
        return (
            f"the channel axis is ambiguous: {site.ambiguous}. Name it in the spec for this site (num_parameters=…, "
            "dim=…), or share one coefficient (num_parameters=1)"
        )
    return ""


def checked_what(what: str | Iterable[str] | None, survey: Survey) -> tuple[str, ...] | None:
    """Check that torch or the model knows every function named in ``what=``."""
    if what is None:
        return None
    names = (what,) if isinstance(what, str) else tuple(what)
    known = {*UNITS, *LEFT_ALONE, *(site.function for group in survey.groups for site in group.sites)}
    for name in names:
        if name not in known:
            raise UnknownName(f"unknown activation function {name!r} in what=; {did_you_mean(name, known)}")
    return names


def decide(survey: Survey, maker: Maker, where: Where, what: tuple[str, ...] | None) -> None:
    """Give every site of the survey its new activation, or the reason why it is left alone.

    Raises:
        InvalidValue: if a function named in ``what`` cannot be preserved, or nothing at all could be.
    """
    picks = matcher(where)
    refused: list[str] = []
    for group in survey.groups:
        for index, (site, calls) in enumerate(zip(group.sites, group.calls, strict=True)):
            site = replace(site, old=site.written)
            reason = _left_alone(site, picks(site), what, maker)
            if not reason:
                try:
                    site = _renewed(site, calls[0], maker)
                except CannotKeep as error:
                    reason = f"{error}; preserve=False starts from its own initial values instead"
                    if what is not None:
                        raise InvalidValue(f"{site.name}: {reason}.") from None
                    refused.append(reason)
            group.sites[index] = replace(site, reason=reason) if reason else site
    if refused and not any(site.new for group in survey.groups for site in group.sites):
        raise InvalidValue(f"no site can keep its function: {refused[0]}.")


def _renewed(site: Site, call: Call, maker: Maker) -> Site:
    """The site with a new activation."""
    made = maker.make(call.source, call.channels, call.axis, len(call.shape))
    module = placed(made.module, call.device, call.dtype)
    module = WriteBack(module) if call.reused else module
    return replace(site, new=maker.name, module=module, bound=made.bound, reason=made.remark)


def put_in(model: nn.Module, survey: Survey, edits: Edits) -> None:
    """Install the new activations of the survey's sites."""
    modules = dict(model.named_modules())
    routes: dict[str, dict[str, Plan]] = {}
    shared: dict[str, list[tuple[PerCall, Plan]]] = {}
    for group in survey.groups:
        chosen = [site.module if site.new else None for site in group.sites]
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
    _shield(modules, survey, routes, edits)
    _leave_fused_path(model, survey, edits)


def _pruned(group: Group, plan: Plan, chosen: Sequence[nn.Module | None]) -> Plan:
    """Translate a plan from sites to the indices of their activations, LEAVE for those that were not swapped."""
    return {m: tuple(LEAVE if chosen[i] is None else group.first + i for i in indices) for m, indices in plan.items()}


def _replace_module(
    modules: Mapping[str, nn.Module],
    group: Group,
    chosen: Sequence[nn.Module | None],
    shared: dict[str, list[tuple[PerCall, Plan]]],
    edits: Edits,
) -> None:
    """Replace a module by one activation, or by a ``PerCall`` of several; its hooks move along."""
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
    """Put the activations of function calls into the scope's holder."""
    holder = submodules(scope).get(HOLDER)
    if holder is None:
        holder = nn.ModuleDict().train(scope.training)
        edits.set(submodules(scope), HOLDER, holder)
    for index, activation in enumerate(chosen):
        if activation is not None:
            edits.set(submodules(holder), place(group.function, group.first + index), activation.train(scope.training))


class _Heard(TorchFunctionMode):
    """A function mode that notes which activation functions are called, by name."""

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
    modules: Mapping[str, nn.Module], survey: Survey, routes: Mapping[str, Mapping[str, Plan]], edits: Edits
) -> None:
    """Shield modules that run inside a routed scope and call its functions without being calls of its own."""
    for group in survey.groups:
        for site, calls in zip(group.sites, group.calls, strict=True):
            around = {name for call in calls for s in call.scopes for name in routes.get(s.name, ())}
            if group.path and around:
                shielded = site.module
                assert shielded is not None
                needed = bool(around & _calls(shielded, calls[0]))
            else:
                shielded = modules[group.scope]
                needed = group.scope not in routes and group.function in around
            if needed and not isinstance(shielded.__dict__.get("forward"), RoutedForward):
                edits.set(shielded.__dict__, "forward", shield(shielded))


def _leave_fused_path(model: nn.Module, survey: Survey, edits: Edits) -> None:
    """Turn off torch's fused encoder layer, which computes ReLU or GELU itself in inference."""
    touched = {site.name for group in survey.groups for site in group.sites if site.new}
    for name, module in model.named_modules():
        prefix = name + "." if name else ""
        if any(t.startswith(prefix) for t in touched):
            if isinstance(module, nn.TransformerEncoderLayer):
                edits.set(module.__dict__, "activation_relu_or_gelu", 0)
            elif isinstance(module, nn.TransformerEncoder):
                edits.set(module.__dict__, "use_nested_tensor", False)
