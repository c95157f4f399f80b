"""A benchmark row, and the file of rows."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bevel.errors import InvalidValue


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number.

    Attributes:
        section: ``speed``, ``memory``, ``loop``, ``step`` or ``import``.
        case: what was measured, e.g. ``sau``; what: ``forward``, ``backward``, ``both``, ``bytes``, ``step``.
        elements, dtype, layout, threads: the input.
        median, low, high: median and quartiles over ``repeats``; seconds (bytes in section ``memory``).
        to_copy, to_relu, to_gelu: ratios of medians within the same interleaved run; 0 where there is no such case.
        cpu, versions, commit: where it was measured.
    """

    section: str
    case: str
    what: str
    elements: int
    dtype: str
    layout: str
    threads: int
    median: float
    low: float
    high: float
    repeats: int
    to_copy: float
    to_relu: float
    to_gelu: float
    cpu: str
    versions: str
    commit: str

    @property
    def group(self) -> tuple[str, str, int, str, str, int]:
        """Rows of one group were interleaved: their ratios mean something."""
        return self.section, self.what, self.elements, self.dtype, self.layout, self.threads


FIELDS = tuple(f.name for f in dataclasses.fields(Row))
_NUMBERS = {f.name: f.type for f in dataclasses.fields(Row) if f.type in ("int", "float")}


def write(rows: Iterable[Row], path: Path) -> None:
    """Rows as CSV, six significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(FIELDS)
        for row in rows:
            values = (getattr(row, name) for name in FIELDS)
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])


def read(path: Path) -> list[Row]:
    """Rows from CSV; raises ``InvalidValue`` naming the line that does not fit."""
    if not path.is_file():
        raise InvalidValue(f"benchmark rows are read from a CSV file; {path} is none. `bevel bench --out` writes one.")
    rows: list[Row] = []
    with path.open(newline="") as stream:
        for number, line in enumerate(csv.DictReader(stream), start=2):
            try:
                typed = {k: _typed(k, line[k]) for k in FIELDS}
            except (KeyError, ValueError, TypeError):
                raise InvalidValue(f"{path}:{number}: a row has the columns {', '.join(FIELDS)}.") from None
            rows.append(Row(**typed))  # type: ignore[arg-type]
    return rows


def _typed(name: str, text: str) -> str | int | float:
    kind = _NUMBERS.get(name)
    return int(text) if kind == "int" else float(text) if kind == "float" else text


def find(rows: Sequence[Row], **wanted: object) -> list[Row]:
    """Rows whose named fields equal the given values."""
    return [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]
