"""The findings on a pair of arms, as text: the answer in a sentence, and a table."""

from __future__ import annotations

from bevel_lab.report.analysis.pairs import Pair
from bevel_lab.report.statistics.comparison import Verdict
from bevel_lab.report.text import equivalence, words
from bevel_lab.report.text.tables import Block

COLUMNS = ("where", "verdict", "mean difference", "95 % interval", "pairs won", "p", "Holm p", "detectable")


def answer(pair: Pair) -> str:
    """Say in one sentence the verdict, difference, interval and p, where, on how many seeds, and how many diverged."""
    c, m = pair.whole, pair.metric
    where = pair.cells[0][0] if len(pair.cells) == 1 else f"the average of {len(pair.cells)} cells"
    change, span, *_ = words.compared(c, m)
    numbers = (
        f"mean paired difference {change}{m.points}, 95 % interval {span}, p {words.relation(c.p)}, "
        f"{words.p_value(c.adjusted)} after Holm, {c.pairs} paired seeds"
    )
    for name, diverged, runs in pair.diverged:
        numbers += f"; {diverged} of {words.count(runs, 'run')} of {name} diverged"
    if c.verdict is Verdict.NO_EVIDENCE:
        return f"There is no evidence that {pair.arm} differs from {pair.other} on {where} ({numbers})."
    if c.verdict in (Verdict.EQUIVALENT, Verdict.NOT_SETTLED):
        said = equivalence.sentences([(pair.arm, c)], pair.other, m, f" on {where}")
        return f"{said[0].removesuffix('.')} ({numbers})."
    if c.verdict is Verdict.TOO_FEW:
        return f"{c.pairs} paired seeds are too few to tell {pair.arm} from {pair.other} on {where} ({numbers})."
    small = f", by less than {equivalence.margin(c, m)}" if c.within else ""
    return f"{pair.arm} is {c.verdict} than {pair.other} on {where}{small} ({numbers})."


def block(pair: Pair) -> Block:
    """Return a table with one line a cell, and one for all of them if there are several."""
    found = [*pair.cells, *([("all cells", pair.whole)] if len(pair.cells) > 1 else [])]
    rows = [(where, words.verdict(c), *words.compared(c, pair.metric)) for where, c in found]
    return Block(f"{pair.arm} against {pair.other}", COLUMNS, rows, 2)
