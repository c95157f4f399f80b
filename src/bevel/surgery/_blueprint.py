"""What a swap changes in a model, by qualified names: drawn from a survey, or read from a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode

from bevel.surgery._calls import LEAVE, Table
from bevel.surgery._groups import Group
from bevel.surgery._held import HOLDER
from bevel.surgery._likeness import VERSION, likeness
from bevel.surgery._names import SPELLINGS
from bevel.surgery._probe import sample
from bevel.surgery._route import place
from bevel.surgery._survey import Survey
from bevel.surgery._watch import Call

Node = tuple[str, int, str]
"""Of a ``GraphModule``: the n-th call of a function or of a module (by qualified name) goes to this submodule."""


@dataclass
class Blueprint:
    """The changes that a swap makes, apart from the activations themselves.

    Attributes:
        replaced: for each module that is replaced, the sites behind it; None for calls that keep the old module.
        held: for each scope of function calls, the sites under their keys in its holder.
        functions: for each scope, the table of each function.
        shared: for each scope, the table of each module that it calls several times.
        nodes: for each ``GraphModule``, the nodes of its graph that call something else.
        shields: modules that hide the functions that they call from the scopes around them.
        forwards: for each scope, its class and a checksum of its forward's code.
        layers: for each layer that feeds a site, carries a mark or is replaced, the shapes of its parameters.
        values: for each module that is replaced, what it computes at a few points, where it can be evaluated alone.
        version: of the checksums.
    """

    replaced: dict[str, list[str | None]] = field(default_factory=dict)
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    functions: dict[str, dict[str, Table]] = field(default_factory=dict)
    shared: dict[str, dict[str, Table]] = field(default_factory=dict)
    nodes: dict[str, list[Node]] = field(default_factory=dict)
    shields: list[str] = field(default_factory=list)
    forwards: dict[str, tuple[str, int]] = field(default_factory=dict)
    layers: dict[str, list[list[int]]] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    version: int = VERSION

    @property
    def scopes(self) -> list[str]:
        """The modules whose forward is routed."""
        return list(dict.fromkeys((*self.functions, *self.shared)))


def draw(model: nn.Module, survey: Survey) -> Blueprint:
    """Draw the changes for the sites of a survey that have a new activation."""
    blueprint = Blueprint()
    for group in survey.groups:
        names = [site.name if site.new else None for site in group.sites]
        if any(names) and group.path:
            _draw_module(model, group, names, blueprint)
        elif any(names):
            _draw_function(model, group, names, blueprint)
    _draw_shields(model, survey, blueprint)
    _describe(model, survey, blueprint)
    return blueprint


def _describe(model: nn.Module, survey: Survey, blueprint: Blueprint) -> None:
    """Note what a model must have so that the changes fit."""
    for scope in dict.fromkeys((*blueprint.scopes, *blueprint.held)):
        blueprint.forwards[scope] = likeness(model.get_submodule(scope))
    feeders = [site.feeder for group in survey.groups for site in group.sites if site.new and site.feeder]
    groups = (*blueprint.functions.values(), *blueprint.shared.values())
    marks = [mark for tables in groups for table in tables.values() for mark in table.marks]
    layers = dict.fromkeys((*feeders, *marks, *blueprint.replaced))
    blueprint.layers = {layer: shapes(model.get_submodule(layer)) for layer in layers}
    sources = {group.path: group.calls[0][0].source for group in survey.groups if group.path in blueprint.replaced}
    values = {path: sample(source) for path, source in sources.items()}
    blueprint.values = {path: found for path, found in values.items() if found is not None}


def shapes(layer: nn.Module) -> list[list[int]]:
    """The shapes of the parameters that a layer has itself."""
    return [list(p.shape) for p in layer.parameters(recurse=False)]


def _draw_module(model: nn.Module, group: Group, names: list[str | None], blueprint: Blueprint) -> None:
    blueprint.replaced[group.path] = names
    if len(names) == 1:
        return
    for scope, table in group.tables.items():
        if isinstance(model.get_submodule(scope), GraphModule):
            inside = group.path.removeprefix(f"{scope}." if scope else "")
            targets = [f"{inside}.{'original' if name is None else i}" for i, name in enumerate(names)]
            blueprint.nodes.setdefault(scope, []).extend(_nodes(group, scope, group.path, targets))
        else:
            index = {i: LEAVE if name is None else i for i, name in enumerate(names)}
            blueprint.shared.setdefault(scope, {})[group.path] = table.renumbered(index)


def _draw_function(model: nn.Module, group: Group, names: list[str | None], blueprint: Blueprint) -> None:
    scope = group.scope
    keys = [place(group.function, group.first + i) for i in range(len(names))]
    blueprint.held.setdefault(scope, {}).update({key: n for key, n in zip(keys, names, strict=True) if n is not None})
    if isinstance(model.get_submodule(scope), GraphModule):
        targets = [f"{HOLDER}.{key}" if name is not None else None for key, name in zip(keys, names, strict=True)]
        blueprint.nodes.setdefault(scope, []).extend(_nodes(group, scope, group.function, targets))
    else:
        index = {i: LEAVE if name is None else group.first + i for i, name in enumerate(names)}
        blueprint.functions.setdefault(scope, {})[group.function] = group.tables[scope].renumbered(index)


def _nodes(group: Group, scope: str, what: str, targets: Sequence[str | None]) -> list[Node]:
    made = (
        (what, call.nth, target)
        for calls, target in zip(group.calls, targets, strict=True)
        for call in calls
        if target is not None and call.scopes[-1].name == scope
    )
    return list(dict.fromkeys(made))


def _draw_shields(model: nn.Module, survey: Survey, blueprint: Blueprint) -> None:
    """Shield modules that run inside a routed scope and call its functions without being calls of its own."""
    shields: dict[str, None] = {}
    for group in survey.groups:
        for site, calls in zip(group.sites, group.calls, strict=True):
            around = {name for call in calls for s in call.scopes for name in blueprint.functions.get(s.name, ())}
            if not group.path:
                if group.function in around and group.scope not in blueprint.functions:
                    shields[group.scope] = None
            elif around:
                assert site.module is not None
                if around & _functions_of(site.module, calls[0]):
                    kept = f"{group.path}.original" if blueprint.replaced.get(group.path) else group.path
                    shields[site.name if site.new else kept] = None
    blueprint.shields = list(shields)


class _Heard(TorchFunctionMode):
    """A function mode that notes which activation functions are called, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in SPELLINGS:
            self.names.add(SPELLINGS[func].name)
        return func(*args, **(kwargs or {}))


def _functions_of(module: nn.Module, call: Call) -> set[str]:
    """The functions that an activation module calls itself, such as ``relu`` for ``nn.ReLU``."""
    shape = [1] * len(call.shape)
    if call.label.axis is not None:
        shape[call.label.axis] = call.shape[call.label.axis]
    heard = _Heard()
    with torch.no_grad(), heard:
        module(torch.zeros(shape, device=call.device, dtype=call.dtype))
    return heard.names
