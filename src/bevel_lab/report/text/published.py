"""Published numbers beside the measured ones, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from bevel_lab.report.analysis.cells import Arm, Cell
from bevel_lab.report.analysis.published import Result, beside
from bevel_lab.report.text import words

TITLE = "Published, not reproduced here"
COLUMNS = ("activation", "model and data set", "published", "measured here", "source")


def rows(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """Return one line a published number, in the order of ``COLUMNS``."""
    return [
        (arm.name, cell.title, _published(result), _measured(cell, arm, result), result.citation)
        for cell, arm, result in beside(cells)
    ]


def _published(result: Result) -> str:
    about = f"{result.remark} " if result.remark else ""
    if result.reference:
        return f"{about}{words.number(result.difference, sign=True)} points to {result.reference}"
    sd = f" ± {words.number(result.sd)}" if result.sd == result.sd else ""
    runs = f", {words.count(result.runs, 'run')}" if result.runs else ""
    return f"{about}{words.number(result.value)}{sd} %{runs}"


def _measured(cell: Cell, arm: Arm, result: Result) -> str:
    metric, c = cell.metric, arm.comparison
    if not result.reference:
        return f"{words.score(arm.summary.mean, metric)} ± {words.score(arm.summary.sd, metric)} %"
    base = cell.reference.first.trial.activation.partition(":")[0]
    if c is None or base != result.reference:
        return f"{words.NONE} (not compared with {result.reference} here)"
    change, span, *_ = words.compared(c, metric)
    return f"{change}{metric.points} ({span}): {c.verdict}"
