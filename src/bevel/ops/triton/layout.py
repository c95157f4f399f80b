"""How a dense tensor, as (outer, channel, inner) from ``dense_view``, is cut into tiles: plain numbers, no Triton."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """What a measurement on the chip may change: the tile and the grid.

    Attributes:
        tile: elements of a tile. One warp and 8 elements a lane: a tile is what skips the kernel's forms together,
            and at n = 20000 one in eight tiles of 256 N(0, 1) numbers meets the zone |x| < 13/n, one in two of 1024.
        warps: warps of a program.
        per_processor: programs a multiprocessor gets; 32 is what a Hopper one holds.
        ahead: tiles loaded before they are needed. 32 programs with 2 KB under way are the 64 KB a multiprocessor
            must have in flight to keep 4.8 TB/s of memory busy through about 1 µs of latency.
    """

    tile: int = 256
    warps: int = 1
    per_processor: int = 32
    ahead: int = 1


@dataclass(frozen=True)
class Tiling:
    """How one tensor is cut. A program has one block of channels and a fixed tile of another axis; it walks the third.

    Attributes:
        kind: ``flat`` (shared coefficients: one run), ``inner`` (walks along a long inner axis), ``outer`` (walks
            over the outer axis) or ``columns`` (channels last: walks over rows of channels).
        rows, columns: the tile.
        divisor: largest of 1, 2, …, 16 that divides the length a row starts at multiples of: how wide loads may be.
        ragged: whether that length is no multiple of 16, so that a mask would keep a flat run from wide loads.
        numbers: what the program is told, in the order of :data:`ARGUMENTS`.
        programs: how many there are.
        partials: rows of partial sums, one per program of a channel block.
    """

    kind: str
    rows: int
    columns: int
    divisor: int
    numbers: tuple[int, ...]
    programs: int
    partials: int


ARGUMENTS = {
    "flat": ("length", "trips", "stride"),
    "inner": ("channels", "inner_q", "fixed", "trips", "stride"),
    "outer": ("channels", "inner_q", "blocks", "fixed", "trips", "stride"),
    "columns": ("channels_q", "blocks", "limit", "trips", "stride"),
}


def power_of_two(n: int) -> int:
    """Return the least power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def divisor_of(n: int) -> int:
    return min(n & -n, 16)


def tiling(outer: int, channels: int, inner: int, processors: int, tuning: Tuning) -> Tiling:
    """Cut a non-empty tensor for a chip of so many multiprocessors."""
    most = processors * tuning.per_processor
    if channels == 1:
        return _flat(outer * inner, most, tuning.tile)
    if inner == 1:
        return _columns(outer, channels, most, tuning.tile)
    return _rows(outer, channels, inner, most, tuning.tile)


def _flat(length: int, most: int, tile: int) -> Tiling:
    trips = -(-length // tile)
    stride = min(trips, most)
    return Tiling("flat", 1, tile, divisor_of(length), (length, trips, stride), stride, stride)


def _rows(outer: int, channels: int, inner: int, most: int, tile: int) -> Tiling:
    columns = min(power_of_two(inner), tile)
    rows = min(tile // columns, power_of_two(channels))
    blocks, across = -(-channels // rows), -(-inner // columns)
    divisor = divisor_of(inner)
    if outer < across:  # then inner > tile, so that rows == 1 and blocks == channels
        stride = _split(across, channels * outer, most)
        walk = (channels, inner // divisor, outer, across, stride)
        return Tiling("inner", 1, columns, divisor, walk, channels * outer * stride, outer * stride)
    stride = _split(outer, blocks * across, most)
    numbers = (channels, inner // divisor, blocks, across, outer, stride)
    return Tiling("outer", rows, columns, divisor, numbers, blocks * across * stride, across * stride)


def _columns(outer: int, channels: int, most: int, tile: int) -> Tiling:
    columns = min(power_of_two(channels), tile)
    rows = min(tile // columns, power_of_two(outer))
    blocks, trips = -(-channels // columns), -(-outer // rows)
    stride = _split(trips, blocks, most)
    divisor = divisor_of(channels)
    numbers = (channels // divisor, blocks, outer, trips, stride)
    return Tiling("columns", rows, columns, divisor, numbers, blocks * stride, stride)


def _split(trips: int, programs: int, most: int) -> int:
    """Number of programs per walk: as many as fit the grid, between 1 and ``trips``."""
    return max(1, min(trips, most // programs))
