"""Benchmark rows of a CPU or a GPU: collected, kept in a file, and printed."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bevel.errors import InvalidValue
from bevel_lab.bench.timing import Sample
from bevel_lab.runtime import terminal
from bevel_lab.runtime.provenance import commit


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number. The dataclass defines the columns of the file.

    Attributes:
        section: part of the benchmark, such as ``speed``, ``memory`` or ``network``.
        case: what was measured, e.g. ``sau``.
        what: ``forward``, ``backward``, ``both``, ``step`` or ``import`` (seconds), ``bytes`` or ``peak`` (bytes).
        elements, dtype, layout: the input; ``layout`` may also name a model, the neighbors, or a setting.
        threads: of torch on a CPU; 0 on a GPU.
        median, low, high: median and quartiles over ``repeats``, seconds or bytes.
        to_copy, to_relu, to_gelu: cost as a ratio to these cases of the same interleaved run; 0 where there is none.
        device, versions, commit: on what, and by which code.
        moved: bytes that the case must read and write, where rates are compared; else 0.
        size: name of the input's size, as targets ask for it, e.g. ``256 MB``.
        timer: on a GPU ``device`` (calls queued behind a sleep, or a captured graph) or ``wall`` (calls as they come).
        clocks: clocks of the processors and of the memory when the section began.
        clone: bytes a second of a clone of 256 MB when the section began, reads and writes together.
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
    device: str
    versions: str
    commit: str
    moved: int = 0
    size: str = ""
    timer: str = ""
    clocks: str = ""
    clone: float = 0.0

    @property
    def cost(self) -> float:
        """What ratios compare: the median, divided by the bytes moved where these are given."""
        return self.median / self.moved if self.moved else self.median


class Collector:
    """Collects the rows of one run on one device.

    Args:
        device, versions: what every row says of them.
        path: CSV to which each group of rows is appended at once, so that a process that dies leaves them.
    """

    def __init__(self, device: str, versions: Mapping[str, str], path: Path | None = None) -> None:
        self.rows: list[Row] = []
        self.clocks, self.clone, self.path = "", 0.0, path
        self._device, self._versions = device, ", ".join(f"{name} {version}" for name, version in versions.items())

    def add(
        self, section: str, what: str, samples: Mapping[str, Sample], *, elements: int = 0, dtype: str = "",
        layout: str = "", threads: int = 0, moved: Mapping[str, int] | None = None, size: str = "", timer: str = "",
    ) -> None:  # fmt: skip
        """Add one row a case. The cases must have taken turns, so that their ratios mean something."""
        moved = moved or {}
        cost = {name: sample.median / moved.get(name, 1) for name, sample in samples.items()}

        def ratio(name: str, to: str) -> float:
            return cost[name] / cost[to] if cost.get(to) else 0.0

        before = len(self.rows)
        for name, sample in samples.items():
            low, high = sample.quartiles
            self.rows.append(
                Row(section=section, case=name, what=what, elements=elements, dtype=dtype, layout=layout,
                    threads=threads, median=sample.median, low=low, high=high, repeats=len(sample.values),
                    to_copy=ratio(name, "copy"), to_relu=ratio(name, "relu"), to_gelu=ratio(name, "gelu"),
                    device=self._device, versions=self._versions, commit=commit(), moved=moved.get(name, 0),
                    size=size, timer=timer, clocks=self.clocks, clone=self.clone)
            )  # fmt: skip
        if self.path:
            append(self.rows[before:], self.path)


FIELDS = {field.name: field for field in dataclasses.fields(Row)}
_TYPES = {"str": str, "int": int, "float": float}


def write(rows: Iterable[Row], path: Path) -> None:
    """Write the rows as CSV, with six significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    append(rows, path)


def append(rows: Iterable[Row], path: Path) -> None:
    """Append the rows to a CSV; an empty file gets the names of the columns first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if not path.is_file() or not path.stat().st_size:
        writer.writerow(FIELDS)
    for row in rows:
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in dataclasses.astuple(row)])
    with path.open("ab", buffering=0) as stream:  # one write: a process that is killed leaves all of a group or none
        stream.write(text.getvalue().encode())


def read(path: Path) -> list[Row]:
    """Read rows from CSV; raises ``InvalidValue`` naming the first line that is no row."""
    if not path.is_file():
        raise InvalidValue(f"benchmark rows are read from a CSV file; {path} is none. `bevel bench --out` writes one.")
    rows: list[Row] = []
    with path.open(newline="") as stream:
        for number, line in enumerate(csv.DictReader(stream), start=2):
            try:
                rows.append(_row(line))
            except (KeyError, ValueError, TypeError):
                raise InvalidValue(f"{path}:{number}: a row must have the columns {', '.join(FIELDS)}.") from None
    if not rows:
        raise InvalidValue(f"{path} must have at least one row under the columns {', '.join(FIELDS)}; it has none.")
    return rows


def _row(line: Mapping[str, str]) -> Row:
    if None in line or None in line.values():
        raise ValueError("too many fields, or too few")
    if "cpu" in line:  # the first benchmark's files name the device "cpu", and the plain loop "bare"
        line = {**line, "device": line["cpu"], "case": "plain" if line["case"] == "bare" else line["case"]}
    values = {
        name: _TYPES[str(field.type)](line[name])
        for name, field in FIELDS.items()
        if name in line or field.default is dataclasses.MISSING  # files of before lack the later columns
    }
    return Row(**values)


def find(rows: Sequence[Row], **wanted: object) -> list[Row]:
    """Return the rows whose named fields equal the given values."""
    return [r for r in rows if all(getattr(r, k) == v for k, v in wanted.items())]


_ALIGN = "<<<<>><<>>>>>>"  # alignment of the columns of ``table``: words to the left, numbers to the right


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text, one a line; columns that are empty in all rows are skipped."""
    lines = [_texts(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [i for i, width in enumerate(widths) if width]
    aligned = ("  ".join(f"{line[i]:{_ALIGN[i]}{widths[i]}}" for i in shown) for line in lines)
    return "\n".join(line.rstrip() for line in aligned)


def fitting(rows: Sequence[Row], columns: int) -> str:
    """Return the rows as a table for a terminal with so many columns; each of its parts begins with the case."""
    head = ("case", "section", "what", "timer", "size", "elements", "dtype", "layout", "threads", "cost", "rate",
            "copy", "relu", "gelu")  # fmt: skip
    lines = [[case, section, *rest] for section, case, *rest in map(_texts, rows)]
    return "\n".join(terminal.table(head, lines, 5, columns))


def _texts(row: Row) -> list[str]:
    cost = f"{row.median / 1e6:.3f} MB" if row.what in ("bytes", "peak") else f"{row.median * 1e3:.3f} ms"
    rate = f"{row.moved / row.median / 1e9:.0f} GB/s" if row.moved else ""
    threads = f"{row.threads} thread{'s' if row.threads > 1 else ''}" if row.threads else ""
    bases = {"copy": row.to_copy, "relu": row.to_relu, "gelu": row.to_gelu}
    ratios = [f"{ratio:.2f} × {base}" if ratio else "" for base, ratio in bases.items()]
    elements = f"{row.elements:,}" if row.elements else ""
    what = [row.section, row.case, row.what, row.timer, row.size, elements, row.dtype, row.layout]
    return [*what, threads, cost, rate, *ratios]
