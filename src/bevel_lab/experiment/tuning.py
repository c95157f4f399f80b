"""Tuning: a search for every arm's own recipe, with the same space and the same number of trials for all.

The searches of all arms go in step: a round asks each of them for its next point and runs these points as trials. A
search is a pure function of the scores so far, so that an interrupted one is replayed from the ledger and goes on as if
nothing had happened.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bevel.errors import InvalidValue
from bevel_lab.errors import optional_library
from bevel_lab.experiment.trial import Job, Trial
from bevel_lab.runtime.rng import derive

if TYPE_CHECKING:
    from optuna import Study

    from bevel_lab.experiment.record import Record

SEED = 1_000_000
"""Tuning trials have seeds from here on, which no comparison uses."""


@dataclass(frozen=True)
class Tuning:
    """The budget and the search space of a tuning.

    Attributes:
        trials: points tried for each arm in each cell.
        space: field of a trial → {"low", "high", "log"}; drawn by Optuna's TPE sampler.
    """

    trials: int
    space: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Tuning:
        """Read a ``[tune]`` table; raise ``InvalidValue`` that names what is wrong."""
        unknown = set(data) - {"trials", "space"}
        if unknown:
            raise InvalidValue(f"[tune] must have trials and space; got {', '.join(sorted(unknown))}.")
        trials, space = data.get("trials"), data.get("space")
        if type(trials) is not int or trials < 1:
            raise InvalidValue(f"tune.trials must be a whole number, at least 1; got {trials!r}.")
        if not isinstance(space, dict) or not space:
            raise InvalidValue(
                "tune.space must name at least one field, such as [tune.space.lr] low = 0.01, high = 0.5."
            )
        return cls(trials, {name: _range(name, given) for name, given in space.items()})

    def __str__(self) -> str:
        ranges = (
            f"{name} {row['low']:g} to {row['high']:g}{' (log)' if row['log'] else ''}"
            for name, row in self.space.items()
        )
        return f"{self.trials} trials an arm over {', '.join(ranges)}, judged on the validation split"


def _range(name: str, given: Any) -> dict[str, Any]:
    kinds = {field.name: field.type for field in dataclasses.fields(Trial)}
    if kinds.get(name) != "float":
        fields = ", ".join(n for n, kind in kinds.items() if kind == "float")
        raise InvalidValue(f"tune.space must hold numbers of the recipe ({fields}); got {name!r}.")
    row: dict[str, Any] = {"low": None, "high": None, "log": False} | (given if isinstance(given, dict) else {})
    numbers = all(isinstance(row[end], int | float) and math.isfinite(row[end]) for end in ("low", "high"))
    if set(row) != {"low", "high", "log"} or not numbers or not row["low"] < row["high"]:
        raise InvalidValue(
            f"tune.space.{name} must be low and high (low < high) and perhaps log = true; got {given!r}."
        )
    if row["log"] and row["low"] <= 0:
        raise InvalidValue(f"tune.space.{name} with log = true needs low > 0; got {row['low']!r}.")
    return {"low": float(row["low"]), "high": float(row["high"]), "log": bool(row["log"])}


def search(
    tuning: Tuning, arms: Sequence[Job], records: Mapping[str, Record], run: Callable[[list[Job]], bool]
) -> dict[Job, dict[str, float]]:
    """Find the best point of every arm.

    Args:
        tuning: budget and space.
        arms: (a trial of the arm in its cell, label).
        records: of the trials that have been run, by trial id; ``run`` adds to them.
        run: runs jobs; returns False if some have no record afterwards.

    Returns:
        Fields by arm; empty where ``run`` gave up.
    """
    while True:
        missing: list[Job] = []
        best: dict[Job, dict[str, float]] = {}
        for arm in arms:
            point, job = _replay(tuning, arm, records)
            if job is None:
                best[arm] = point
            else:
                missing.append(job)
        if not missing:
            return best
        if not run(missing):
            return {}


def _replay(tuning: Tuning, arm: Job, records: Mapping[str, Record]) -> tuple[dict[str, float], Job | None]:
    """Repeat an arm's search from its records; return the best point, and the first job without a record or None."""
    base, label = arm
    study = _study(tuning, f"tuning {base.dataset} {base.model} {label}")
    best: tuple[float, dict[str, float]] = (-math.inf, {})
    for number in range(tuning.trials):
        asked = study.ask()
        point: dict[str, Any] = {
            name: asked.suggest_float(name, row["low"], row["high"], log=row["log"])
            for name, row in tuning.space.items()
        }
        trial = dataclasses.replace(base, seed=SEED + number, tuning=True, **point)
        record = records.get(trial.id)
        if record is None:
            return best[1], (trial, label)
        score = -record.test[record.metric] if record.lower_is_better else record.test[record.metric]
        score = score if math.isfinite(score) else -math.inf  # worse than every score of any metric
        study.tell(asked, score)
        if score > best[0]:
            best = score, point
    return best[1], None


def _study(tuning: Tuning, name: str) -> Study:
    with optional_library("tuning needs Optuna", "lab"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=derive(0, name) % 2**31, n_startup_trials=max(3, tuning.trials // 3))
    return optuna.create_study(direction="maximize", sampler=sampler)
