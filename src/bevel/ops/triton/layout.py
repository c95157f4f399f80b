"""How a dense tensor, as (outer, channel, inner) from ``dense_view``, is cut into tiles: plain numbers, no Triton."""

from __future__ import annotations

from dataclasses import dataclass

MOST_PARTIALS = 32768  # numbers that a program of the second stage adds up: four trips of 8,192
SECTOR = 8  # floats of a memory sector, the columns of that program
_PACKED = 16  # planes of fewer elements stay one to a row, for a tile would hold sums of too many channels


@dataclass(frozen=True)
class Tuning:
    """What a measurement on the chip may change: the tile and the grid.

    Attributes:
        tile: elements of a tile. One warp and 8 elements a lane: a tile is what skips the kernel's forms together,
            and at n = 20000 one in eight tiles of 256 N(0, 1) numbers meets the zone |x| < 13/n, one in two of 1024.
            A trip loads two tiles before it uses the first. To keep 4.8 TB/s busy through about 1 µs of latency each
            of 132 multiprocessors must have 36 KB in flight: 32 programs have 32 KB (forward in bfloat16, 1 KB each)
            or 64 KB (backward in bfloat16, and forward in float32).
        warps: warps of a program.
        per_processor: programs a multiprocessor gets at most; 32 is what a Hopper one holds. It gets fewer where the
            built program's registers allow no more.
    """

    tile: int = 256
    warps: int = 1
    per_processor: int = 32

    def lanes(self, accuracy: str, kind: str = "x") -> int:
        """Return the elements of a tile, of which registers hold fewer in float64 and in some passes.

        Args:
            accuracy: see ``kernel_terms``.
            kind: ``x``, ``y`` where the pass finds x first, ``bent`` of a function with bends, or ``second``.
        """
        if accuracy == "double":
            return self.tile // 2 if kind == "x" else self.tile // 4
        return self.tile // 2 if kind == "second" and accuracy == "single" else self.tile


@dataclass(frozen=True)
class Tiling:
    """How one tensor is cut. A program has one block of channels and a fixed tile of another axis; it walks the third.

    Attributes:
        kind: ``flat`` (shared coefficients: one run), ``inner`` (walks along a long inner axis), ``outer`` (walks
            over the outer axis), ``packed`` (the same, where a tile holds several planes) or ``columns`` (channels
            last: walks over rows of channels).
        rows, columns: the tile.
        divisor: largest of 1, 2, …, 16 that divides the length a row starts at multiples of: how wide loads may be.
        numbers: what the program is told, in the order of :data:`ARGUMENTS`.
        programs: how many there are.
        partials: rows of partial sums.
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
    "packed": ("channels", "run_q", "inner", "blocks", "trips", "stride"),
    "columns": ("channels_q", "blocks", "limit", "trips", "stride"),
}


def power_of_two(n: int) -> int:
    """Return the least power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def divisor_of(n: int) -> int:
    return min(n & -n, 16)


def resident(registers: int, warps: int) -> int:
    """Return how many programs of so many registers a thread a multiprocessor holds at once.

    From compute capability 7.0 to 12.0 it has four parts with 16,384 registers each and hands these out to a warp in
    lots of 256, to 16 warps at most.
    """
    lots = max(1, -(-registers * 32 // 256))
    return max(1, 4 * min(16, 16384 // 256 // lots) // warps)


def caps(registers: int) -> tuple[int, ...]:
    """Return limits of registers worth building for: 32 or 28 programs of one warp fit, and little would be spilled."""
    return tuple(cap for cap in (64, 72) if cap < registers <= 80)


def tiling(outer: int, channels: int, inner: int, most: int, tile: int) -> Tiling:
    """Cut a non-empty tensor for a chip that runs ``most`` programs at once."""
    if channels == 1:
        return _flat(outer * inner, most, tile)
    if inner == 1:
        return _columns(outer, channels, most, tile)
    if _PACKED <= inner < tile and inner & (inner - 1):
        return _packed(outer, channels, inner, most, tile)
    return _rows(outer, channels, inner, most, tile)


def _flat(length: int, most: int, tile: int) -> Tiling:
    trips = -(-length // tile)
    stride = min(trips, most, MOST_PARTIALS)
    return Tiling("flat", 1, tile, divisor_of(length), (length, trips, stride), stride, stride)


def _rows(outer: int, channels: int, inner: int, most: int, tile: int) -> Tiling:
    columns = min(power_of_two(inner), tile)
    rows = min(tile // columns, power_of_two(channels))
    blocks, across = -(-channels // rows), -(-inner // columns)
    divisor = divisor_of(inner)
    if outer < across:  # then inner > tile, so that rows == 1 and blocks == channels
        stride = _split(across, channels * outer, most, _partials(channels) // outer)
        walk = (channels, inner // divisor, outer, across, stride)
        return Tiling("inner", 1, columns, divisor, walk, channels * outer * stride, outer * stride)
    stride = _split(outer, blocks * across, most, _partials(channels) // across)
    numbers = (channels, inner // divisor, blocks, across, outer, stride)
    return Tiling("outer", rows, columns, divisor, numbers, blocks * across * stride, across * stride)


def _packed(outer: int, channels: int, inner: int, most: int, tile: int) -> Tiling:
    """Cut the planes of a sample as one run: a tile is full and loads are wide. A channel has two sums a walk."""
    run = channels * inner
    divisor, blocks = divisor_of(run), -(-run // tile)
    stride = _split(outer, blocks, most, _partials(channels) // 2)
    numbers = (channels, run // divisor, inner, blocks, outer, stride)
    return Tiling("packed", 1, tile, divisor, numbers, blocks * stride, 2 * stride)


def _columns(outer: int, channels: int, most: int, tile: int) -> Tiling:
    columns = min(power_of_two(channels), tile)
    rows = min(tile // columns, power_of_two(outer))
    blocks, trips = -(-channels // columns), -(-outer // rows)
    stride = _split(trips, blocks, most, _partials(channels))
    divisor = divisor_of(channels)
    numbers = (channels // divisor, blocks, outer, trips, stride)
    return Tiling("columns", rows, columns, divisor, numbers, blocks * stride, stride)


def _partials(channels: int) -> int:
    """Most rows of partial sums that the second stage may have to add up."""
    return MOST_PARTIALS // min(power_of_two(channels), SECTOR)


def _split(trips: int, walks: int, most: int, partials: int) -> int:
    """Number of programs that share a walk, between 1 and ``trips``: so many that they run in one wave.

    Where the walks alone are more than a wave they are shared until there are three waves, because the last one may be
    nearly empty.
    """
    wanted = most // walks if walks <= most else -(-3 * most // walks)
    return max(1, min(trips, wanted, partials))
