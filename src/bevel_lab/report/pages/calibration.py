"""Calibration of the judge, as tables for a terminal and as ``docs/calibration.md``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis.aa_test import AATest, aa_test
from bevel_lab.report.statistics.arrays import LEVEL
from bevel_lab.report.statistics.calibration import (
    Calibration,
    calibrate,
    calibrate_cells,
    calibrate_equivalence,
    calibrate_unpaired,
)
from bevel_lab.report.statistics.comparison import Verdict
from bevel_lab.report.statistics.sign_flips import EXACT_PAIRS
from bevel_lab.report.text import words
from bevel_lab.report.text.tables import Block, markdown, plain
from bevel_lab.runtime import terminal

POWER = 0.90
"""The least share of experiments in which ten arms and ten seeds must show a difference of two sd."""

_NULL = ((1, 6), (1, 10), (7, 9), (10, 9), (10, 10), (10, 12), (10, 20))  # (arms, seeds)
_HEAVY = ((10, 10),)
_POWER = ((10, 9, 2.0), (10, 10, 2.0), (10, 12, 2.0), (10, 10, 1.0), (10, 12, 1.0), (10, 20, 1.0), (1, 10, 1.0))
_CELLS = ((4, 10, 10, 0.0), (4, 10, 12, 0.0), (4, 10, 12, 1.0), (4, 10, 12, 2.0))  # (cells, arms, seeds, effect)


_EQUIVALENCE = ((1, 10, 1.0), (1, 10, 0.7), (1, 10, 0.5), (5, 12, 1.0), (10, 10, 2.0))  # (arms, seeds, margin in sd)
_UNPAIRED = ((1, 5, 0.0, 1), (5, 7, 0.0, 1), (1, 12, 0.0, 1), (1, 12, 0.0, 2), (5, 7, 2.0, 1), (1, 12, 1.0, 1))
"""(arms, runs of each, effect, spread of every second arm over the others')."""
ENOUGH = 400
"""Experiments with which a rate of 5 % is known to about ± 2 points; fewer can break a promise, not show it kept."""


@dataclass(frozen=True)
class Target:
    """A promise of the judge, and whether the measurements keep it; None if there are too few of them to say."""

    text: str
    holds: bool | None

    @property
    def word(self) -> str:
        """What the measurements say of the promise."""
        return {True: "holds", False: "falls short", None: f"too few experiments to say; {ENOUGH} would do"}[self.holds]


@dataclass(frozen=True)
class Results:
    """What was measured: the promises, and the tables that show it."""

    targets: tuple[Target, ...]
    blocks: tuple[Block, ...]


def simulate(experiments: int, seed: int, say: Callable[[str], None]) -> Results:
    """Judge simulated experiments; the same arguments give the same numbers.

    Args:
        experiments: number of experiments a row.
        seed: of all random numbers.
        say: called with a line of progress before every row.
    """
    rng = np.random.default_rng(seed)
    rows = sum(map(len, (_NULL, _HEAVY, _POWER, _CELLS, _EQUIVALENCE, _UNPAIRED)))
    heard = iter(range(1, rows + 1))

    def one(arms: int, pairs: int, effect: float, noise: str = "normal") -> tuple[Calibration, int]:
        say(f"[{next(heard)}/{rows}] {words.count(arms, 'arm')}, {pairs} seeds, difference {effect:g} sd, {noise}")
        # above the exact range each test draws its own thousands of patterns: a quarter, or what can keep a promise
        count = experiments if pairs <= EXACT_PAIRS else max(min(experiments, ENOUGH), experiments // 4)
        return calibrate(experiments=count, arms=arms, pairs=pairs, effect=effect, rng=rng, noise=noise), count

    settings = [(*key, "normal") for key in _NULL] + [(*key, "heavy") for key in _HEAVY]
    null = {key: one(key[0], key[1], 0.0, key[2]) for key in settings}
    power = {key: one(*key) for key in _POWER}
    cells = []
    for count, arms, pairs, effect in _CELLS:
        say(f"[{next(heard)}/{rows}] {count} cells, {arms} arms, {pairs} seeds, difference {effect:g} sd")
        made = calibrate_cells(experiments=experiments, cells=count, arms=arms, pairs=pairs, effect=effect, rng=rng)
        shares = (made.cell.false, made.anywhere, made.report.false, made.average.false, made.average.found)
        cells.append([str(count), str(arms), str(pairs), f"{effect:g}", *map(share, shares)])
    inside, falsely = [], []
    for arms, pairs, margin in _EQUIVALENCE:
        say(f"[{next(heard)}/{rows}] {words.count(arms, 'arm')}, {pairs} seeds, margin {margin:g} sd")
        wrong, right = (
            calibrate_equivalence(
                experiments=experiments, arms=arms, pairs=pairs, margin=margin, effect=effect, rng=rng
            )
            for effect in (margin, 0.0)
        )
        inside.append([str(arms), str(pairs), f"{margin:g}", share(wrong), _interval(wrong, experiments), share(right)])
        falsely.append((wrong, experiments))
    groups = []
    for arms, runs, effect, ratio in _UNPAIRED:
        say(f"[{next(heard)}/{rows}] {words.count(arms, 'arm')}, {runs} runs of each, difference {effect:g} sd")
        group = calibrate_unpaired(experiments=experiments, arms=arms, runs=runs, effect=effect, ratio=ratio, rng=rng)
        groups.append([str(arms), str(runs), f"{effect:g}", f"{ratio}", f"{experiments:,}", share(group.false),
                       _interval(group.false, experiments), share(group.found)])  # fmt: skip
        if not effect and ratio == 1:
            falsely.append((group.false, experiments))
    rates = [(result.false, n) for result, n in null.values()]
    worst = max(rate for rate, _ in rates)
    found = power[10, 10, 2.0][0].found
    targets = (
        Target(f"Without a difference, at most {100 * LEVEL:g} % of families get a verdict of better or worse: at most "
               f"{share(worst)} in every row of *No difference*.", promise_kept(rates, LEVEL)),
        Target(f"With ten arms, 10 seeds and one true difference of 2 sd it is found in at least {100 * POWER:g} %: in "
               f"{share(found)}.", promise_kept([(1 - found, experiments)], 1 - POWER)),
        Target(f"At a true difference of the margin at most {100 * LEVEL:g} % of families get a verdict of equivalent, "
               f"and without pairs and a difference as few one of better or worse: at most "
               f"{share(max(rate for rate, _ in falsely))}.", promise_kept(falsely, LEVEL)),
    )  # fmt: skip
    blocks = (_null_block(null), _power_block(power), _cells_block(cells))
    return Results(targets, (*blocks, _equivalence_block(inside, experiments), _unpaired_block(groups)))


def promise_kept(rates: Sequence[tuple[float, int]], most: float) -> bool | None:
    """Whether errors are as rare as promised; None if too few were tried.

    They are not if an interval lies above ``most``: one of 95 % for all rates together (Bonferroni).
    """
    if any(_bounds(rate, n, 1 - LEVEL / len(rates))[0] > most for rate, n in rates):
        return False
    return True if min(n for _, n in rates) >= ENOUGH else None


def split_real_runs(records: Sequence[Record], splits: int, seed: int) -> Results:
    """Make the A/A test on real records; raises ``ReportError`` if there are too few."""
    found = aa_test(records, splits, np.random.default_rng(seed))
    silent = sum(c.verdict is Verdict.NO_EVIDENCE for c in found.first.values())
    text = (
        f"Real runs of one activation under two names: no evidence of a difference for {silent} of "
        f"{words.count(len(found.first), 'activation')}."
    )
    rates = (
        f"Over {splits:,} random splits of these runs, a verdict on {share(found.single)} of single activations, and "
        f"on any of them, after Holm, in {share(found.family)} (95 % interval {_interval(found.family, splits)}; "
        "given the runs each split draws the sign of every pair anew, so splits are independent null experiments)."
    )
    kept = promise_kept([(found.single, splits), (found.family, splits)], LEVEL)
    targets = (Target(text, silent == len(found.first)), Target(rates, kept))
    return Results(targets, (_aa_block(found),))


def as_text(results: Sequence[Results], columns: int = 80) -> str:
    """Write the results for a terminal with so many columns."""
    said = [f"{t.word.upper() if t.holds is False else t.word}: {t.text}" for found in results for t in found.targets]
    tables = plain([block for found in results for block in found.blocks], columns)
    return tables + "\n" + "\n".join(terminal.filled(text, columns) for text in said) + "\n"


def as_markdown(results: Sequence[Results], command: str) -> str:
    """Write the results as a page; ``command`` is what makes it."""
    return "\n".join(_lines(results, command))


def share(value: float) -> str:
    """Write a share as per cent; a dash if it is NaN."""
    return f"{100 * value:.1f} %" if value == value else words.NONE


def _lines(results: Sequence[Results], command: str) -> Iterator[str]:
    yield "# How often the judge is right\n"
    yield f"Written by `{command}`.\n"
    yield (
        "A verdict of *better* or *worse* needs p ≤ 0.05 after Holm (exact sign-flip test over paired seeds) and a "
        "95 % BCa interval that excludes zero; *equivalent* needs both one-sided tests against the margin after Holm, "
        "and a 90 % interval inside it. Here these rules judge simulated experiments whose truth is known, and "
        "real runs of one activation against other runs of the same.\n"
    )
    for found in results:
        for target in found.targets:
            word = target.word.capitalize()
            yield f"- {target.text} {f'**{word}**' if target.holds is False else word}."
    yield ""
    yield markdown([block for found in results for block in found.blocks], 2)


def _null_block(found: dict[tuple[int, int, str], tuple[Calibration, int]]) -> Block:
    head = ("noise", "arms", "seeds", "experiments", "families with a verdict", "95 % interval")
    rows = [
        (noise, str(arms), str(pairs), f"{n:,}", share(result.false), _interval(result.false, n))
        for (arms, pairs, noise), (result, n) in found.items()
    ]
    notes = ("Every verdict is a false one. Heavy noise is Student's t with three degrees of freedom.",)
    return Block("No difference", head, rows, 1, (), notes)


def _power_block(found: dict[tuple[int, int, float], tuple[Calibration, int]]) -> Block:
    head = (
        "arms",
        "seeds",
        "difference (sd)",
        "experiments",
        "found",
        "95 % interval",
        "families with a false verdict",
    )
    rows = [
        (str(a), str(p), f"{e:g}", f"{n:,}", share(result.found), _interval(result.found, n), share(result.false))
        for (a, p, e), (result, n) in found.items()
    ]
    notes = ("One arm differs, by so many sd of the paired difference; the others do not.",)
    return Block("One true difference", head, rows, 0, (), notes)


def _cells_block(rows: Sequence[Sequence[str]]) -> Block:
    head = ("cells", "arms", "seeds", "difference (sd)", "false, a cell", "false, in any cell",
            "false, report's family", "false, on average", "found, on average")  # fmt: skip
    notes = (
        "In a cell Holm covers its arms, so that the more cells a report has, the likelier one of them errs; over the "
        "report's family it covers all arms of all cells; on average the seeds' mean differences over cells are "
        "judged. The difference, where there is one, is the first arm's in every cell.",
    )
    return Block("Several cells", head, rows, 0, (), notes)


def _equivalence_block(rows: Sequence[Sequence[str]], experiments: int) -> Block:
    head = ("arms", "seeds", "margin (sd)", "called equivalent at the margin", "95 % interval", "at no difference")
    notes = (
        f"{experiments:,} experiments a row. At a true difference of the margin, of all arms, every verdict of "
        "equivalent is a false one, and families with one are counted; at no difference it is right, and the first "
        "arm's are counted. The margin is in sd of the paired difference.",
    )
    return Block("Equivalence", head, rows, 0, (), notes)


def _unpaired_block(rows: Sequence[Sequence[str]]) -> Block:
    head = ("arms", "runs of each", "difference (sd)", "spread", "experiments", "families with a false verdict",
            "95 % interval", "found")  # fmt: skip
    notes = (
        "Welch's permutation test; spread is that of every second arm over the others'. It is exact where they are "
        "equal; with unequal ones it is approximate, and the promise is not about them.",
    )
    return Block("Without pairs", head, rows, 0, (), notes)


def _aa_block(found: AATest) -> Block:
    head = ("activation", "verdict", "pairs", "difference", "95 % interval", "p", "Holm p")
    rows = []
    for name, c in found.first.items():
        interval = f"{c.low:+.4f} to {c.high:+.4f}"
        ps = (words.p_value(c.p), words.p_value(c.adjusted))
        rows.append((name, str(c.verdict), str(c.pairs), f"{c.difference:+.4f}", interval, *ps))
    notes = (
        "Every second run against the ones between; scores as recorded, pairs of all cells side by side, Holm over the "
        "activations.",
    )
    return Block("The same activation under two names", head, rows, 2, (), notes)


def _interval(value: float, n: int) -> str:
    """Clopper and Pearson's 95 % interval of a share of ``n``."""
    low, high = _bounds(value, n)
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _bounds(value: float, n: int, confidence: float = 1 - LEVEL) -> tuple[float, float]:
    from scipy import stats as scipy_stats  # here: it takes a second to import

    found = scipy_stats.binomtest(round(value * n), n).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)
