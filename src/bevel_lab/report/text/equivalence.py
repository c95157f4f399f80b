"""What is said where a margin was named: whether a difference is smaller than what matters."""

from __future__ import annotations

from collections.abc import Sequence

from bevel_lab.report.analysis.cells import Cell
from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.statistics.arrays import LEVEL
from bevel_lab.report.statistics.comparison import Comparison, Verdict
from bevel_lab.report.text import words

COLUMNS = ("verdict", "90 % interval", "margin", "p", "Holm p", "runs that settle it")


def margin(c: Comparison, metric: Metric) -> str:
    """Write the margin with its unit."""
    return f"{words.score(c.margin, metric)}{metric.points}"


def sentences(others: Sequence[tuple[str, Comparison]], reference: str, metric: Metric, where: str = "") -> list[str]:
    """Name the arms that are equivalent to the reference in one sentence, and those that are not settled in another."""
    said = []
    same = [(name, c) for name, c in others if c.verdict is Verdict.EQUIVALENT]
    if same:
        verb = "is" if len(same) == 1 else "are"
        said.append(
            f"{words.listing([name for name, _ in same])} {verb} equivalent to {reference}{where}: the difference is "
            f"smaller than {margin(same[0][1], metric)}."
        )
    small = [(name, c) for name, c in others if c.verdict.differs and c.within]
    if small:
        names = words.listing([name for name, _ in small])
        said.append(f"The difference of {names} is smaller than the margin of {margin(small[0][1], metric)}{where}.")
    open_ = [(name, c) for name, c in others if c.verdict is Verdict.NOT_SETTLED]
    if open_:
        names = words.listing([name for name, _ in open_])
        needed = words.listing([str(c.settle) for _, c in open_])
        verb = "lies" if len(open_) == 1 else "lie"
        said.append(
            f"Whether {names} {verb} within {margin(open_[0][1], metric)} of {reference}{where} is not settled; "
            f"{needed} {words.runs(open_[0][1])} would."
        )
    return said


def table(cell: Cell) -> list[tuple[str, ...]]:
    """Return the numbers behind the verdicts, header first; nothing where no margin was named."""
    asked = [(arm, c) for arm, c in cell.others if c.margin]
    if not asked:
        return []
    lines: list[tuple[str, ...]] = [(cell.noun, *COLUMNS)]
    for arm, c in asked:
        span = words.span(c.within_low, c.within_high, cell.metric)
        ps = words.p_value(c.p_equivalent), words.p_value(c.adjusted_equivalent)
        settle = words.NONE if c.within or c.verdict.differs else f"{c.settle:,}"
        lines.append((arm.name, words.verdict(c), span, words.score(c.margin, cell.metric), *ps, settle))
    return lines


def title(cell: Cell) -> str:
    return f"Smaller than {margin(cell.others[0][1], cell.metric)}? {cell.title}"


METHOD = (
    f"Equivalent is said where a margin was named and both hold: two one-sided tests that the difference is inside it "
    f"have p ≤ {LEVEL:g} after Holm over the arms, and the 90 % BCa interval lies inside. An arm that differs and is "
    "inside, too, says both. Not settled: neither could be shown; the runs that would are those with which both tests "
    "succeed four times in five if there is no difference, for normal scores of the observed spread."
)
