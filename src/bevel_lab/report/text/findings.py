"""The findings in a cell, as text: the verdict table, the answer, and caveats."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bevel_lab.experiment.measures import named
from bevel_lab.report.analysis.cells import Arm, Cell, differing
from bevel_lab.report.analysis.data_facts import changed
from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.statistics.comparison import Comparison, Verdict, summary
from bevel_lab.report.text import equivalence, words

COLUMNS = ("activation", "verdict", "score", "difference", "interval", "wins", "p", "Holm p", "detectable", "time",
           "memory")  # fmt: skip
MEASURED = "Also measured on the test part"
AS_RECORDED = "As recorded (shares are shares of one), mean ± sd over seeds; no verdict rests on it."
EVERY_RUN = "The score of every run"
UNLIKE = "The arms were not trained alike: a difference is one of activation and settings together."


def row(arm: Arm, metric: Metric) -> tuple[str, ...]:
    """Return the arm's line of the verdict table, in the order of ``COLUMNS``."""
    c = arm.comparison
    mean = f"{words.score(arm.summary.mean, metric)} ± {words.score(arm.summary.sd, metric)}"
    numbers = words.compared(c, metric) if c else ("",) * 6
    return (arm.name, words.verdict(c), mean, *numbers, words.number(arm.cost.time), words.number(arm.cost.memory))


def measured(cell: Cell) -> list[tuple[str, ...]]:
    """Return a table of the other test metrics, header first; nothing if that is the loss alone."""
    keys = list(dict.fromkeys(key for r in cell.records for key in r.test if key != cell.metric.key))
    if set(keys) <= {"loss"}:
        return []
    lines = [(cell.noun, *map(named, keys))]
    for arm in cell.arms:
        found = [summary({seed: r.test.get(key, math.nan) for seed, r in arm.runs.items()}) for key in keys]
        lines.append((arm.name, *(f"{words.number(of.mean, 4)} ± {words.number(of.sd, 4)}" for of in found)))
    return lines


def seeds(cell: Cell) -> list[tuple[str, ...]]:
    """Return a table of every run's score, header first: one line a seed, one column an arm."""
    lines: list[tuple[str, ...]] = [("seed", *(arm.name for arm in cell.arms))]
    for seed in cell.seeds:
        found = (arm.scores.get(seed, math.nan) for arm in cell.arms)
        lines.append((str(seed), *(words.score(score, cell.metric) for score in found)))
    return lines


def answer(cell: Cell) -> list[str]:
    """Say in sentences what was found; the first is the headline."""
    by = {v: [(arm, c) for arm, c in cell.others if c.verdict is v] for v in Verdict}
    ref, others = cell.reference.name, len(cell.others)
    if not others:
        return [f"Only {ref} was run: there is nothing to compare it with."]
    sentences = words.differences(cell.others, ref, cell.metric)
    sentences += equivalence.sentences([(arm.name, c) for arm, c in cell.others], ref, cell.metric)
    silent = len(by[Verdict.NO_EVIDENCE])
    if silent == others > 1:
        sentences.append(f"There is no evidence that any of the {others} {cell.noun}s differs from {ref}.")
    elif silent == others:
        sentences.append(f"There is no evidence that {cell.others[0][0].name} differs from {ref}.")
    elif silent:
        who = by[Verdict.NO_EVIDENCE][0][0].name if silent == 1 else f"the other {silent}"
        if by[Verdict.TOO_FEW] and silent > 1:
            who = words.listing([arm.name for arm, _ in by[Verdict.NO_EVIDENCE]])
        sentences.append(f"For {who} there is no evidence of a difference.")
    return sentences + _too_few(cell, by[Verdict.TOO_FEW])


def caveats(cell: Cell) -> list[str]:
    """Say what the answer may have missed, and what went wrong."""
    notes = changed(cell.records)
    reach = [c.detectable for _, c in cell.others if c.verdict is Verdict.NO_EVIDENCE and math.isfinite(c.detectable)]
    if reach:
        low, high = (words.score(bound, cell.metric) for bound in (min(reach), max(reach)))
        span = low if low == high else f"{low} to {high}"
        notes.append(
            f"No evidence is not proof of equality: these seeds find a true difference of {span}{cell.metric.points} "
            f"four times in five, and smaller ones less often."
        )
    for arm in cell.arms:
        if arm.diverged:
            notes.append(_diverged(arm))
        if arm.comparison and arm.comparison.unpaired:
            c = arm.comparison
            notes.append(f"{arm.name} is compared on the {words.count(c.pairs, 'seed')} for which both it and "
                         f"{cell.reference.name} have a score; {c.unpaired} could not be paired.")  # fmt: skip
    return notes


def recipes(cell: Cell) -> list[tuple[str, str]]:
    """Return (arms, their settings) for the fields that differ between the cell's arms."""
    fields = differing(cell)
    found: dict[str, list[str]] = {}
    for arm in cell.arms if fields else ():
        text = ", ".join(f"{key} {words.setting(values[arm.name])}" for key, values in fields.items())
        found.setdefault(text, []).append(arm.name)
    return [(words.listing(names), text) for text, names in found.items()]


def recipe_notes(cell: Cell) -> list[str]:
    """Say in sentences which settings differ, and what that means for the verdicts."""
    own = recipes(cell)
    return [UNLIKE, *(f"{name}: {text}." for name, text in own)] if own else []


def _too_few(cell: Cell, found: Sequence[tuple[Arm, Comparison]]) -> list[str]:
    if not found:
        return []
    pairs = sorted({c.pairs for _, c in found})
    what = "paired seed" if found[0][1].paired else "run"
    have = words.count(pairs[0], what) if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]} {what}s"
    verb = "is" if pairs == [1] else "are"
    needed = found[0][1].needed
    whom = "" if len(found) == len(cell.others) else f" on {words.listing([arm.name for arm, _ in found])}"
    return [f"{have} {verb} too few for a verdict{whom}: {needed} would do."]


def _diverged(arm: Arm) -> str:
    text = f"{len(arm.diverged)} of {words.count(len(arm.runs), 'run')} of {arm.name} diverged"
    scored = len(arm.diverged) - arm.summary.failed
    if not scored:
        return f"{text} and {'has' if len(arm.diverged) == 1 else 'have'} no score."
    if scored == len(arm.diverged):
        return f"{text}; {'its score counts' if scored == 1 else 'their scores count'} all the same."
    return f"{text}: {arm.summary.failed} without a score, {scored} with one, which counts."
