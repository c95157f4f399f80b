"""Numbers, verdicts and lists as text, the same in pages, tables and the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bevel_lab.report.analysis.across import Standing
from bevel_lab.report.analysis.cells import Arm
from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.statistics.comparison import Comparison, Verdict

NONE = "–"
TINY, HUGE = 1e-30, 1e12
"""Beyond these a number is written with a power of ten. What rounding leaves of equal scores is above TINY."""


def number(value: float, decimals: int = 2, *, sign: bool = False) -> str:
    """Write a number with a true minus sign; a dash if it is not finite, a power of ten if it is huge or tiny."""
    if not math.isfinite(value):
        return NONE
    form = f".{decimals}f"
    if value and not TINY <= abs(value) < HUGE:
        form = ".3e"
    else:
        value = round(value, decimals) + 0.0  # no negative zero
    text = f"{value:+{form}}" if sign else f"{value:{form}}"
    return text.replace("-", "−")


def score(value: float, metric: Metric, *, sign: bool = False) -> str:
    return number(value * metric.scale, metric.decimals, sign=sign)


def change(value: float, metric: Metric) -> str:
    return score(value, metric, sign=True)


def span(low: float, high: float, metric: Metric) -> str:
    """Write an interval of differences."""
    return f"{change(low, metric)} to {change(high, metric)}" if math.isfinite(low) else NONE


def percent(share: float) -> str:
    return f"{number(100 * share, 0)} %" if math.isfinite(share) else NONE


def p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def relation(p: float) -> str:
    """Write what follows a "p": ``= 0.012`` or ``<0.001``."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


def listing(items: Sequence[str]) -> str:
    """Join items: a; a and b; a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def setting(value: Any) -> str:
    """Write a field's value; an empty text is an option that is off."""
    if isinstance(value, float) and len(repr(value)) > 8:  # such as a learning rate that a search has drawn
        return f"{value:.4g}"
    return "off" if value == "" or value is False else "on" if value is True else str(value)


def verdict(comparison: Comparison | None) -> str:
    if comparison is None:
        return "reference"
    more = remark(comparison)
    if more and comparison.verdict.differs:
        return f"{comparison.verdict}, {more}"
    return f"{comparison.verdict} ({more})" if more else str(comparison.verdict)


def remark(c: Comparison) -> str:
    """Write what belongs to a verdict: how many runs would do, or that a difference is small; or ""."""
    if c.verdict is Verdict.TOO_FEW:
        return f"{c.needed} would do"
    if c.verdict is Verdict.NOT_SETTLED:
        return f"{c.settle:,} {runs(c)} would"
    return "by less than the margin" if c.verdict.differs and c.within else ""


def runs(c: Comparison) -> str:
    """What a comparison counts: paired seeds, or runs of each arm."""
    return "seeds" if c.paired else "runs of each"


def compared(c: Comparison, metric: Metric) -> tuple[str, str, str, str, str, str]:
    """Write mean difference, interval, pairs won, p, p after Holm, and the smallest detectable difference."""
    return (
        change(c.difference, metric),
        span(c.low, c.high, metric),
        percent(c.improvement),
        p_value(c.p) if c.pairs else NONE,
        p_value(c.adjusted) if c.pairs else NONE,
        score(c.detectable, metric),
    )


NAMED = 3
"""So many arms are named in one sentence."""


def differences(
    others: Sequence[tuple[Arm | Standing, Comparison]], reference: str, metric: Metric, where: str = ""
) -> list[str]:
    """Name the arms that are better than the reference in one sentence, and those that are worse in another.

    Of more than three arms it names the nearest and the farthest: the table beside it has them all.
    """
    sentences = []
    for word in (Verdict.BETTER, Verdict.WORSE):
        found = [(arm.name, c) for arm, c in others if c.verdict is word]
        if len(found) > NAMED:
            (near, least), *_, (far, most) = sorted(
                ((name, abs(c.difference)) for name, c in found), key=lambda pair: pair[1]
            )
            low, high = score(least, metric), score(most, metric)
            sizes = f"{low} ({near}) to {high}{metric.points} ({far})" if low != high else f"{low}{metric.points} each"
            count = f"All {len(found)}" if len(found) == len(others) else f"{len(found)} of the {len(others)}"
            sentences.append(f"{count} others are {word} than {reference}{where}, by {sizes}.")
        elif found:
            names = listing([name for name, _ in found])
            sizes = listing([score(abs(c.difference), metric) for _, c in found])
            verb = "is" if len(found) == 1 else "are"
            sentences.append(f"{names} {verb} {word} than {reference} by {sizes}{metric.points}{where}.")
    return sentences
