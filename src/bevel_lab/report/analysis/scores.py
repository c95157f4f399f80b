"""Judge the scores of a table: pair them by seed where seeds repeat, and say whatever is odd."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bevel_lab.report.analysis.cells import Cell, ReportError, arm_indices, make_cell
from bevel_lab.report.analysis.score_table import Columns, Row, number
from bevel_lab.report.statistics.bootstrap import LEAST_FOR_INTERVAL

REFERENCES = ("reference", "baseline", "base", "control", "relu", "default")
Scores = dict[tuple[str, ...], dict[str, dict[str, float]]]
"""Cell → arm → run → score, in the order of the table."""


def cells_of(
    rows: Mapping[str, Row], columns: Columns, reference: str = "", margin: float = 0.0, paired: bool | None = None
) -> list[Cell]:
    """Judge every cell of the table; for the arguments see ``judge_table``. What is odd is added to ``columns.said``.

    Raises:
        ReportError: if scores cannot be read or paired, or the reference is not in the table.
    """
    if paired and not columns.seed:
        raise ReportError("pairs need a column that says which runs belong together; name it with --seed.")
    found = _scores(rows, columns, paired)
    names = list(dict.fromkeys(arm for arms in found.values() for arm in arms))
    reference = reference or _reference(names, columns.said)
    indices = arm_indices(sorted(names), reference)
    missing = [place for place, arms in found.items() if reference not in arms]
    if missing:
        columns.said.append(f"{reference} has no run in {_listed(missing)}: nothing is compared there.")
    cells = [
        _cell(place, arms, columns, indices, reference, margin, paired)
        for place, arms in found.items()
        if reference in arms
    ]
    _say_arms(found, names, columns.said)
    return cells


def _scores(rows: Mapping[str, Row], columns: Columns, paired: bool | None) -> Scores:
    """Gather the scores; rows of one run with one score count once, with several they are refused."""
    found: Scores = {}
    repeated: Counter[str] = Counter()
    for count, (where, row) in enumerate(rows.items(), start=1):
        place = tuple(_text(row.get(name)) for name in columns.cell)
        arm = _text(row.get(columns.arm))
        runs = found.setdefault(place, {}).setdefault(arm, {})
        run = _seed(row.get(columns.seed)) if columns.seed and paired is not False else f"row {count}"
        score = columns.metric.of(number(row.get(columns.score), f"{where}, {columns.score}"))
        if run in runs:
            if runs[run] != score and not (math.isnan(runs[run]) and math.isnan(score)):
                raise ReportError(
                    f"{arm} has two scores with {columns.seed} {run}{_in(place)}, {runs[run]:g} and {score:g}; name "
                    "the column that tells them apart with --cell, or say --unpaired."
                )
            repeated[arm] += 1
        runs[run] = score
    texts = [run for arms in found.values() for runs in arms.values() for run in runs if not _is_number(run)]
    if columns.seed and texts and paired is not False:
        columns.said.append(f"Seeds such as {texts[0]!r} are text: runs are paired where it is equal.")
    if any(isinstance(row.get(columns.score), str) and "%" in row[columns.score] for row in rows.values()):
        columns.said.append("Scores with a % sign are read as the number before it.")
    if repeated:
        again = sum(repeated.values())
        columns.said.append(f"{again} {'row repeats' if again == 1 else 'rows repeat'} another one and count once.")
    return found


def _cell(
    place: tuple[str, ...],
    arms: dict[str, dict[str, float]],
    columns: Columns,
    indices: dict[str, int],
    reference: str,
    margin: float,
    paired: bool | None,
) -> Cell:
    runs = list(dict.fromkeys(run for own in arms.values() for run in own))
    if all(_is_whole(run) for run in runs):
        order = sorted(runs, key=int)
        seed_of = {run: int(run) for run in order}
    else:
        order = sorted(runs, key=lambda run: (0, float(run), run) if _is_number(run) else (1, 0.0, run))
        seed_of = {run: i for i, run in enumerate(order)}
    # by name, so that resampling draws the same whatever the order of the table
    scores = {name: {seed_of[run]: own[run] for run in order if run in own} for name, own in sorted(arms.items())}
    alone = [name for name in scores if name != reference and not _pair(scores[name], scores[reference], paired)]
    dataset, model = _place(place, columns)
    cell = make_cell((dataset, model), columns.metric, scores, indices, reference, margin, unpaired=alone)
    columns.said += _odd(cell, _in(place), alone, columns)
    return cell


def _pair(own: dict[int, float], base: dict[int, float], paired: bool | None) -> bool:
    """Whether runs are paired: as asked, or if at least half of the smaller arm's seeds are in both."""
    if paired is not None:
        return paired
    return 2 * len(own.keys() & base.keys()) >= min(len(own), len(base))


