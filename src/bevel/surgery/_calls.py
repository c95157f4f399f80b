"""Which activation each call of a function, or of one shared module, takes within one forward.

A :class:`Table` is data: what the example's calls were. A :class:`Run` is one run of the forward, which looks calls up
by their place in the code. Where one place serves several layers (a loop), the layer that ran last before the call
tells them apart; those layers carry a :class:`Mark`. A call that fits none of these is never guessed.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import nn

from bevel._torch_private import skip_frame
from bevel.errors import InvalidValue
from bevel.surgery._likeness import VERSION
from bevel.surgery._place import NOWHERE, Code, Lines, code_of, lines_of, same_instructions

LEAVE = -1
"""In a table: this call keeps its function."""
UNSURE = -2
"""While ``torch.compile`` traces: only eager mode can tell which call this is."""
UNTRACEABLE = (
    "bevel cannot tell here which call of the swapped forward this is. Compile the whole swapped module, or without "
    "fullgraph=True."
)


class Entry(NamedTuple):
    """One call of the example: its place, the marked layer that ran last before it, its activation's number."""

    code: Code
    lines: Lines
    mark: str
    site: int


Key = Code | Lines
"""A place as a run knows it: the code in eager mode, else the lines."""


class Lookup:
    """A table as one mode sees it: its own calls, and those of the other mode on lines that it did not run.

    Attributes:
        sites: for each place, by the marked layer that ran last, the activations in the order of the calls.
        line_of: the line of each place in the code that has one only.
        twins: places that several lines have, in functions that are equal but for those.
        only: the activation of each place in the code on a line that has one only.
        innermost: the lines of the calls themselves.
        total: how many calls the mode has on other lines.
    """

    only: dict[Code, int]
    total: int

    def __init__(self, own: Sequence[Entry], others: Sequence[Entry], version: int) -> None:
        ran = {entry.lines for entry in own}
        self.version = version
        self.sites: dict[Key, dict[str, tuple[int, ...]]] = {}
        lines_at: dict[Code, set[Lines]] = {}
        for entry in (*own, *(e for e in others if e.lines not in ran)):
            keys: set[Key] = {entry.code, entry.lines}
            for key in keys:
                marked = self.sites.setdefault(key, {})
                marked[entry.mark] = (*marked.get(entry.mark, ()), entry.site)
            lines_at.setdefault(entry.code, set()).add(entry.lines)
        self.line_of = {code: next(iter(lines)) for code, lines in lines_at.items() if len(lines) == 1}
        self.twins = lines_at.keys() - self.line_of.keys()
        self.innermost = {lines[0] for found in lines_at.values() for lines in found if lines}
        self._recorded: dict[Code, Code] = {}
        self._known = {checksum for code in lines_at for checksum, _ in code}

    def find(self, code: Code, found: list[FrameType]) -> tuple[Key, Lines] | None:
        """The place and line of a call made from these frames; None if the example did not run it."""
        ran = code
        if self.version != VERSION:
            code = code_of(found, self.version)
        code = self._as_recorded(code, found)
        if code in self.only:
            self.only[ran] = self.only[code]  # the next time it is found at once
        if code in self.line_of:
            return code, self.line_of[code]
        by_line = code in self.twins or not all(checksum in self._known for checksum, _ in code)
        lines = self.within(lines_of(found) if by_line else NOWHERE[1])
        return None if lines is None else (lines, lines)

    def _as_recorded(self, code: Code, found: list[FrameType]) -> Code:
        """The place as the table has it, which may say otherwise where in an instruction the call was."""
        if code not in self._recorded:
            same = (known for known in (*self.line_of, *self.twins) if same_instructions(known, code, found))
            self._recorded[code] = next(same, code)
        return self._recorded[code]

    def within(self, lines: Lines) -> Lines | None:
        """The line itself if calls were made there, else the place of calls that have none."""
        return lines if lines in self.sites else NOWHERE[1] if NOWHERE[1] in self.sites else None


class Table:
    """The calls of one function, or of one shared module, in one forward.

    Args:
        what: what is called, for messages.
        entries: the example's calls in training (True) and in evaluation (False), in their order.
        products: the activations that stand for the product of a call's result and another factor, which they take.
        version: of the checksums in the entries.
    """

    version = 1  # of tables that were pickled before they said it

    def __init__(
        self,
        what: str,
        entries: Mapping[bool, Sequence[Entry]],
        products: Iterable[int] = (),
        version: int = VERSION,
    ) -> None:
        self.what = what
        self.version = version
        self.entries = {mode: tuple(found) for mode, found in entries.items()}
        self.products = tuple(products)
        self.slot = Slot()
        self._look()

    def _look(self) -> None:
        everything = [entry for found in self.entries.values() for entry in found]
        indices: dict[Lines, set[int]] = {}
        for entry in everything:
            indices.setdefault(entry.lines, set()).add(entry.site)
        self.several = {lines for lines, found in indices.items() if len(found) > 1}
        """Lines with several activations: their calls read the marks."""
        self.single = {lines: found.pop() for lines, found in indices.items() if len(found) == 1}
        none: tuple[Entry, ...] = ()
        self.lookups = {
            mode: Lookup(self.entries.get(mode, none), self.entries.get(not mode, none), self.version)
            for mode in (True, False)
        }
        for mode, lookup in self.lookups.items():
            lookup.total = sum(entry.lines in self.several for entry in self.entries.get(mode, none))
            lookup.only = {code: self.single[lines] for code, lines in lookup.line_of.items() if lines in self.single}

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("what", "entries", "products", "slot", "version")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._look()

    @property
    def marked(self) -> list[tuple[str, int]]:
        """The layers that must carry a mark, by qualified name, each with the activations of the calls after it."""
        everything = (entry for found in self.entries.values() for entry in found)
        return list(dict.fromkeys((entry.mark, entry.site) for entry in everything if entry.mark))

    @property
    def marks(self) -> list[str]:
        """The layers that must carry a mark, by qualified name."""
        return list(dict.fromkeys(mark for mark, _ in self.marked))

    def renumbered(self, site: Mapping[int, int]) -> Table:
        """The same calls with other numbers for their activations."""
        entries = {
            mode: [Entry(e.code, e.lines, e.mark, site[e.site]) for e in found] for mode, found in self.entries.items()
        }
        return Table(self.what, entries, [site[i] for i in self.products if site[i] != LEAVE], self.version)


