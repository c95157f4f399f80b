"""Group and judge records: a cell is one model on one data set, an arm is one activation in it."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bevel_lab.errors import LabError
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.report.analysis.colors import numbers
from bevel_lab.report.analysis.metric import Metric
from bevel_lab.report.statistics import comparison
from bevel_lab.report.statistics.arrays import Floats
from bevel_lab.report.statistics.comparison import Comparison, Summary

_RECIPE = tuple(
    field.name for field in dataclasses.fields(Trial) if field.name not in ("activation", "seed", "measures")
)
SEED = 20  # seeds the resampling, so that the same records give the same report


class ReportError(LabError):
    """The records do not make the report that was asked for.

    Example:
        >>> from bevel_lab.report import judge_table
        >>> judge_table([])
        Traceback (most recent call last):
        bevel_lab.report.analysis.cells.ReportError: there are no rows to judge.
    """


@dataclass(frozen=True)
class Cost:
    """Cost of an arm as a multiple of the reference: seconds a training sample (median and quartiles over the seeds
    that ran on the same device) and bytes kept for backward. NaN if it was not measured."""

    time: float
    time_low: float
    time_high: float
    memory: float


@dataclass(frozen=True)
class Arm:
    """All runs of one activation in a cell, by seed. Scores that come from a table have no records, ``runs``.

    Attributes:
        index: number of the arm's color: 0 is the reference, see :func:`arm_indices`.
        comparison: comparison with the reference; the reference has none.
    """

    name: str
    index: int
    runs: dict[int, Record]
    scores: dict[int, float]
    diverged: frozenset[int]
    summary: Summary
    cost: Cost
    comparison: Comparison | None

    @property
    def first(self) -> Record:
        return next(iter(self.runs.values()))


@dataclass(frozen=True)
class Cell:
    """One model on one data set: the reference first, then the other arms, the best mean first."""

    dataset: str
    model: str
    metric: Metric
    arms: tuple[Arm, ...]

    @property
    def noun(self) -> str:
        """What the arms are."""
        return "activation" if self.records else "arm"

    @property
    def reference(self) -> Arm:
        return self.arms[0]

    @property
    def others(self) -> tuple[tuple[Arm, Comparison], ...]:
        return tuple((arm, arm.comparison) for arm in self.arms if arm.comparison is not None)

    @property
    def title(self) -> str:
        return f"{self.model} on {self.dataset}" if self.model else self.dataset

    @property
    def records(self) -> list[Record]:
        return [record for arm in self.arms for record in arm.runs.values()]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for arm in self.arms for seed in arm.scores})

    def differences(self, arm: Arm) -> dict[int, float]:
        """Paired differences to the reference by seed; NaN where one of the two has no score."""
        base = self.reference.scores
        return {seed: score - base[seed] for seed, score in arm.scores.items() if seed in base}


def judge_cells(records: Sequence[Record], reference: str, margin: float = 0.0) -> list[Cell]:
    """Group and judge the records; raises ``ReportError`` if they cannot be compared. For ``margin`` see ``judge``."""
    if not records:
        raise ReportError("there are no records: run some trials first.")
    names = _names(records)
    indices = arm_indices(sorted(set(names.values())), reference)
    groups: dict[tuple[str, str], dict[str, dict[int, Record]]] = {}
    for record in sorted(records, key=lambda r: (r.trial.cell, r.label, r.trial.seed)):
        runs = groups.setdefault(record.trial.cell, {}).setdefault(names[record.trial.activation, record.label], {})
        _check_run(record, runs)
        runs[record.trial.seed] = record
    return [_cell(cell, arms, indices, reference, margin) for cell, arms in groups.items()]


def recipe(record: Record) -> dict[str, Any]:
    """Return every field of the trial but the activation, the seed, and whether it was measured for more."""
    return {name: getattr(record.trial, name) for name in _RECIPE}


def differing(cell: Cell) -> dict[str, dict[str, Any]]:
    """Return the recipe's fields that differ between arms: {field: {arm: value}}. Seeds of an arm never differ."""
    recipes = {arm.name: recipe(arm.first) for arm in cell.arms if arm.runs}
    if not recipes:
        return {}
    by_field = {key: {name: fields[key] for name, fields in recipes.items()} for key in next(iter(recipes.values()))}
    return {key: values for key, values in by_field.items() if len(set(values.values())) > 1}


