"""The findings on all cells together, as text: the table, the answer, and notes on it."""

from __future__ import annotations

import math

from bevel_lab.report.analysis.across import Across, Standing
from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.statistics.arrays import LEVEL
from bevel_lab.report.statistics.comparison import Comparison, Verdict
from bevel_lab.report.text import equivalence, words

COLUMNS = ("activation", "verdict", "mean difference", "95 % interval", "p", "Holm p", "IQM of differences",
           "IQM interval", "pairs won", "won interval", "rank", "time", "memory")  # fmt: skip
STANDS = "*"
"""Marks a cell's verdict that also stands if the whole report is one family."""
FEW = 5  # cells; Demšar (2006) asks for more than ten if Friedman's chi-squared is to be close


def row(standing: Standing, metric: Metric) -> tuple[str, ...]:
    """Return the arm's line of the table, in the order of ``COLUMNS``."""
    c, iqm, won = standing.comparison, standing.iqm, standing.won
    costs = (words.number(standing.rank), words.number(standing.time), words.number(standing.memory))
    if c is None:
        return (standing.name, words.verdict(None), *[""] * 8, *costs)
    change, span, _, p, adjusted, _ = words.compared(c, metric)
    estimates = (words.NONE,) * 4
    if iqm and won:
        middle, interval = words.change(iqm.value, metric), words.span(iqm.low, iqm.high, metric)
        shares = words.NONE
        if math.isfinite(won.low):
            shares = f"{words.number(100 * won.low, 0)} to {words.percent(won.high)}"
        estimates = (middle, interval, words.percent(won.value), shares)
    return (standing.name, words.verdict(c), change, span, p, adjusted, *estimates, *costs)


def matrix(across: Across) -> list[list[str]]:
    """Return a header and one line an arm: its difference and verdict in every cell, with ``STANDS``."""
    names = dict.fromkeys(arm.name for cell in across.cells for arm, _ in cell.others)
    found = {(cell.title, arm.name): c for cell in across.cells for arm, c in cell.others}
    lines = [[across.cells[0].noun, *(cell.title for cell in across.cells)]]
    for name in names:
        line = [name]
        for cell in across.cells:
            c = found.get((cell.title, name))
            line.append(_difference(c, cell.metric, across.family[cell.title, name][1]) if c else words.NONE)
        lines.append(line)
    return lines


def _difference(c: Comparison, metric: Metric, of_report: Verdict) -> str:
    word = "" if c.verdict is Verdict.NO_EVIDENCE else f" {c.verdict}"
    return words.change(c.difference, metric) + word + (STANDS if of_report.differs else "")


def answer(across: Across) -> list[str]:
    """Say in sentences what was found over all cells."""
    ref, where = across.reference.name, f"on average over the {len(across.cells)} cells"
    if not across.others:
        return [f"No {across.cells[0].noun} but {ref} ran in every cell: there is nothing to compare over all of them."]
    sentences = words.differences(across.others, ref, across.metric, f" {where}")
    sentences += equivalence.sentences(
        [(standing.name, c) for standing, c in across.others], ref, across.metric, f" {where}"
    )
    silent = [s.name for s, c in across.others if c.verdict is Verdict.NO_EVIDENCE]
    if silent:
        sentences.append(f"For {words.listing(silent)} there is no evidence of a difference {where}.")
    few = [(s.name, c) for s, c in across.others if c.verdict is Verdict.TOO_FEW]
    if few:
        sentences.append(
            f"For {words.listing([name for name, _ in few])} there are too few seeds that have a score in every cell: "
            f"{few[0][1].needed} would do."
        )
    return sentences


def notes(across: Across) -> list[str]:
    """Say what follows from the report's family, which arms are missing, and what the ranks tell."""
    return [_family(across), *_partial(across), *_ranks(across)]


def method(across: Across) -> list[str]:
    """Say how the numbers over cells are made."""
    return [
        "Across cells: a seed's difference is averaged over the cells, each counted alike, and these means are judged "
        "as in a cell, with Holm over the arms; the verdict is about these cells and no others.",
        f"A cell's verdict is adjusted over the arms of that cell, so that the more cells there are, the likelier one "
        f"of them errs; {STANDS} marks those that stand when all arms of all cells are one family.",
        "IQM: the mean of the middle half of the paired differences of all cells. Pairs won: the share of seeds on "
        "which the arm beats the reference, averaged over cells. Both have percentile intervals from a bootstrap of "
        "the seeds within each cell.",
        f"Ranks: of the arms' mean scores in each cell, averaged. Two arms differ where their average ranks are "
        f"further apart than Nemenyi's critical difference at {LEVEL:g}; Friedman's test asks whether any do.",
    ]


def _family(across: Across) -> str:
    size, needed = len(across.family), across.needed
    called = sum(c.verdict.differs for cell in across.cells for _, c in cell.others)
    verdicts = [v for _, v in across.family.values()]
    stand = sum(v.differs for v in verdicts)
    text = f"{words.count(called, 'verdict')} of better or worse in the cells"
    if size and all(v is Verdict.TOO_FEW for v in verdicts):
        return f"{text}; taken as one family, the report's {size} comparisons would need {needed} paired seeds."
    return f"{text}; {stand} stand{'s' if stand == 1 else ''} after Holm over the report's {size} comparisons."


def _partial(across: Across) -> list[str]:
    if not across.partial:
        return []
    verb = "is" if len(across.partial) == 1 else "are"
    return [f"{words.listing(across.partial)} did not run in every cell and {verb} skipped here."]


def _ranks(across: Across) -> list[str]:
    ranks, cells = across.ranks, len(across.cells)
    if ranks is None:
        return ["There are no ranks: some arm has no score in some cell."] if len(across.standings) > 1 else []
    friedman = "Friedman's test needs three arms"
    if math.isfinite(ranks.p):
        friedman = f"Friedman's test of equal ranks (p {words.relation(ranks.p)})"
    if not ranks.possible:
        return [
            f"{cells} cells are too few for ranks to tell {len(across.standings)} arms apart: the critical difference "
            f"would be {words.number(ranks.critical)}, more than ranks can differ. {friedman}."
        ]
    rough = f", rough with {cells} cells" if cells < FEW else ""
    return [f"{friedman}{rough}; average ranks differ from {words.number(ranks.critical)} apart."]
