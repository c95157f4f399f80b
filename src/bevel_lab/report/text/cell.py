"""Numbers and findings as text, the same in the page, the terminal and the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bevel_lab.report.analysis.cells import Arm, Cell, Metric, differing
from bevel_lab.report.analysis.data_facts import changed
from bevel_lab.report.statistics.paired import Comparison, Verdict, summary

COLUMNS = ("activation", "verdict", "score", "difference", "interval", "wins", "p", "Holm p", "detectable", "time",
           "memory")  # fmt: skip
NONE = "–"
MEASURED = "Also measured on the test part"
AS_RECORDED = "As recorded (shares are shares of one), mean ± sd over seeds; no verdict rests on it."
UNLIKE = "The arms were not trained alike: a difference is one of activation and settings together."


def number(value: float, decimals: int = 2, *, sign: bool = False) -> str:
    """With a true minus sign; a dash where there is no number."""
    if not math.isfinite(value):
        return NONE
    value = round(value, decimals) + 0.0  # no negative zero
    text = f"{value:+.{decimals}f}" if sign else f"{value:.{decimals}f}"
    return text.replace("-", "−")


def score(value: float, metric: Metric) -> str:
    return number(value * metric.scale, 2 if metric.share else 4)


def change(value: float, metric: Metric) -> str:
    return number(value * metric.scale, 2 if metric.share else 4, sign=True)


def span(low: float, high: float, metric: Metric) -> str:
    """An interval of differences."""
    return f"{change(low, metric)} to {change(high, metric)}" if math.isfinite(low) else NONE


def p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


def listing(items: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def verdict(comparison: Comparison | None) -> str:
    if comparison is None:
        return "reference"
    if comparison.verdict is Verdict.TOO_FEW:
        return f"{comparison.verdict} ({comparison.needed} would do)"
    return str(comparison.verdict)


def row(arm: Arm, metric: Metric) -> tuple[str, ...]:
    """The arm's line of the verdict table, in the order of ``COLUMNS``."""
    comparison = arm.comparison
    mean = f"{score(arm.summary.mean, metric)} ± {score(arm.summary.sd, metric)}"
    cost = (number(arm.cost.time), number(arm.cost.memory))
    if comparison is None:
        return (arm.name, verdict(None), mean, *[""] * 6, *cost)
    c = comparison
    wins = f"{number(100 * c.improvement, 0)} %" if c.pairs else NONE
    return (
        arm.name,
        verdict(c),
        mean,
        change(c.difference, metric),
        span(c.low, c.high, metric),
        wins,
        p_value(c.p) if c.pairs else NONE,
        p_value(c.adjusted) if c.pairs else NONE,
        score(c.detectable, metric),
        *cost,
    )


def measured(cell: Cell) -> list[tuple[str, ...]]:
    """What else was measured on the test part, header and a line an arm; nothing where that is the loss alone."""
    keys = list(dict.fromkeys(key for r in cell.records for key in r.test if key != cell.metric.key))
    if set(keys) <= {"loss"}:
        return []
    lines = [("activation", *(key.replace("_", " ") for key in keys))]
    for arm in cell.arms:
        found = [summary({seed: r.test.get(key, math.nan) for seed, r in arm.runs.items()}) for key in keys]
        lines.append((arm.name, *(f"{number(of.mean, 4)} ± {number(of.sd, 4)}" for of in found)))
    return lines


def answer(cell: Cell) -> list[str]:
    """What was found, in sentences: the first of them is the headline."""
    by = {v: [(arm, c) for arm, c in cell.others if c.verdict is v] for v in Verdict}
    ref, others = cell.reference.name, len(cell.others)
    if not others:
        return [f"Only {ref} was run: there is nothing to compare it with."]
    sentences = [_called(cell, word, by[word]) for word in (Verdict.BETTER, Verdict.WORSE) if by[word]]
    silent = len(by[Verdict.NO_EVIDENCE])
    if silent == others > 1:
        sentences.append(f"There is no evidence that any of the {others} activations differs from {ref}.")
    elif silent == others:
        sentences.append(f"There is no evidence that {cell.others[0][0].name} differs from {ref}.")
    elif silent:
        who = by[Verdict.NO_EVIDENCE][0][0].name if silent == 1 else f"the other {silent}"
        if by[Verdict.TOO_FEW] and silent > 1:
            who = listing([arm.name for arm, _ in by[Verdict.NO_EVIDENCE]])
        sentences.append(f"For {who} there is no evidence of a difference.")
    return sentences + _too_few(cell, by[Verdict.TOO_FEW])


def caveats(cell: Cell) -> list[str]:
    """What a reader must know beside the answer: what could have been missed, and what went wrong."""
    notes = changed(cell.records)
    reach = [c.detectable for _, c in cell.others if c.verdict is Verdict.NO_EVIDENCE and math.isfinite(c.detectable)]
    if reach:
        low, high = (score(bound, cell.metric) for bound in (min(reach), max(reach)))
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
            notes.append(f"{arm.name} is compared on the {count(c.pairs, 'seed')} for which both it and "
                         f"{cell.reference.name} have a score; {c.unpaired} could not be paired.")  # fmt: skip
    return notes


def recipes(cell: Cell) -> list[tuple[str, str]]:
    """(arms, their settings) where the arms of the cell were not trained alike: the fields that differ, for all."""
    fields = differing(cell)
    found: dict[str, list[str]] = {}
    for arm in cell.arms if fields else ():
        text = ", ".join(f"{key} {setting(values[arm.name])}" for key, values in fields.items())
        found.setdefault(text, []).append(arm.name)
    return [(listing(names), text) for text, names in found.items()]


def recipe_notes(cell: Cell) -> list[str]:
    """The same as sentences, with what it means for the verdicts."""
    own = recipes(cell)
    return [UNLIKE, *(f"{name}: {text}." for name, text in own)] if own else []


def setting(value: Any) -> str:
    """A field's value; an empty text is an option that is off."""
    return "off" if value == "" or value is False else "on" if value is True else str(value)


def _called(cell: Cell, word: Verdict, found: Sequence[tuple[Arm, Comparison]]) -> str:
    names = [arm.name for arm, _ in found]
    sizes = [score(abs(c.difference), cell.metric) for _, c in found]
    verb = "is" if len(found) == 1 else "are"
    return f"{listing(names)} {verb} {word} than {cell.reference.name} by {listing(sizes)}{cell.metric.points}."


def _too_few(cell: Cell, found: Sequence[tuple[Arm, Comparison]]) -> list[str]:
    if not found:
        return []
    pairs = sorted({c.pairs for _, c in found})
    have = count(pairs[0], "paired seed") if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]} paired seeds"
    verb = "is" if pairs == [1] else "are"
    needed = found[0][1].needed
    whom = "" if len(found) == len(cell.others) else f" on {listing([arm.name for arm, _ in found])}"
    return [f"{have} {verb} too few for a verdict{whom}: {needed} would do."]


def _diverged(arm: Arm) -> str:
    text = f"{len(arm.diverged)} of {count(len(arm.runs), 'run')} of {arm.name} diverged"
    scored = len(arm.diverged) - arm.summary.failed
    if not scored:
        return f"{text} and {'has' if len(arm.diverged) == 1 else 'have'} no score."
    if scored == len(arm.diverged):
        return f"{text}; {'its score counts' if scored == 1 else 'their scores count'} all the same."
    return f"{text}: {arm.summary.failed} without a score, {scored} with one, which counts."