def _names(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """(activation, label) → arm. A label that stands for two activations gives way to the full spec, and keeps the
    fields after its ``@``."""
    pairs = {(record.trial.activation, record.label) for record in records}
    labels = Counter(label for _, label in pairs)
    return {
        (activation, label): label if labels[label] == 1 else activation + "".join(label.partition("@")[1:])
        for activation, label in pairs
    }


def arm_indices(names: Sequence[str], reference: str) -> dict[str, int]:
    """Number the arms: the reference is 0, and every other has a color of its own, see :mod:`.colors`."""
    if reference not in names:
        raise ReportError(f"no arm is called {reference!r}; there are {', '.join(names)}.")
    return {reference: 0} | numbers({*names} - {reference})


def _check_run(record: Record, runs: dict[int, Record]) -> None:
    trial = record.trial
    where = f"{record.label} with seed {trial.seed}, {trial.model} on {trial.dataset}"
    if record.metric not in record.test:
        raise ReportError(f"{where}: the headline metric {record.metric!r} is not among {', '.join(record.test)}.")
    if not runs:
        return
    ours, theirs = recipe(record), recipe(next(iter(runs.values())))  # the others are as the first, so one tells
    apart = [key for key in ours if ours[key] != theirs[key]]
    if apart:
        differ = "; ".join(f"{key} {theirs[key]!r} and {ours[key]!r}" for key in apart)
        raise ReportError(f"{where}: its seeds were not trained alike ({differ}). Report one protocol at a time.")
    if trial.seed in runs:
        raise ReportError(f"{where}: there are two records of trial {trial.id}; give one.")


def _cell(
    cell: tuple[str, str],
    arms: dict[str, dict[int, Record]],
    indices: dict[str, int],
    reference: str,
    margin: float,
) -> Cell:
    dataset, model = cell
    if reference not in arms:
        raise ReportError(f"{model} on {dataset} has no run of the reference {reference!r}; it has {', '.join(arms)}.")
    metrics = {record.metric for runs in arms.values() for record in runs.values()}
    if len(metrics) > 1:
        raise ReportError(f"{model} on {dataset}: runs are judged by different metrics ({', '.join(sorted(metrics))}).")
    first = arms[reference][min(arms[reference])]
    metric = Metric(first.metric, first.share, first.lower_is_better, first.log_scale)
    scores = {name: {seed: metric.of(r.test[metric.key]) for seed, r in runs.items()} for name, runs in arms.items()}
    return make_cell(cell, metric, scores, indices, reference, margin, runs=arms)


def make_cell(
    place: tuple[str, str],
    metric: Metric,
    scores: Mapping[str, Mapping[int, float]],
    indices: Mapping[str, int],
    reference: str,
    margin: float = 0.0,
    *,
    runs: Mapping[str, dict[int, Record]] | None = None,
    unpaired: Collection[str] = (),
) -> Cell:
    """Judge the scores of one cell.

    Args:
        place: data set and model.
        metric: what the scores are.
        scores: arm → seed → score as it counts.
        indices: arm → its number in the report.
        reference: the arm that the others are compared with.
        margin: largest difference that does not matter, in the unit in which the metric is written; 0: none.
        runs: arm → seed → record, where there are records.
        unpaired: arms whose seeds are none of the reference's.
    """
    rng, down = np.random.default_rng(SEED), metric.lower_is_better
    comparisons = comparison.compare(
        scores, reference, rng, margin / metric.scale, lower_is_better=down, unpaired=unpaired
    )
    records = runs or {}
    made = [
        Arm(
            name=name,
            index=indices[name],
            runs=records.get(name, {}),
            scores=dict(own),
            diverged=frozenset(seed for seed, r in records.get(name, {}).items() if r.diverged),
            summary=comparison.summary(own),
            cost=_cost(records.get(name, {}), records.get(reference, {})),
            comparison=comparisons.get(name),
        )
        for name, own in scores.items()
    ]
    gain = {arm.name: -np.nan_to_num(metric.sign * arm.summary.mean, nan=-np.inf) for arm in made}
    made.sort(key=lambda arm: (arm.name != reference, gain[arm.name], arm.name))
    return Cell(dataset=place[0], model=place[1], metric=metric, arms=tuple(made))


def _cost(runs: dict[int, Record], base: dict[int, Record]) -> Cost:
    pairs = [(runs[seed], base[seed]) for seed in runs if seed in base]
    pairs = [(ours, theirs) for ours, theirs in pairs if ours.device == theirs.device]
    low, time, high = _quartiles([_ratio(_per_sample(a), _per_sample(b)) for a, b in pairs])
    _, memory, _ = _quartiles([_ratio(a.saved_bytes, b.saved_bytes) for a, b in pairs])
    return Cost(time=time, time_low=low, time_high=high, memory=memory)


def _per_sample(record: Record) -> float:
    return _ratio(record.train_seconds, record.samples)


def _ratio(a: float, b: float) -> float:
    return a / b if a > 0 and b > 0 else math.nan


def _quartiles(values: Sequence[float]) -> Floats:
    known = [v for v in values if math.isfinite(v)]
    quartiles: Floats = np.percentile(known, (25, 50, 75)) if known else np.full(3, np.nan)
    return quartiles
