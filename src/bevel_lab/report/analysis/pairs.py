"""One arm against another, asked for by name: in every cell, and over all cells with one difference a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bevel_lab.report.analysis.across import pooled
from bevel_lab.report.analysis.cells import SEED, Arm, Cell, Metric, ReportError
from bevel_lab.report.statistics import paired
from bevel_lab.report.statistics.paired import Comparison, Verdict
from bevel_lab.report.text import cell as words
from bevel_lab.report.text.tables import Block

COLUMNS = ("where", "verdict", "mean difference", "95 % interval", "pairs won", "p", "Holm p", "detectable")


@dataclass(frozen=True)
class Pair:
    """``arm`` against ``other`` in the cells that have both.

    Attributes:
        whole: of the seeds' means over these cells; Holm over the pairs that were asked for together.
        cells: by cell; Holm over the cells of this pair.
    """

    arm: str
    other: str
    metric: Metric
    whole: Comparison
    cells: tuple[tuple[str, Comparison], ...]

    @property
    def answer(self) -> str:
        """One sentence: verdict, difference, interval, p, and where and on how many seeds."""
        c, m = self.whole, self.metric
        where = self.cells[0][0] if len(self.cells) == 1 else f"the average of {len(self.cells)} cells"
        numbers = (
            f"mean paired difference {words.change(c.difference, m)}{m.points}, 95 % interval "
            f"{words.span(c.low, c.high, m)}, p {_p(c.p)}, {words.p_value(c.adjusted)} after Holm, "
            f"{c.pairs} paired seeds"
        )
        if c.verdict is Verdict.NO_EVIDENCE:
            return f"There is no evidence that {self.arm} differs from {self.other} on {where} ({numbers})."
        if c.verdict is Verdict.TOO_FEW:
            return f"{c.pairs} paired seeds are too few to tell {self.arm} from {self.other} on {where} ({numbers})."
        return f"{self.arm} is {c.verdict} than {self.other} on {where} ({numbers})."

    @property
    def block(self) -> Block:
        rows = [*self.cells, *([("all cells", self.whole)] if len(self.cells) > 1 else [])]
        return Block(f"{self.arm} against {self.other}", COLUMNS, [_row(name, c, self.metric) for name, c in rows], 2)


def pairs(cells: Sequence[Cell], asked: Sequence[tuple[str, str]]) -> list[Pair]:
    """Judge each pair of arms (first against second).

    Raises:
        ReportError: where no cell has both arms of a pair, or their cells have no common unit.
    """
    made = [_pair(cells, *names) for names in asked]
    if not made:
        return []
    whole = paired.as_family([pair.whole for pair in made])
    return [replace(pair, whole=c) for pair, c in zip(made, whole, strict=True)]


def _pair(cells: Sequence[Cell], name: str, other: str) -> Pair:
    both: list[tuple[Cell, Arm, Arm]] = []
    for cell in cells:
        arms = {arm.name: arm for arm in cell.arms}
        if name in arms and other in arms:
            both.append((cell, arms[name], arms[other]))
    if not both:
        known = words.listing(sorted({arm.name for cell in cells for arm in cell.arms}))
        raise ReportError(f"no model and data set has both {name!r} and {other!r}; there are {known}.")
    if len({cell.metric for cell, *_ in both}) > 1:
        raise ReportError(f"{name} and {other} are judged by different metrics in different cells.")
    single = paired.as_family([_compare(arm.scores, base.scores) for _, arm, base in both])
    whole = _compare(pooled([arm for _, arm, _ in both]), pooled([base for *_, base in both]))
    titles = [cell.title for cell, *_ in both]
    return Pair(name, other, both[0][0].metric, whole, tuple(zip(titles, single, strict=True)))


def _compare(scores: dict[int, float], base: dict[int, float]) -> Comparison:
    return paired.compare({"base": base, "arm": scores}, "base", np.random.default_rng(SEED))["arm"]


def _row(where: str, c: Comparison, metric: Metric) -> tuple[str, ...]:
    numbers = (words.change(c.difference, metric), words.span(c.low, c.high, metric))
    won = f"{words.number(100 * c.improvement, 0)} %" if c.pairs else words.NONE
    ps = (words.p_value(c.p), words.p_value(c.adjusted))
    return (where, words.verdict(c), *numbers, won, *ps, words.score(c.detectable, metric))


def _p(p: float) -> str:
    text = words.p_value(p)
    return text if text.startswith("<") else f"= {text}"
