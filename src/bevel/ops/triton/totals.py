"""The sums of parameters' gradients: what a program stores of its own, and the second stage, which adds these up.

Both add in a fixed order, without atomics, so that equal inputs give equal bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from bevel.ops.triton.layout import MOST_PARTIALS, SECTOR, power_of_two
from bevel.ops.triton.walk import Walk, indent

MOST_TRIPS = 4
_SIZES = ((64, 1), (1024, 4), (MOST_PARTIALS // MOST_TRIPS, 16))  # elements of a trip, and warps; few are built


def partial_rows(walk: Walk, wanted: list[int]) -> list[str]:
    """Return lines that store a program's sums of the wanted parameters, ordered by (row, parameter, channel)."""
    count, lines = len(wanted), []
    if walk.kind == "packed":
        return _packed_rows(walk, wanted)
    for order, i in enumerate(wanted):
        if walk.kind == "flat":
            lines.append(f"tl.store(partial + pid * {count} + {order}, tl.sum(sum_{i}))")
            continue
        address = f"partial + ({'start' if walk.kind == 'columns' else 'turn'} * {count} + {order}) * channels"
        if walk.kind == "inner":
            lines.append(f"tl.store({address} + channel, tl.sum(sum_{i}))")
            continue
        axis, length = (1, walk.rows) if walk.kind == "outer" else (0, walk.columns)
        lane = f"tl.arange(0, {length})"
        lines.append(f"tl.store({address} + block + {lane}, tl.sum(sum_{i}, {axis}), mask=block + {lane} < channels)")
    return lines


def _packed_rows(walk: Walk, wanted: list[int]) -> list[str]:
    """A tile holds several channels, and the next tile may hold the rest of the last one.

    So a channel has two rows a walk: of the tile in which it begins and of the next; the first writes a zero for the
    second where there is none.
    """
    if not wanted:
        return []
    count, lines = len(wanted), []
    for order, i in enumerate(wanted):
        lines += [
            f"row = partial + ((2 * start + tl.where(begins, 0, 1)) * {count} + {order}) * channels + one",
            f"tl.store(row, tl.sum(tl.where(channel == one, sum_{i}, 0.0)))",
            "if begins & ends:",
            f"    tl.store(row + {count} * channels, 0.0)",
        ]
    return [
        f"for one in tl.range(base // inner, tl.minimum((base + {walk.columns - 1}) // inner + 1, channels)):",
        "    begins = one * inner >= base",
        f"    ends = one * inner + inner <= base + {walk.columns}",
        *indent(lines),
    ]


@dataclass(frozen=True)
class Adding:
    """The second stage's programs: each adds up one parameter's sums of some channels.

    Attributes:
        columns, rows: what a trip takes: channels, and rows of partial sums.
        warps: of a program.
        trips: walked by a program, :data:`MOST_TRIPS` at most.
        blocks: programs of one parameter.
    """

    columns: int
    rows: int
    warps: int
    trips: int
    blocks: int


def adding(partials: int, channels: int) -> Adding:
    """Cut so many rows of partial sums of so many channels."""
    columns = min(power_of_two(channels), SECTOR)
    count = partials * columns
    size, warps = _SIZES[0 if count <= 64 else 1 if count <= 1024 * MOST_TRIPS else 2]
    rows = size // columns
    return Adding(columns, rows, warps, -(-partials // rows), -(-channels // columns))


def add_up_text(count: int) -> str:
    """Return the text that adds rows of partial sums to ``count`` results for each channel."""
    outputs = ", ".join(f"out{j}" for j in range(count))
    lines = [
        '@triton.jit(do_not_specialize=["rows"])',
        f"def run({outputs}, partial, rows, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):",
        "    which = tl.program_id(1)",
        "    kept = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)",
        "    channel = kept[None, :]",
        "    down = tl.arange(0, ROWS)[:, None].to(tl.int64)",
        "    added = tl.zeros([ROWS, COLUMNS], tl.float64)",
        "    for row in tl.range(0, rows, ROWS):",
        f"        address = partial + ((row + down) * {count} + which) * channels + channel",
        "        here = (row + down < rows) & (channel < channels)",
        "        added += tl.load(address, mask=here, other=0.0).to(tl.float64)",
        "    total = tl.sum(added, 0)",
    ]
    for j in range(count):
        lines.append(f"    if which == {j}:")
        lines.append(f"        tl.store(out{j} + kept, total.to(out{j}.dtype.element_ty), mask=kept < channels)")
    return "\n".join(lines) + "\n"
