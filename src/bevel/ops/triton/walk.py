"""The text by which a program finds its tiles: where it starts, a tile's first offset, and how a tile is read and put.

Numbers that may exceed an int32 become int64. Lanes stay int32: a tile has more than one row only if rows are short.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_HEAD = {
    "flat": """
        start = pid
        lanes = tl.arange(0, {columns})[None, :]
    """,
    "inner": """
        inner = tl.cast(inner_q, tl.int64) * {divisor}
        channel = pid % channels
        turn = pid // channels
        start = turn // fixed
        base = (((turn % fixed) * channels + channel) * inner_q) * {divisor}
        lanes = tl.arange(0, {columns})[None, :]
    """,
    "outer": """
        inner = inner_q * {divisor}
        block = (pid % blocks) * {rows}
        turn = pid // blocks
        first = (turn % fixed) * {columns}
        start = turn // fixed
        down = tl.arange(0, {rows})[:, None]
        across = tl.arange(0, {columns})[None, :]
        lanes = down * inner + across
        base = (block * inner_q) * {divisor} + first
        channel = block + down
        keep = (channel < channels) & (first + across < inner)
        full = (block + {rows} <= channels) & (first + {columns} <= inner)
    """,
    "packed": """
        run = tl.cast(run_q, tl.int64) * {divisor}
        base = (pid % blocks) * {columns}
        start = pid // blocks
        lanes = tl.arange(0, {columns})[None, :]
        channel = (base + lanes) // inner
        keep = base + lanes < run
        full = base + {columns} <= run
    """,
    "columns": """
        channels = tl.cast(channels_q, tl.int64) * {divisor}
        block = (pid % blocks) * {columns}
        start = pid // blocks
        down = tl.arange(0, {rows})[:, None]
        across = tl.arange(0, {columns})[None, :]
        lanes = down * (channels_q * {divisor}) + across
        channel = block + across
        keep = channel < channels
        full = block + {columns} <= channels
    """,
}

# Of a trip's tile: its first offset, which of its lanes exist, and whether all do. A load that is masked only where it
# must be is one wide access without a predicate.
_ADDRESS = {
    "flat": (
        "{trip} * {columns}",
        "lanes < length - {trip} * {columns}",
        "length - {trip} * {columns} >= {columns}",
    ),
    "inner": (
        "base + {trip} * {columns}",
        "lanes < inner - {trip} * {columns}",
        "inner - {trip} * {columns} >= {columns}",
    ),
    "outer": (
        "base + (({trip} * channels) * inner_q) * {divisor}",
        "keep & ({trip} + 0 * down < trips)",
        "full & ({trip} < trips)",
    ),
    "packed": (
        "base + ({trip} * run_q) * {divisor}",
        "keep & ({trip} + 0 * lanes < trips)",
        "full & ({trip} < trips)",
    ),
    "columns": (
        "block + (({trip} * {rows}) * channels_q) * {divisor}",
        "keep & ({trip} * {rows} + down < limit)",
        "full & ({trip} * {rows} + {rows} <= limit)",
    ),
}


@dataclass(frozen=True)
class Walk:
    """The tiles of one kind of layout.

    Attributes:
        kind, rows, columns, divisor: of the tiling.
    """

    kind: str
    rows: int
    columns: int
    divisor: int

    @property
    def masked(self) -> bool:
        """Whether lanes that do not exist lie in every tile of a program, and not only at the end of a run."""
        return self.kind in ("outer", "columns")

    def head(self) -> list[str]:
        """Return assignments of ``start``, ``lanes`` and what addresses need, and of ``channel``, from ``pid``."""
        shape = {"rows": self.rows, "columns": self.columns, "divisor": self.divisor}
        return textwrap.dedent(_HEAD[self.kind].format(**shape)).strip().splitlines()

    def fetch(self, names: Sequence[str], trips: Sequence[str]) -> list[str]:
        """Return lines that read each trip's tile of each tensor, as ``NAME_0``, ``NAME_1``, …

        Without a mask the loads stand in a block of their own, from which the assembler cannot move them behind the
        first use: all of them are on their way when it waits for one.
        """
        tiles = [self._at(trip) for trip in trips]
        loads = [(name, k, f"tl.load({name}_ + at_{k} + lanes") for k in range(len(tiles)) for name in names]
        return [
            *(f"at_{k} = {offset}" for k, (offset, _here, _full) in enumerate(tiles)),
            f"if {tiles[-1][2]}:",  # then the tiles before it exist as well
            *(f"    {name}_{k} = {load})" for name, k, load in loads),
            "else:",
            *(f"    here_{k} = {here}" for k, (_offset, here, _full) in enumerate(tiles)),
            *(f"    {name}_{k} = {load}, mask=here_{k}, other=0.0)" for name, k, load in loads),
        ]

    def put(self, name: str, k: int, trip: str, value: str) -> list[str]:
        """Return lines that write tile ``k``, which is a trip's, of a tensor."""
        _offset, here, full = self._at(trip)
        return [
            f"if {full}:",
            f"    tl.store({name}_ + at_{k} + lanes, {value})",
            "else:",
            f"    tl.store({name}_ + at_{k} + lanes, {value}, mask={here})",
        ]

    def here(self, trip: str) -> str:
        """Return which lanes of a trip's tile exist."""
        return self._at(trip)[1]

    def _at(self, trip: str) -> tuple[str, str, str]:
        shape = {"rows": self.rows, "columns": self.columns, "divisor": self.divisor}
        offset, here, full = (text.format(trip=trip, **shape) for text in _ADDRESS[self.kind])
        return offset, here, full


def indent(lines: Sequence[str]) -> list[str]:
    """Return the lines within a block."""
    return [f"    {line}" for line in lines]