class _Open(threading.local):
    """Per thread: the run that each slot has open."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}


OPEN = _Open()
_COUNTING = threading.Lock()


class Slot:
    """Holds the run that is open now: one for each thread, so that threads do not disturb one another.

    While ``torch.compile`` traces, the slot itself holds it, since thread-local state cannot be traced. Tracing may
    give up on a forward and still compile what it calls, or open the run and then give up: each sees the other's.
    Whoever reads a slot does so in its own frame, for a function called from there may be compiled alone:

        run = slot.traced if torch.compiler.is_dynamo_compiling() else OPEN.runs.get(id(slot), slot.traced)
    """

    def __init__(self) -> None:
        self.traced: Run | None = None
        self.eager = 0  # how many runs are open in eager mode, in all threads

    def __reduce__(self) -> tuple[type[Slot], tuple[()], dict[str, Any]]:
        return Slot, (), {}  # nothing is open in a copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # older pickles have a state

    def put(self, run: Run | None) -> Run | None:
        """Open a run, or none; return the one that was open."""
        if torch.compiler.is_dynamo_compiling():
            outer, self.traced = self.traced, run
            return outer
        outer = OPEN.runs.pop(id(self), None)
        if run is not None:
            OPEN.runs[id(self)] = run
        with _COUNTING:
            self.eager += (run is not None) - (outer is not None)
        return outer


class Run:
    """The calls of one run of a forward, looked up in a table."""

    def __init__(self, table: Table, training: bool) -> None:
        self.table = table
        self.lookup = table.lookups[training]
        self.mark = ""  # the marked layer that ran last
        self.visit = 0  # how many marked layers have run
        self.visits: dict[Key, tuple[int, str, int]] = {}  # by place: the visit, its mark, and its calls so far
        self.total = 0

    def pick(self, code: Code, found: list[FrameType]) -> int | None:
        """The activation of a call made at this place, from these frames; None if the example did not run the call."""
        only = self.lookup.only.get(code)
        if only is not None:
            return only
        place = self.lookup.find(code, found)
        return None if place is None else self._at(*place)

    def pick_traced(self, lines: Lines, whole: bool) -> int | None:
        """The same by lines alone, up to the forward if ``whole``, for ``torch.compile``; or ``UNSURE``."""
        within = self.lookup.within(lines)
        if within is not None:
            return self._at(within, within)
        # The example may have run this call after all: in eager mode a generator's calls have other lines.
        return UNSURE if not whole or lines[0] in self.lookup.innermost else None

    def _at(self, key: Key, lines: Lines) -> int:
        self.total += 1
        if lines not in self.table.several:
            return self.table.single[lines]
        visit, _, step = self.visits.get(key, (0, "", 0))
        if visit != self.visit:
            self._check(key)
            step = 0
        sites = self.lookup.sites[key].get(self.mark, ())
        self.visits[key] = (self.visit, self.mark, step + 1)
        if step < len(sites):
            return sites[step]
        if not self.mark and len(set(sites)) == 1:
            return sites[0]
        after = f" after {self.mark}" if self.mark else ""
        raise InvalidValue(
            f"{self.table.what} ran {self.total} times in one forward but {self.lookup.total} times when it was "
            f"swapped, so the call at {_said(lines)}{after} has no activation of its own. Restore, and swap again with "
            "an example that makes all calls."
        )

    def check(self) -> None:
        """At the end of a forward, check that no call was missing among those that only their order tells apart."""
        for key in self.visits:
            self._check(key)

    def _check(self, key: Key) -> None:
        _, mark, count = self.visits.get(key, (0, "", 0))
        sites = self.lookup.sites[key].get(mark, ())
        if 0 < count < len(sites) and len(set(sites)) > 1:
            raise InvalidValue(
                f"{self.table.what} ran {count} times in one forward but {len(sites)} times when it was swapped, and "
                "nothing but their order tells these calls apart. Give each a line or a module of its own, or one "
                "shared activation (num_parameters=1 and where=)."
            )


def _said(lines: Lines) -> str:
    return str(lines[0]) if lines else "one place"


class Mark:
    """A forward hook on a layer that tells a table's open run that the layer has run."""

    def __init__(self, table: Table, name: str) -> None:
        self.table = table
        self.name = name

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        slot = self.table.slot  # read here, as Slot says
        tracing = torch.compiler.is_dynamo_compiling()
        if tracing and slot.traced is None and slot.eager:
            skip_frame()(msg=UNTRACEABLE)
        run = slot.traced if tracing else OPEN.runs.get(id(slot), slot.traced)
        if run is not None:
            run.mark = self.name
            run.visit += 1


_TOLD: set[tuple[str, Lines]] = set()


def tell(name: str, lines: Lines) -> None:
    """Warn, once for each place, of a call that the example did not run."""
    if (name, lines) not in _TOLD:
        _TOLD.add((name, lines))
        warnings.warn(
            f"the example did not run the call of {name} at {lines[0] if lines else 'this place'}; it keeps its "
            "function. Swap with an example that runs it to give it an activation of its own.",
            stacklevel=2,
        )
