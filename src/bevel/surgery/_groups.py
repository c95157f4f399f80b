"""Sort calls into groups of sites: which calls share one activation, and by what a run tells them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bevel.surgery._calls import Entry, Table
from bevel.surgery._place import NOWHERE, Place
from bevel.surgery._products import product
from bevel.surgery._sites import Site
from bevel.surgery._watch import Call, Scope


@dataclass
class Group:
    """Sites whose calls go through one name: one module's, or one function's within one scope.

    Attributes:
        path: the module's qualified name; "" for a function.
        function: the function's name; "" for a module.
        calls: for each site the calls that share its activation.
        sites: the sites, in the same order.
        tables: for each scope, which call belongs to which site.
        first: the index of a function's first site in the scope's holder; earlier swaps have the ones below.
    """

    path: str
    function: str
    calls: list[list[Call]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    first: int = 0

    @property
    def scope(self) -> str:
        """The scope of a function's group, which has exactly one."""
        return next(iter(self.tables))


def _assign(calls: Sequence[Call]) -> list[tuple[Scope, Call]]:
    """Assign each call to the innermost module whose code and call order determine its channel count.

    A module without layers of its own, used at several widths, cannot tell its calls apart; its caller can.
    """
    raised: set[str] = set()
    root = calls[0].scopes[0].name if calls else ""
    while True:
        assigned = [(next(s for s in reversed(c.scopes) if s.name == root or s.name not in raised), c) for c in calls]
        runs: dict[tuple[Any, ...], list[Call]] = defaultdict(list)
        for scope, call in assigned:
            key = (scope.name, scope.training, call.path, call.function, _place(scope, call), scope.run)
            runs[key].append(call)
        settled: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        bad = {
            key[0]
            for key, members in runs.items()
            for k, call in enumerate(members)
            if settled.setdefault((*key[:-1], k), call.width) != call.width and key[0] != root
        }
        if not bad:
            return assigned
        raised |= bad


def _place(scope: Scope, call: Call) -> Place:
    """Where the call is made in the scope's own forward; a call made by a module inside has no place there."""
    return call.place if call.scopes[-1] is scope else NOWHERE


Runs = Mapping[Scope, Sequence[Call]]
"""The calls of one function or module by the run of the scope that makes them."""


def _fill(group: Group, name: str, runs: Runs) -> None:
    """Sort the calls of a scope into sites: one for each place in the code, feeding layer and width.

    Runs of one scope share their sites: the first call at a place is the same site in each of them.
    """
    sites: dict[tuple[Any, ...], int] = {}
    known: dict[tuple[bool, Place, int], int] = {}
    chosen: list[tuple[Scope, Call, Place, int]] = []
    for scope, calls in runs.items():
        steps: Counter[Place] = Counter()
        for call in calls:
            place = _place(scope, call)
            step = (scope.training, place, steps[place])
            steps[place] += 1
            if step not in known:
                key = (place[0], call.label.feeder, call.width)
                if key not in sites:
                    sites[key] = len(group.calls)
                    group.calls.append([])
                known[step] = sites[key]
            group.calls[known[step]].append(call)
            chosen.append((scope, call, place, known[step]))
    group.tables[name] = Table(group.path or group.function, _entries(chosen), _products(group))


def _products(group: Group) -> list[int]:
    """The sites all of whose calls are part of one product with x; they stand for it, whose output is not followed."""
    found = []
    for index, calls in enumerate(group.calls):
        factors = {call.factor for call in calls}
        made = product(factors.pop()) if len(factors) == 1 else None
        if made is not None:
            found.append(index)
            for call in calls:
                (call.source, call.written), call.reused, call.changed = made, False, "written"
    return found


def _entries(chosen: Sequence[tuple[Scope, Call, Place, int]]) -> dict[bool, list[Entry]]:
    """The calls as entries of a table; where a line has several sites, with the layer that ran last before the call.

    Of the layers that feed such calls the one that finished last is the mark. Calls after one layer are a visit: of
    several visits with one mark, such as the steps of a recurrent loop, the first is kept.
    """
    sites: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for _, _, (_, lines), site in chosen:
        sites[lines].add(site)
    feeders = {call.label.feeder for _, call, (_, lines), _ in chosen if len(sites[lines]) > 1}
    entries: dict[bool, list[Entry]] = {}
    first: dict[tuple[Any, ...], tuple[int, int]] = {}
    for scope, call, place, site in chosen:
        marks: list[str] = []
        if len(sites[place[1]]) > 1:
            marks = [layer for layer in call.trace.finished[scope.since : call.after] if layer in feeders]
        mark, visit = marks[-1] if marks else "", (scope.run, len(marks))
        entry = Entry(*place, mark, site)
        known = entries.setdefault(scope.training, [])
        if len(sites[place[1]]) > 1:
            if first.setdefault((scope.training, place, mark), visit) == visit:
                known.append(entry)
        elif entry not in known:
            known.append(entry)
    return entries


def _by_scope(assigned: Sequence[tuple[Scope, Call]]) -> dict[str, dict[Scope, list[Call]]]:
    scopes: dict[str, dict[Scope, list[Call]]] = {}
    for scope, call in assigned:
        scopes.setdefault(scope.name, {}).setdefault(scope, []).append(call)
    return scopes


def function_groups(calls: Sequence[Call]) -> list[Group]:
    """Sort the calls of functions and methods: a group for each function and scope."""
    groups = []
    for scope, runs in _by_scope(_assign(calls)).items():
        names = dict.fromkeys(call.function for made in runs.values() for call in made)
        for name in names:
            group = Group("", name)
            _fill(group, scope, {run: [c for c in calls if c.function == name] for run, calls in runs.items()})
            groups.append(group)
    return groups


def module_groups(calls: Sequence[Call]) -> list[Group]:
    """Sort the calls of modules: a group for each module."""
    groups = []
    for path in dict.fromkeys(c.path for c in calls):
        group = Group(path, "")
        for scope, runs in _by_scope(_assign([c for c in calls if c.path == path])).items():
            _fill(group, scope, runs)
        groups.append(group)
    return groups
