"""Rows of ``make bench-gpu``, as CSV and as the page ``docs/performance-gpu.md``. Imports torch for its types only."""

from __future__ import annotations

import csv
import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch


class Named(Protocol):
    """A case that was timed."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Row:
    """One measurement; the dataclass is the CSV's format.

    Attributes:
        section: kernel, eager, layout, dtype, small, training, memory, kept, fused, mollified, compiled or sweep.
        what: what was timed.
        where: shape and layout, or the setting of a sweep.
        dtype: of x.
        median, low, high: seconds of one call, median and quartiles; bytes in the sections memory and kept.
        runs: how many were timed.
        rate: bytes per second that had to be moved, 0 where that is not the question.
        base, ratio: what it is compared with in the same run, and how: rates for kernels, else times (or bytes).
        gpu, driver, torch, triton, python, bevel: what it ran on.
    """

    section: str
    what: str
    where: str
    dtype: str
    median: float
    low: float
    high: float
    runs: int
    rate: float
    base: str
    ratio: float
    gpu: str
    driver: str
    torch: str
    triton: str
    python: str
    bevel: str


class Sink:
    """Collects rows of one run."""

    def __init__(self, about: dict[str, str]) -> None:
        self.about = about
        self.rows: list[Row] = []
        self.notes: list[str] = []  # what the check said, and which sections stopped

    def add(
        self,
        section: str,
        what: str,
        where: str,
        dtype: torch.dtype,
        seconds: Sequence[float],
        *,
        base: str,
        ratio: float,
        rate: float = 0.0,
    ) -> None:
        ordered = sorted(seconds)
        low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4 if len(ordered) > 1 else 0]
        kind = str(dtype).removeprefix("torch.")
        middle = statistics.median(ordered)
        self.rows.append(
            Row(section, what, where, kind, middle, low, high, len(ordered), rate, base, ratio, **self.about)
        )

    def against(
        self, section: str, done: Sequence[tuple[Named, list[float]]], base: str, where: str, dtype: torch.dtype
    ) -> None:
        """Rows whose ratio is to the time of the case called ``base``."""
        reference = next(statistics.median(seconds) for case, seconds in done if case.name == base)
        for case, seconds in done:
            ratio = statistics.median(seconds) / reference
            self.add(section, case.name, where, dtype, seconds, base=base, ratio=ratio)

    def write(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [f.name for f in dataclasses.fields(Row)])
            writer.writeheader()
            writer.writerows(dataclasses.asdict(row) for row in self.rows)


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = []
    for r in rows:
        rate = f"{r.rate / 1e9:8.0f} GB/s" if r.rate else " " * 13
        cost = f"{r.median / 1e6:10.3f} MB" if r.section in ("memory", "kept") else f"{r.median * 1e6:10.1f} µs"
        place = f"{r.section:22} {r.dtype:8} {r.where:32} {r.what:38}"
        lines.append(f"{place} {cost} {rate} {r.ratio:6.2f} × {r.base}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Target:
    """A row of issue 7's table: which measured rows decide it, and the bound their ratios must keep."""

    what: str
    bound: str
    section: str
    names: tuple[str, ...]
    worst: str = "max"  # of the ratios: "min" for a share of the copy's rate
    over: str = ""  # divide by this row's ratio: a base other than the section's


TARGETS = (
    Target(
        "SAU and FReLU forward, and backward with all parameter gradients, share of a device copy's bytes per second",
        "≥ 0.90",
        "kernel",
        ("sau forward", "sau backward", "frelu forward", "frelu backward", "frelu(C) forward", "frelu(C) backward"),
        worst="min",
    ),
    Target("SAU eager, forward + backward, against F.relu", "≤ 1.05 ×", "eager", ("sau forward + backward",)),
    Target(
        "FReLU per channel against torch's PReLU per channel",
        "≤ 0.5 ×",
        "eager",
        ("frelu(C) forward + backward",),
        over="prelu(C) forward + backward",
    ),
    Target(
        "SAU against the eager formula",
        "≤ 0.2 ×",
        "eager",
        ("sau forward + backward",),
        over="formula sau forward + backward",
    ),
    Target(
        "10,000 elements: time per call against F.gelu",
        "≤ 3 ×",
        "small",
        ("sau forward", "sau forward + backward"),
    ),
    *(
        Target(
            f"under torch.compile, {name}: one fused program against our kernel plus its neighbours",
            "≤ 1.00 ×",
            f"fused: {name}",
            ("compiled forward", "compiled forward + backward"),
        )
        for name in ("add, sau, mul", "bias, frelu(C)")
    ),
    Target("ResNet-50 training step in bf16 with SAU against ReLU: time", "≤ 1.03 ×", "training", ("sau",)),
    Target("the same: peak memory", "≤ 1.10 ×", "memory", ("sau",)),
)


