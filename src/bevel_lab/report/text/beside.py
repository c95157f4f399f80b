"""Tables of what was measured beside the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bevel_lab.report.analysis.beside import churns, inference, measures
from bevel_lab.report.analysis.cells import Cell
from bevel_lab.report.text import words

COLUMNS = ("verdict", "mean ± sd (%)", "difference", "95 % interval", "p", "Holm p")
CHURN_COLUMNS = ("churn (%)", "95 % interval", "runs")
METHOD = (
    "Lower is better for calibration error and dead units. Each measure is a family of its own, judged as the score."
)
CHURN_METHOD = (
    "Churn: the share of test samples for which two runs of an arm that differ in the seed predict different classes, "
    "mean over all pairs of runs. It has no value of a single seed, and so no verdict."
)

INFERENCE_METHOD = (
    "Inference: the processor's time for one sample on one thread at the end of a trial of seed 0. ONNX Runtime fuses "
    "ReLU and Leaky ReLU into the convolution before them, PReLU and smooth functions it does not."
)


class Table(NamedTuple):
    """A table with its header first; ``texts`` columns hold words."""

    title: str
    lines: list[tuple[str, ...]]
    texts: int
    answer: list[str]
    note: str


def tables(cell: Cell, classes: Mapping[str, Sequence[int]]) -> list[Table]:
    """Return the verdicts on every measure, and churn, as far as the records have them."""
    made = (_measures(cell), _churn(cell, classes), _inference(cell))
    return [table for table in made if len(table.lines) > 1]


def _measures(cell: Cell) -> Table:
    lines: list[tuple[str, ...]] = [("measure", cell.noun, *COLUMNS)]
    said = []
    for found in measures(cell):
        metric = found.metric
        for arm in sorted(found.arms, key=lambda one: [a.name for a in cell.arms].index(one.name)):
            c = arm.comparison
            mean = f"{words.score(arm.summary.mean, metric)} ± {words.score(arm.summary.sd, metric)}"
            change, span, _, p, holm, _ = words.compared(c, metric) if c else ("",) * 6
            lines.append((metric.name, arm.name, words.verdict(c), mean, change, span, p, holm))
        where = f" in {metric.name}"
        said += words.differences(found.others, found.reference.name, metric, where)
    return Table(f"Beside {cell.metric.name}: {cell.title}", lines, 3, said, METHOD)


def _churn(cell: Cell, classes: Mapping[str, Sequence[int]]) -> Table:
    lines: list[tuple[str, ...]] = [(cell.noun, *CHURN_COLUMNS)]
    for one in churns(cell, classes):
        share, low, high = (words.number(100 * value) for value in (one.share, one.low, one.high))
        lines.append((one.arm, share, words.NONE if words.NONE in (low, high) else f"{low} to {high}", str(one.runs)))
    return Table(f"Predictions that change with the seed: {cell.title}", lines, 1, [], CHURN_METHOD)


def _inference(cell: Cell) -> Table:
    ref = cell.reference.name
    base = inference(cell.reference)
    lines: list[tuple[str, ...]] = [(cell.noun, *(f"{runtime} × {ref} (ms)" for runtime in base))]
    for arm in cell.arms if base else ():
        found = inference(arm)
        cells = [f"{found[r] / base[r]:.2f} ({1e3 * found[r]:.3g})" if r in found else words.NONE for r in base]
        lines.append((arm.name, *cells))
    return Table(f"Inference with one sample: {cell.title}", lines, 1, [], INFERENCE_METHOD)
