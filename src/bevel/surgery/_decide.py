"""Decide for each site whether it is swapped, and make its new activation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from torch import nn
from torch.fx import GraphModule

from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel.surgery._arguments import Where, listed, matcher, module_site
from bevel.surgery._axes import WEIGHT
from bevel.surgery._groups import Group
from bevel.surgery._names import LEFT_ALONE, UNITS
from bevel.surgery._preserve import CannotKeep, Maker, placed, set_rule
from bevel.surgery._recipe import Recipe
from bevel.surgery._route import WriteBack
from bevel.surgery._sites import Site
from bevel.surgery._survey import Survey
from bevel.surgery._watch import Call


def _kind_left_alone(site: Site) -> str:
    """What a site that a swap leaves alone by default is."""
    if site.ambiguous == WEIGHT.reason:
        return "a function of a weight"
    if site.function == "softplus":
        return "made to be positive"
    return "a gate or read-out" if site.function in LEFT_ALONE else "a function of the model's own"


def _left_alone(site: Site, picked: bool, what: tuple[str, ...] | None, maker: Maker) -> str:
    """Say why a site is to be left alone; "" if it is to be swapped."""
    if what is None and not site.unit:
        return f"{_kind_left_alone(site)}: name it in what= to swap it"
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


def _inside_graph(model: nn.Module, group: Group, calls: Sequence[Call]) -> str:
    """Say why calls cannot be told apart by a ``GraphModule`` that does not make them itself; "" if they can."""
    graphs = [scope for scope in group.tables if isinstance(model.get_submodule(scope), GraphModule)]
    makers = {call.scopes[-1].name for call in calls} - set(group.tables)
    if not graphs or not makers or (group.path and len(group.calls) == 1):
        return ""
    maker = makers.pop()
    return (
        f"{maker} makes its calls, and only the torch.fx graph around it could tell them apart; trace the model with "
        f"{maker} as no leaf, then swap"
    )


def _may_pick(picks: Callable[[Site], bool], site: Site) -> bool:
    """Whether ``where=`` picks a module of which no run has told the channels, or fails for want of them."""
    try:
        return picks(site)
    except TypeError:
        return True


def decide(model: nn.Module, survey: Survey, maker: Maker, where: Where, what: tuple[str, ...] | None) -> None:
    """Give every site of the survey its new activation, or the reason why it is left alone.

    Raises:
        InvalidValue: if a function named in ``what`` cannot be preserved.
    """
    picks = matcher(where)
    survey.unreached = {
        path: functions
        for path, functions in survey.unreached.items()
        if (what is None or functions & set(what)) and _may_pick(picks, module_site(path, model.get_submodule(path)))
    }
    for group in survey.groups:
        for index, (site, calls) in enumerate(zip(group.sites, group.calls, strict=True)):
            site = replace(site, old=site.written)
            reason = _left_alone(site, picks(site), what, maker) or _inside_graph(model, group, calls)
            if not reason:
                try:
                    site, survey.recipes[site.name] = _renewed(site, calls, maker)
                except CannotKeep as error:
                    reason = f"{error}; preserve=False starts from its own initial values instead"
                    if what is not None:
                        raise InvalidValue(f"{site.name}: {reason}.") from None
            group.sites[index] = replace(site, reason=reason) if reason else site


def refuse_empty(survey: Survey) -> None:
    """Refuse a swap that changes nothing, with the reasons.

    Raises:
        InvalidValue: if no site has a new activation.
    """
    sites = [site for group in survey.groups for site in group.sites]
    if any(site.new for site in sites):
        return
    units = [site for site in sites if site.unit] or sites
    reasons = Counter(site.reason for site in units)
    kept = [reason for reason in reasons if "preserve=False" in reason]
    if kept:
        raise InvalidValue(f"no site can keep its function: {kept[0]}.")
    told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    none = f"of {len(sites)} sites none is" if len(sites) > 1 else "the one site is not"
    found = f"{none} swapped ({told})" if sites else "the example makes no activation call"
    never = f"; it never calls {listed(survey.unreached)}" if survey.unreached else ""
    raise InvalidValue(f"the swap would change nothing: {found}{never}. Say empty_ok=True if that is meant.")


_KEEP_THEIR_OUTPUT = ("relu", "sigmoid", "tanh")
"""Functions of torch that keep their output, so that nothing writes on it there; elsewhere something may."""


def _renewed(site: Site, calls: Sequence[Call], maker: Maker) -> tuple[Site, Recipe]:
    """The site with a new activation, and how that was made."""
    call = calls[0]
    made = maker.make(call.source, call.channels, call.axis, len(call.shape))
    module = placed(made.module, call.device, call.dtype)
    changed = {call.changed for call in calls} & ({"written", "returned"} if maker.save == "auto" else {"written"})
    save = "input" if changed and site.function not in _KEEP_THEIR_OUTPUT else maker.save
    set_rule(module, save)
    module = WriteBack(module) if call.reused else module
    site = replace(site, new=maker.name, module=module, bound=made.bound, reason=made.remark)
    return site, Recipe(made.arguments, call.reused, save)
