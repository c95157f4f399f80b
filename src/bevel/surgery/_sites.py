"""What a person sees of a model's activations: one :class:`Site` per call site, and the table of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

from torch import nn

from bevel.surgery._names import Kind


@dataclass(frozen=True, kw_only=True)
class Site:
    """One activation call site.

    What only a run of the model can tell (feeder, channels of a plain function, calls, mode) has its default where no
    run was made: in the sites that :func:`bevel.watch`, :func:`bevel.harden` and a schedule give to ``where=``.

    Attributes:
        name: qualified name; after a swap the new activation hangs there.
        module: the activation module at this site now, after a swap the new one; None for a function that was not
            swapped.
        kind: ``module``, ``function`` (``F.relu(x)``) or ``method`` (``x.relu()``).
        function: what it computes: ``relu``, ``gelu``, …
        written: the class or function as the model's author wrote it.
        feeder: the layer whose output it takes, "" if unknown.
        channels, axis: how many channels its input has, and on which axis (negative: counted from the end, as −1 for
            the last, and −3 behind a 2-D convolution without a batch); None if that is ambiguous.
        ambiguous: why, if it is.
        calls: how often it runs in one forward in the model's present mode.
        shared: whether one object (or one line of code) serves other sites too.
        mode: ``train`` or ``eval`` if it runs in that mode only, else "".
        unit: whether a swap replaces it unless ``what=`` says otherwise; False for gates, read-outs and the like.
        old, new: the activation before and after a swap; ``new`` is "" if it was not swapped.
        reason: why a swap left it alone; or, if it was swapped, what there is to know.
        bound: a proven bound on ``|new(x) − old(x)|`` over all x; None if not swapped or not preserved.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> site = bevel.find(model, torch.randn(1, 3, 9, 9))[0]
        >>> site.name, site.function, site.feeder, site.channels, site.axis
        ('1', 'relu', '0', 8, 1)
    """

    name: str
    kind: Kind
    function: str
    written: str
    feeder: str = ""
    channels: int | None = None
    axis: int | None = None
    ambiguous: str = ""
    calls: int = 0
    shared: bool = False
    mode: str = ""
    unit: bool = True
    old: str = ""
    new: str = ""
    reason: str = ""
    bound: float | None = None
    module: nn.Module | None = field(default=None, compare=False, repr=False)


class Sites(Sequence[Site]):
    """The activation call sites of a model, in the order in which they first run; prints as a table.

    Args:
        sites: one :class:`Site` a call site.
        notes: what there is to know of the run that found them; default nothing.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2), torch.nn.GELU())
        >>> sites = bevel.find(model, torch.randn(1, 4))
        >>> len(sites), sites.counts(), sites[0].feeder
        (2, {'relu': 1, 'gelu': 1}, '0')
    """

    def __init__(self, sites: Sequence[Site], notes: Sequence[str] = ()) -> None:
        self._sites = tuple(sites)
        self.notes = tuple(notes)

    @overload
    def __getitem__(self, index: int) -> Site: ...

    @overload
    def __getitem__(self, index: slice) -> Sites: ...

    def __getitem__(self, index: int | slice) -> Site | Sites:
        return Sites(self._sites[index], self.notes) if isinstance(index, slice) else self._sites[index]

    def __len__(self) -> int:
        return len(self._sites)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sites) and self._sites == other._sites

    def __hash__(self) -> int:
        return hash(self._sites)

    def counts(self, *, units: bool = True) -> dict[str, int]:
        """Count the sites by function; ``units=False`` also counts those that a swap leaves alone by default."""
        return dict(Counter(s.function for s in self if s.unit or not units))

    @property
    def swapped(self) -> Sites:
        """The sites that carry a new activation."""
        return Sites([s for s in self if s.new], self.notes)

    @property
    def skipped(self) -> Sites:
        """The sites that a swap left alone."""
        return Sites([s for s in self if not s.new], self.notes)

    def __repr__(self) -> str:
        return f"<{len(self)} activation sites: {self.counts(units=False)}>"

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table that is printed, as texts: the header, then one line a site."""
        rows: list[tuple[str, ...]] = [
            ("site", "kind", "function", "after", "channels", "axis", "calls", "new", "note")
        ]
        rows += [
            (
                s.name,
                s.kind,
                s.function,
                s.feeder or "?",
                "?" if s.channels is None else str(s.channels),
                "?" if s.axis is None else str(s.axis),
                f"{s.calls}{' shared' if s.shared else ''}{f' ({s.mode} only)' if s.mode else ''}",
                s.new,
                s.reason or s.ambiguous,
            )
            for s in self
        ]
        if not any(s.new or s.reason for s in self):  # found, not swapped: those columns would be empty
            rows = [(*row[:-2], row[-1]) for row in rows]
        return rows

    @property
    def total(self) -> str:
        """The number of sites, and of each function, in words."""
        counts = ", ".join(f"{count} {name}" for name, count in self.counts(units=False).items()) or "none"
        return f"{len(self)} site{'s' * (len(self) != 1)}: {counts}"

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self.total, *self.notes])