def measured(target: Target, rows: Sequence[Row]) -> str:
    """The worst ratio of the target's rows, empty when there are none."""
    ratios = []
    for row in rows:
        if row.section != target.section or row.what not in target.names:
            continue
        if not target.over:
            ratios.append(row.ratio)
            continue
        bases = [
            r.ratio
            for r in rows
            if (r.section, r.what, r.where, r.dtype) == (row.section, target.over, row.where, row.dtype)
        ]
        ratios += [row.ratio / base for base in bases]
    if not ratios:
        return ""
    return f"{min(ratios) if target.worst == 'min' else max(ratios):.2f}"


NOTHING = (
    "**No GPU figure has been measured.** No GPU could be had while this was built; the column stays empty until then."
)

HOW = """## How to measure

    make bench-gpu

on a machine with an NVIDIA GPU, torch 2.11 or later and Triton 3.6 or later; neither an installation nor a network is
needed, bevel runs from its source, and where the lab is installed `bevel bench --device cuda` is the same. It is meant
to take ten minutes. It checks the backend on the GPU (`tests/triton` where there is pytest, else the oracle's rows and
the laws by themselves), times every row, and writes `docs/performance-gpu.csv` (median and quartiles, bytes per second,
ratios within the run, GPU, driver, versions) and this page after each section; a section that fails leaves a line here
and the others run. `PYTHONPATH=src python3 -m bevel_lab.bench.gpu --check --dry-run` rehearses it on a CPU through
Triton's interpreter, on tiny tensors, where its times mean nothing and what needs a GPU's own compiler or memory
counter is left out; the test suite runs that rehearsal with all but torch, Triton and numpy (for the interpreter)
hidden.

Kernels are replays of a CUDA graph, timed with CUDA events after a warm-up, over rotating buffers of four times the L2
cache; a *share of a copy* counts the bytes that must move (two tensors forward, three backward, two for a copy) over
the time, in the same rounds as the copy. All other rows are calls as a user makes them, Python included, over the same
buffers; the cases are those of the [CPU's bench](performance.md), and formulas are cast to the input's dtype. *Fused*
rows set an activation between neighbours, eager (our kernel plus theirs) and through `torch.compile` (one program).
"""

KNOWN = """## What is known without a GPU

- Values, all gradients, layouts, oracle rows, laws and gradcheck hold through Triton's interpreter (`tests/triton`)
  with torch 2.15 and Triton 3.9. With torch 2.11 and Triton 3.6, tried once, the rehearsal of `make bench-gpu` runs,
  the programs compile as below, and the tests not marked slow pass but for ten on the last digits of float32: the
  interpreter of Triton 3.6 rounds a fused multiply-add twice, which a GPU does not; with one rounding put in they pass.
  That interpreter needs numpy below 2.4.
- Triton's own compiler, which needs no GPU, builds the programs for sm_90: every full-width access of a contiguous or
  channels-last tensor is 16 bytes wide, nothing is spilled to local memory, and no offset of an axis of more than 2^31
  elements is computed in 32 bits; a test keeps it so.
- SAU at n = 20000 runs 14 instructions an element forward in bfloat16 where no element of a tile of 256 is within 13/n
  of zero (seven tiles in eight of N(0, 1) numbers); an H200 has about 27 to spend at the speed of its memory.
- Backward keeps the input, as everywhere in bevel. torch's in-place ReLU keeps its output, which the next convolution
  keeps anyway: so the memory target of the training step is not expected to hold, and the row will say by how much.
"""

UNTRIED = """- Not tried for want of a GPU: any launch on one, CUDA graphs, streams, a second GPU, tensors beyond 2^31
  elements, and whether the command keeps to its ten minutes. The tests for these are in `tests/triton` and run with
  `--device cuda`.
"""


def page(rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """The page; without rows it says that there are none. ``notes`` are lines on the check and on what stopped."""
    lines = ["# Speed on a GPU", ""]
    if rows:
        r = rows[0]
        lines.append(f"Measured on {r.gpu}, driver {r.driver}, torch {r.torch}, Triton {r.triton}, Python {r.python}.")
    else:
        lines.append(NOTHING)
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    lines += ["", "## Targets (NVIDIA H200; bf16 and fp32; 64 MB to 2 GB; the worst of the rows)", ""]
    lines += ["| what | target | measured |", "|---|---|---|"]
    lines += [f"| {t.what} | {t.bound} | {measured(t, rows)} |" for t in TARGETS]
    lines += ["", HOW, KNOWN.rstrip("\n") if not rows else KNOWN]
    if not rows:
        lines.append(UNTRIED)
    else:
        lines += ["## Rows", "", "```", table(rows), "```", ""]
    return "\n".join(lines)