def _place(place: tuple[str, ...], columns: Columns) -> tuple[str, str]:
    """Data set and model of a cell, as a report of trials names it; otherwise the names of the cell."""
    found = dict(zip(columns.cell, place, strict=True))
    if set(found) == {"dataset", "model"}:
        return found["dataset"], found["model"]
    return ", ".join(place) or "all runs", ""


def _odd(cell: Cell, where: str, alone: Sequence[str], columns: Columns) -> list[str]:
    """Sentences on what a reader of the verdicts should know of the scores of one cell."""
    said = []
    for arm in cell.arms:
        known = np.array([score for score in arm.scores.values() if math.isfinite(score)])
        if arm.summary.failed:
            said.append(f"{arm.name} has no score in {arm.summary.failed} of {len(arm.scores)} runs{where}.")
        if known.size == 1:
            said.append(f"{arm.name} has one run{where}, which says nothing of the spread.")
        elif known.size and not np.ptp(known):
            said.append(f"{arm.name} has the same score in all {known.size} runs{where}.")
    for arm, c in cell.others:
        tied = sum(difference == 0 for difference in cell.differences(arm).values()) if c.paired else 0
        if tied:
            said.append(f"{arm.name} and {cell.reference.name} tie on {tied} of {c.pairs} seeds{where}.")
        if c.paired and c.unpaired:
            said.append(f"{c.unpaired} seeds of {arm.name} or {cell.reference.name} have no partner{where}.")
        if 0 < c.pairs < LEAST_FOR_INTERVAL:
            said.append(f"{c.pairs} runs of {arm.name} are too few for an interval{where}.")
    if alone:
        said.append(
            f"Compared with {cell.reference.name} as groups (Welch's permutation test), since no seeds pair the "
            f"runs{where}: {', '.join(alone)}."
        )
    return said + _mixed_units(cell, where)


def _mixed_units(cell: Cell, where: str) -> list[str]:
    """Say that some arms look like per cent and others like shares of one."""
    means = {arm.name: arm.summary.mean for arm in cell.arms if math.isfinite(arm.summary.mean)}
    small = [name for name, mean in means.items() if 0 < mean <= 1]
    large = [name for name, mean in means.items() if 10 < mean <= 100]
    if not small or not large or cell.metric.log:
        return []
    return [
        f"{', '.join(large)} look like per cent and {', '.join(small)} like fractions of one{where}: if they are, no "
        "verdict below holds; write all scores in one unit."
    ]


def _say_arms(found: Scores, names: Sequence[str], said: list[str]) -> None:
    for name in names:
        lacking = [place for place, arms in found.items() if name not in arms]
        if lacking:
            said.append(f"{name} has no run in {_listed(lacking)}.")


def _reference(names: Sequence[str], said: list[str]) -> str:
    """The arm that others are compared with: by its name, or the first of the table."""
    found = [name for known in REFERENCES for name in names if name.lower() == known]
    chosen = found[0] if found else names[0]
    said.append(f"The reference is {chosen}, {'by its name' if found else 'the first arm'}; --reference names another.")
    return chosen


def _seed(value: Any) -> str:
    """A seed as text; numbers that are equal are one: "1", "01" and "1.0"."""
    text = _text(value)
    if _is_whole(text):
        return str(int(text))  # not by way of a float, which has no room for more than 53 bits
    return str(int(float(text))) if _is_number(text) and float(text).is_integer() else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_whole(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _in(place: tuple[str, ...]) -> str:
    return f" in {', '.join(place)}" if place else ""


def _listed(places: Sequence[tuple[str, ...]]) -> str:
    return "; ".join(", ".join(place) for place in places)
