"""A swap as JSON: what went where, so that it can be done again to a new model of the same kind, without an example.

The plan has no weights: they are in the swapped model's ``state_dict``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from bevel.errors import BevelError, InvalidValue
from bevel.spec import accepted_arguments, parse
from bevel.surgery._blueprint import Blueprint, shapes
from bevel.surgery._calls import LEAVE, Entry, Table
from bevel.surgery._held import HOLDER
from bevel.surgery._install import kept_in
from bevel.surgery._likeness import VERSION, likeness
from bevel.surgery._preserve import built, placed, set_rule
from bevel.surgery._probe import near, recognize, sample
from bevel.surgery._recipe import Recipe
from bevel.surgery._route import WriteBack, place
from bevel.surgery._sites import Site, Sites

_TOLD = [f.name for f in fields(Site) if f.name != "module"]


def write(to: object, sites: Sites, blueprint: Blueprint, recipes: Mapping[str, Recipe]) -> str:
    """Write the plan of a swap.

    Raises:
        InvalidValue: if the activation was given as a function, which JSON cannot hold.
    """
    if not isinstance(to, str):
        raise InvalidValue(
            "a plan must name its activation by a spec string, e.g. swap(model, 'frelu', …); this swap was given "
            f"{to!r}."
        )
    return json.dumps(
        {
            "bevel_plan": blueprint.version,
            "to": to,
            "python": list(sys.version_info[:2]),
            "sites": [
                {name: getattr(site, name) for name in _TOLD}
                | {"arguments": recipes[site.name].arguments, "writes_back": recipes[site.name].writes_back}
                | {"save": recipes[site.name].save}
                for site in sites.swapped
            ],
            "replaced": blueprint.replaced,
            "held": blueprint.held,
            "functions": {s: {n: _written(t) for n, t in tables.items()} for s, tables in blueprint.functions.items()},
            "shared": {s: {n: _written(t) for n, t in tables.items()} for s, tables in blueprint.shared.items()},
            "nodes": blueprint.nodes,
            "shields": blueprint.shields,
            "forwards": blueprint.forwards,
            "layers": blueprint.layers,
            **({"values": blueprint.values} if blueprint.version > 1 else {}),
        }
    )


def _written(table: Table) -> dict[str, Any]:
    modes = {"train" if mode else "eval": found for mode, found in sorted(table.entries.items())}
    products = {"products": list(table.products)} if table.products else {}
    return {"what": table.what} | modes | products


class Plan:
    """A plan that was read.

    Args:
        text: what ``result.plan()`` returned, or the same as a dictionary.

    Raises:
        InvalidValue: if it is none, or of another version.
    """

    def __init__(self, text: str | Mapping[str, Any]) -> None:
        try:
            data: Any = json.loads(text) if isinstance(text, str) else text
        except json.JSONDecodeError as error:
            raise InvalidValue(f"a plan must be JSON, as result.plan() writes it; {error}.") from error
        version = data.get("bevel_plan") if isinstance(data, Mapping) else None
        if version is None:
            raise InvalidValue("a plan must be JSON, as result.plan() writes it; got something else.")
        if version not in range(1, VERSION + 1):
            raise InvalidValue(
                f"a plan must have version 1 to {VERSION} in this bevel; got {version!r}. Write it anew by swap."
            )
        try:
            self._read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, BevelError):
                raise
            raise InvalidValue(
                f"the plan is damaged ({type(error).__name__}: {error}). Write it anew by swap."
            ) from error

    def _read(self, data: Mapping[str, Any]) -> None:
        self.to: str = data["to"]
        version = int(data["bevel_plan"])
        factory, given = parse(self.to)
        accepted = accepted_arguments(factory)
        self.sites = Sites([Site(**{name: row[name] for name in _TOLD}) for row in data["sites"]])
        self.recipes = {
            r["name"]: Recipe(dict(r["arguments"]), bool(r["writes_back"]), r.get("save", "auto"))
            for r in data["sites"]
        }
        unknown = sorted({key for recipe in self.recipes.values() for key in recipe.arguments} - set(accepted))
        if unknown:
            raise InvalidValue(f"the plan is damaged: {self.to} takes no argument {unknown[0]!r}.")
        self.make: Callable[[dict[str, Any]], nn.Module] = lambda arguments: built(factory, arguments | given)
        self.blueprint = Blueprint(
            replaced={path: list(names) for path, names in data["replaced"].items()},
            held={scope: dict(keys) for scope, keys in data["held"].items()},
            functions=_read_tables(data["functions"], version),
            shared=_read_tables(data["shared"], version),
            nodes={
                scope: [(what, nth, target) for what, nth, target in nodes] for scope, nodes in data["nodes"].items()
            },
            shields=list(data["shields"]),
            version=version,
        )
        self.blueprint.forwards = {scope: (str(name), int(code)) for scope, (name, code) in data["forwards"].items()}
        self.blueprint.layers = {layer: [list(map(int, s)) for s in shapes] for layer, shapes in data["layers"].items()}
        values = data["values"] if version > 1 else {}
        self.blueprint.values = {path: list(map(float, found)) for path, found in values.items()}
        self._same_python = data["python"] == list(sys.version_info[:2])

    def check(self, model: nn.Module) -> None:
        """Refuse a model that differs from the one that the plan was made of.

        Raises:
            InvalidValue: with the site where they differ.
        """
        modules = dict(model.named_modules(remove_duplicate=False))
        for site in self.sites:
            path = next((p for p, names in self.blueprint.replaced.items() if site.name in names), "")
            if path:
                self._check_module(site, path, modules.get(path))
            for scope in self._scopes_of(site, path):
                self._check_scope(site, scope, modules)
            for layer in [site.feeder] if site.feeder else []:
                self._check_layer(site, layer, modules.get(layer))
        named = {site.name: site for site in self.sites}
        for layer, name in self._owners():
            if layer in self.blueprint.layers:
                self._check_layer(named[name], layer, modules.get(layer))

    def _owners(self) -> Iterator[tuple[str, str]]:
        """The layers that are replaced or carry a mark, each with a site that needs it."""
        replaced = {path: [name for name in names if name] for path, names in self.blueprint.replaced.items()}
        for path, names in replaced.items():
            yield path, names[0]
        for scope, tables in self.blueprint.functions.items():
            held = self.blueprint.held[scope]
            for function, table in tables.items():
                for mark, number in table.marked:
                    yield mark, held.get(place(function, number), next(iter(held.values())))
        for tables in self.blueprint.shared.values():
            for path, table in tables.items():
                for mark, number in table.marked:
                    name = self.blueprint.replaced[path][number] if number != LEAVE else None
                    yield mark, name or replaced[path][0]

    def _scopes_of(self, site: Site, path: str) -> list[str]:
        """The forwards that call a site, where its calls are routed."""
        if path:
            return [scope for scope, tables in self.blueprint.shared.items() if path in tables]
        return [scope for scope, keys in self.blueprint.held.items() if site.name in keys.values()]

    def _check_module(self, site: Site, path: str, module: nn.Module | None) -> None:
        source = None if module is None else recognize(module)
        found = "nothing" if module is None else f"a {type(module).__name__}"
        if source is None or source.name != site.function:
            raise _differs(site, f"a {site.old} ({site.function}) at {path!r}", found)
        values = self.blueprint.values.get(path)
        if values is not None and not near(sample(source), values):
            raise _differs(
                site, f"the {site.old} that was at {path!r}", f"one that computes another function: {module}"
            )

    def _check_scope(self, site: Site, scope: str, modules: Mapping[str, nn.Module]) -> None:
        version = self.blueprint.version
        found, its_code = likeness(modules[scope], version) if scope in modules else ("nothing", 0)
        name, code = self.blueprint.forwards[scope]
        if found != name:
            raise _differs(site, f"a {name} at {scope or 'the root'!r}", f"a {found}")
        if self._same_python and its_code != code:
            raise _differs(site, f"the forward that {name} had", "another one")
        held = modules.get(f"{scope}.{HOLDER}" if scope else HOLDER)
        if held is not None and any(
            f"{scope}.{HOLDER}.{key}".lstrip(".") == site.name for key, _ in held.named_children()
        ):
            raise _differs(site, "a model that is not swapped", "one that has an activation there")

    def _check_layer(self, site: Site, layer: str, module: nn.Module | None) -> None:
        expected, found = self.blueprint.layers[layer], None if module is None else shapes(module)
        if found != expected:
            raise _differs(site, f"a layer {layer!r} with parameters of shape {expected}", f"{found}")

    def activations(self, model: nn.Module) -> dict[str, nn.Module]:
        """Make the activations, by site name."""
        made = {}
        for site in self.sites:
            recipe = self.recipes[site.name]
            like = kept_in(model.get_submodule(site.feeder)) or kept_in(model) if site.feeder else kept_in(model)
            module = self.make(recipe.arguments)
            set_rule(module, recipe.save)
            module = placed(module, *(like or (torch.device("cpu"), torch.float32)))
            made[site.name] = WriteBack(module) if recipe.writes_back else module
        return made


def _read_tables(data: Mapping[str, Mapping[str, Any]], version: int) -> dict[str, dict[str, Table]]:
    return {
        scope: {name: _read_table(table, version) for name, table in found.items()} for scope, found in data.items()
    }


def _read_table(data: Mapping[str, Any], version: int) -> Table:
    entries = {
        mode: [
            Entry(tuple((int(c), int(at)) for c, at in code), tuple(map(str, lines)), str(mark), int(site))
            for code, lines, mark, site in data[name]
        ]
        for mode, name in ((True, "train"), (False, "eval"))
        if name in data
    }
    return Table(str(data["what"]), entries, map(int, data.get("products", ())), version)


def _differs(site: Site, expected: str, found: str) -> InvalidValue:
    return InvalidValue(
        f"the model is not the one that the plan was made of: site {site.name!r} needs {expected}; found {found}. "
        "Build the same model, or swap this one with an example."
    )
