"""Change a model as a blueprint says, and remember how to take it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from bevel._torch_private import REPLICATE, follow_hooks, move_hooks, submodules
from bevel.errors import InvalidValue
from bevel.nn import LearnableModule
from bevel.surgery._blueprint import Blueprint
from bevel.surgery._calls import Mark
from bevel.surgery._graph import rerouted
from bevel.surgery._held import HOLDER, Held
from bevel.surgery._route import PerCall, RoutedForward, shield

_ABSENT: Any = object()


def kept_in(module: nn.Module) -> tuple[torch.device, torch.dtype] | None:
    """Device and dtype of a module's first floating tensor; a sharpness has a dtype of its own."""
    others = (m for m in module.modules() if not isinstance(m, LearnableModule))
    buffers = (b for m in others for b in m.buffers(recurse=False))
    first = next((t for t in (*module.parameters(), *buffers) if t.is_floating_point()), None)
    return None if first is None else (first.device, first.dtype)


class Edits:
    """A journal of changes to a model, which :meth:`undo` takes back.

    Args:
        model: the model. If it is moved or cast before ``undo``, so is what returns to it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._place = kept_in(model)
        self._done: list[tuple[Any, str, Any, Any]] = []
        self._later: list[Callable[[], object]] = []

    def set(self, where: dict[str, Any] | GraphModule, key: str, value: Any) -> None:
        """Set an entry of a dictionary, or an attribute of a module with a graph."""
        self._done.append((where, key, _get(where, key), value))
        _set(where, key, value)

    def route(self, module: nn.Module, forward: RoutedForward) -> None:
        """Give a module a routed forward, also in the replicas that ``nn.DataParallel`` makes of it."""
        self.set(module.__dict__, "forward", forward)
        self.set(module.__dict__, REPLICATE, forward.replica)

    def when_undone(self, action: Callable[[], object]) -> None:
        """Call ``action`` when the changes are taken back."""
        self._later.append(action)

    def undo(self) -> None:
        """Take every change back; a second call does nothing.

        Raises:
            InvalidValue: if someone changed what was put in since; nothing is taken back then.
        """
        latest = {(id(where), key): (where, key, value) for where, key, _, value in self._done}
        for where, key, value in latest.values():
            if _get(where, key) is not value:
                raise InvalidValue(
                    f"the model was changed at {key!r} since this swap. Undo the later change first (a later swap by "
                    "its own restore()), or reload the model."
                )
        place = kept_in(self._model)
        for where, key, before, after in reversed(self._done):
            if before is _ABSENT:
                del where[key]
                continue
            _set(where, key, before)
            if isinstance(before, nn.Module) and isinstance(after, nn.Module):
                before.train(after.training)
                if place is not None and place != self._place:  # else its own dtype, whatever it was, is right
                    before.to(*place)
        for action in reversed(self._later):
            action()
        self._done.clear()
        self._later.clear()


def _get(where: dict[str, Any] | GraphModule, key: str) -> Any:
    return where.get(key, _ABSENT) if isinstance(where, dict) else getattr(where, key)


def _set(where: dict[str, Any] | GraphModule, key: str, value: Any) -> None:
    if isinstance(where, dict):
        where[key] = value
    else:
        setattr(where, key, value)


def install(model: nn.Module, blueprint: Blueprint, activations: Mapping[str, nn.Module], edits: Edits) -> None:
    """Put new activations into a model.

    Args:
        model: the model.
        blueprint: where they go.
        activations: by site name.
        edits: the journal; an error leaves the model half changed until it is undone.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    homes = Counter(id(modules[path]) for path in blueprint.replaced)
    in_graphs = {what for nodes in blueprint.nodes.values() for what, _, _ in nodes}
    for path, names in blueprint.replaced.items():
        parent, _, name = path.rpartition(".")
        old, chosen = modules[path], [activations[n] if n else None for n in names]
        new = _standing_for(old, chosen)
        if path in in_graphs:  # its graph calls the activations themselves
            for activation in filter(None, chosen):
                follow_hooks(old, activation)
        elif homes[id(old)] > 1:
            follow_hooks(old, new)
        else:
            move_hooks(old, new)
        edits.set(submodules(modules[parent]), name, new)
        modules[path] = new
    for scope, keys in blueprint.held.items():
        _hold(modules[scope], {key: activations[name] for key, name in keys.items()}, edits)
    for scope in blueprint.scopes:
        _route(modules, scope, blueprint, edits)
    for scope, nodes in blueprint.nodes.items():
        graph = modules[scope]
        assert isinstance(graph, GraphModule)
        edits.set(graph, "graph", rerouted(graph, scope, nodes))
    for name in blueprint.shields:
        shielded = model.get_submodule(name)
        if not isinstance(shielded.__dict__.get("forward"), RoutedForward):
            edits.route(shielded, shield(shielded))
    _leave_fused_path(model, list(activations), edits)


def _standing_for(old: nn.Module, activations: list[nn.Module | None]) -> nn.Module:
    """What takes a module's place: its one activation, or a ``PerCall`` of several."""
    first = activations[0]
    if len(activations) == 1 and first is not None:
        return first.train(old.training)
    several = PerCall(activations).train(old.training)
    if None in activations:
        several.original = old
    return several


def _hold(scope: nn.Module, activations: Mapping[str, nn.Module], edits: Edits) -> None:
    """Put the activations of function calls into the scope's holder."""
    holder = submodules(scope).get(HOLDER)
    if holder is None:
        holder = Held().train(scope.training)
        holder.routed = not isinstance(scope, GraphModule)
        edits.set(submodules(scope), HOLDER, holder)
    for key, activation in activations.items():
        edits.set(submodules(holder), key, activation.train(scope.training))


def _route(modules: Mapping[str, nn.Module], scope: str, blueprint: Blueprint, edits: Edits) -> None:
    """Route the calls of a scope, and mark the layers that tell some of them apart."""
    functions = blueprint.functions.get(scope, {})
    shared = []
    for path, table in blueprint.shared.get(scope, {}).items():
        percall = modules[path]
        assert isinstance(percall, PerCall)
        shared.append((percall.slot, table))
    edits.route(modules[scope], RoutedForward(modules[scope], functions, shared))
    for table in (*functions.values(), *(table for _, table in shared)):
        for layer in table.marks:
            edits.when_undone(modules[layer].register_forward_hook(Mark(table, layer)).remove)


def _leave_fused_path(model: nn.Module, names: list[str], edits: Edits) -> None:
    """Turn off torch's fused encoder layer, which computes ReLU or GELU itself in inference."""
    for name, module in model.named_modules():
        prefix = name + "." if name else ""
        if any(touched.startswith(prefix) for touched in names):
            if isinstance(module, nn.TransformerEncoderLayer):
                edits.set(module.__dict__, "activation_relu_or_gelu", 0)
            elif isinstance(module, nn.TransformerEncoder):
                edits.set(module.__dict__, "use_nested_tensor", False)
