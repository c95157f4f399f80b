"""Tuning: a search for every arm's own recipe, with the same space and the same number of trials for all.

The searches of all arms go in step: a round asks each of them for its next point and runs these points as trials. A
search is a pure function of the scores so far, so that an interrupted one is replayed from the ledger and goes on as if
nothing had happened.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
        space: field of a trial → {"low", "high", "log"}, drawn by Optuna's TPE sampler; or, for all fields, a list of
            values, of which all combinations are tried.
        length: epochs of a tuning trial as a share of those of the arm.
    """

    trials: int
    space: dict[str, Any]
    length: float = 1.0

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Tuning:
        """Read a ``[tune]`` table; raise ``InvalidValue`` that names what is wrong."""
        unknown = set(data) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise InvalidValue(f"[tune] must have trials, space and length; got {', '.join(sorted(unknown))}.")
        trials, given, length = data.get("trials"), data.get("space"), data.get("length", 1.0)
        if trials is not None and (type(trials) is not int or trials < 1):
            raise InvalidValue(f"tune.trials must be a whole number, at least 1; got {trials!r}.")
        if not isinstance(given, dict) or not given:
            raise InvalidValue(
                "tune.space must name at least one field, such as [tune.space] lr = [0.05, 0.1, 0.2] or "
                "[tune.space.lr] low = 0.01, high = 0.5."
            )
        if type(length) not in (int, float) or not 0 < length <= 1:
            raise InvalidValue(f"tune.length must be a share of the epochs, above 0 and up to 1; got {length!r}.")
        space = {
            name: _values(name, row) if isinstance(row, list) else _range(name, row) for name, row in given.items()
        }
        lists = [row for row in space.values() if isinstance(row, list)]
        if lists and len(lists) < len(space):
            raise InvalidValue(f"tune.space must hold lists of values only, or ranges only; got {given!r}.")
        if lists:
            trials = math.prod(map(len, lists))  # what a protocol says of its ranges does not matter
        if trials is None:
            raise InvalidValue("tune.trials must say how many points of the ranges each arm tries; got none.")
        return cls(trials, space, float(length))

    @property
    def grid(self) -> list[dict[str, float]]:
        """All combinations of the values in ``space``; [] if it holds ranges."""
        rows = list(self.space.values())
        if not all(isinstance(row, list) for row in rows):
            return []
        return [dict(zip(self.space, point, strict=True)) for point in itertools.product(*rows)]

    def edges(self, points: Collection[Mapping[str, float]]) -> list[str]:
        """Say where some arms are best at the smallest or the largest of a field's values: a better one may lie beyond.

        Of fewer than three values none lies between others, and nothing is said.

        Args:
            points: the best point of each arm.
        """
        said = []
        for name, row in self.space.items():
            ends = ((min(row), "smallest"), (max(row), "largest")) if isinstance(row, list) and len(row) > 2 else ()
            for end, which in ends:
                if count := sum(point[name] == end for point in points):
                    what = f"{name} {end:g}, the {which} tried, was best for {count} of {len(points)} arms"
                    said.append(f"{what}; a better one may lie beyond.")
        return said

    def epochs(self, whole: int) -> int:
        """Epochs of a tuning trial of an arm that is trained for ``whole``."""
        return max(1, round(self.length * whole))

    def __str__(self) -> str:
        if self.grid:
            what = ", ".join(f"{name} {', '.join(f'{v:g}' for v in row)}" for name, row in self.space.items())
            tried = f"{what}, one trial each with one seed that is not used again"
        else:
            ranges = (
                f"{name} {row['low']:g} to {row['high']:g}{' (log)' if row['log'] else ''}"
                for name, row in self.space.items()
            )
            tried = f"{self.trials} trials an arm over {', '.join(ranges)}"
        short = f", at {self.length:.2g} of the length" if self.length < 1 else ""
        return f"{tried}{short}, judged on the validation split"


def _check_field(name: str) -> None:
    kinds = {field.name: field.type for field in dataclasses.fields(Trial)}
    if kinds.get(name) != "float":
        fields = ", ".join(n for n, kind in kinds.items() if kind == "float")
        raise InvalidValue(f"tune.space must hold numbers of the recipe ({fields}); got {name!r}.")


def _values(name: str, given: list[Any]) -> list[float]:
    _check_field(name)
    if not given or not all(_is_number(value) for value in given) or len(set(given)) < len(given):
        raise InvalidValue(f"tune.space.{name} must be different numbers, such as [0.05, 0.1, 0.2]; got {given!r}.")
    return [float(value) for value in given]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _range(name: str, given: Any) -> dict[str, Any]:
    _check_field(name)
    row: dict[str, Any] = {"low": None, "high": None, "log": False} | (given if isinstance(given, dict) else {})
    numbers = all(_is_number(row[end]) for end in ("low", "high"))
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
    best: tuple[float, dict[str, float]] = (-math.inf, {})
    for number, (point, tell) in enumerate(_points(tuning, f"tuning {base.dataset} {base.model} {label}")):
        seed = SEED + (0 if tuning.grid else number)  # on a grid, points differ in nothing but their values
        settings: dict[str, Any] = {"epochs": tuning.epochs(base.epochs), "measures": False, **point}
        trial = dataclasses.replace(base, seed=seed, tuning=True, **settings)
        record = records.get(trial.id)
        if record is None:
            return best[1], (trial, label)
        score = -record.test[record.metric] if record.lower_is_better else record.test[record.metric]
        score = score if math.isfinite(score) else -math.inf  # worse than every score of any metric
        tell(score)
        if score > best[0] or not best[1]:
            best = score, point
    return best[1], None


def _points(tuning: Tuning, name: str) -> Iterator[tuple[dict[str, float], Callable[[float], object]]]:
    """The points of a search, each with what takes its score."""
    if tuning.grid:
        yield from ((point, lambda score: None) for point in tuning.grid)
        return
    study = _study(tuning, name)
    for _ in range(tuning.trials):
        asked = study.ask()
        point = {
            field: asked.suggest_float(field, row["low"], row["high"], log=row["log"])
            for field, row in tuning.space.items()
        }
        yield point, partial(study.tell, asked)


def _study(tuning: Tuning, name: str) -> Study:
    with optional_library("tuning needs Optuna", "lab"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=derive(0, name) % 2**31, n_startup_trials=max(3, tuning.trials // 3))
    return optuna.create_study(direction="maximize", sampler=sampler)
