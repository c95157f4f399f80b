"""Draw a curve in characters: braille cells of 2×4 dots."""

from __future__ import annotations

from collections.abc import Sequence

_DOTS = (
    (0x01, 0x02, 0x04, 0x40),
    (0x08, 0x10, 0x20, 0x80),
)  # the bit of the dot at [column][row] in Unicode's numbering


def plot(x: Sequence[float], y: Sequence[float], title: str, width: int = 30, height: int = 10) -> list[str]:
    """Draw y over x as lines of text: the title, ``height`` rows of ``width`` cells, and the ranges of both axes.

    Args:
        x: increasing numbers.
        y: as many numbers, all finite.
    """
    low, high = min(y), max(y)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * largest:
        room = max(1.0, largest / 2)
        low, high = low - room, high + room
    cells = [[0] * width for _ in range(height)]
    across, down = 2 * width - 1, 4 * height - 1

    def put(column: int, row: int) -> None:
        cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]

    before: int | None = None
    for column in range(2 * width):
        at = x[0] + (x[-1] - x[0]) * column / across
        row = round((high - _between(x, y, at)) / (high - low) * down)
        # join the dots of neighboring columns, so that a steep curve has no gaps
        for r in range(min(row, row if before is None else before), max(row, row if before is None else before) + 1):
            put(column, r)
        before = row
    label = max(len(f"{v:.3g}") for v in (low, high))
    lines = [f"{'':{label}} {title}"]
    for i, line in enumerate(cells):
        side = f"{high:.3g}" if i == 0 else f"{low:.3g}" if i == height - 1 else ""
        lines.append(f"{side:>{label}} " + "".join(chr(0x2800 + dots) for dots in line))
    left, right = f"{x[0]:.3g}", f"{x[-1]:.3g}"
    return [*lines, f"{'':{label}} {left}{right:>{width - len(left)}}"]


def beside(left: Sequence[str], right: Sequence[str], gap: int = 4) -> list[str]:
    """Set two blocks with the same number of lines next to each other."""
    width = max(map(len, left)) + gap
    return [f"{a:{width}}{b}" for a, b in zip(left, right, strict=True)]


def _between(x: Sequence[float], y: Sequence[float], at: float) -> float:
    """Interpolate linearly on an even grid."""
    place = (at - x[0]) / (x[-1] - x[0]) * (len(x) - 1)
    i = min(int(place), len(x) - 2)
    return y[i] + (y[i + 1] - y[i]) * (place - i)
