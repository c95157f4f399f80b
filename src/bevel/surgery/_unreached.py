"""What an example never calls: activation modules, and modules whose own forward calls activation functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType

from torch import nn

from bevel.surgery._likeness import checksum, names_in, parts
from bevel.surgery._names import SPELLINGS, UNITS
from bevel.surgery._probe import Source
from bevel.surgery._watch import Call, Trace

_WRITTEN = {name + suffix: name for name in UNITS if name != "threshold" for suffix in ("", "_")}
"""Names in code that stand for an activation function; ``threshold`` is many other things, too."""


def unreached(model: nn.Module, sources: Mapping[str, Source], traces: Sequence[Trace]) -> dict[str, set[str]]:
    """The modules that no trace called, by qualified name, each with the activation functions that it would call.

    A module without a forward of its own, or whose forward calls no activation function, is none of them. Nor is one
    whose code ran as part of another module's forward.
    """
    calls = [call for trace in traces for call in trace.calls]
    called = {id(model.get_submodule(call.path)) for call in calls if call.path}
    called |= {id(model.get_submodule(name)) for trace in traces for name in trace.finished}
    inside = {id(m) for path in sources for m in model.get_submodule(path).modules()}
    callers = _callers(model, calls)
    found = {p: {s.name} for p, s in sources.items() if s.unit and id(model.get_submodule(p)) not in called}
    for path, module in model.named_modules():
        if id(module) not in called | inside and (functions := set(_functions(module, callers))):
            found[path] = functions
    return found


def _callers(model: nn.Module, calls: Sequence[Call]) -> dict[int, set[type]]:
    """For each function that made an activation call, by checksum, the classes whose forwards it was part of."""
    found: dict[int, set[type]] = defaultdict(set)
    for call in calls:
        for code, _ in call.place[0]:
            found[code].add(type(model.get_submodule(call.scopes[-1].name)))
    return found


def _functions(module: nn.Module, callers: Mapping[int, set[type]]) -> Iterator[str]:
    """The activation functions that a module's own code names, where no other class's forward has run it."""
    for _, function in parts(module):
        code = getattr(function, "__code__", None)
        if function in SPELLINGS and SPELLINGS[function].name in UNITS:
            yield SPELLINGS[function].name
        elif isinstance(code, CodeType) and not callers.get(checksum(code), set()) - {type(module)}:
            attributes = {*dir(type(module)), *vars(module), *(name for name, _ in module.named_children())}
            yield from (_WRITTEN[name] for name in (names_in(code) & _WRITTEN.keys()) - attributes)
