"""An experiment: several activations, one recipe, paired seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bevel.errors import InvalidValue
from bevel_lab.datasets import DATASETS, own
from bevel_lab.experiment.arm import RECIPE, Arm, arm
from bevel_lab.experiment.trial import Job, Trial
from bevel_lab.experiment.tuning import Tuning
from bevel_lab.models import MODELS

Cell = tuple[str, str]
"""(data set, model)."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A comparison of activations, with every default filled in.

    Attributes:
        arms: the activations, the reference among them.
        reference: label of the arm that the others are compared with.
        seeds: every arm runs with seeds 0 … seeds − 1.
        cells: every (data set, model) that they are compared on.
        recipe: the fields of every trial but activation, seed, data set, model and task.
        device: torch device of all trials.
        tuning: how every arm is tuned first, or None.
        margin: largest difference of scores that does not matter, in points for shares of one, named before the first
            run; 0: none.
        tuned: the recipe fields that tuning chose, by :func:`place`; filled in when it has ended.

    Example:
        >>> experiment = Experiment.resolve(["sau:n=5"], "relu", seeds=2, recipe={"model": "mlp", "epochs": 3})
        >>> [(trial.seed, label) for trial, label in experiment.trials()]
        [(0, 'relu'), (0, 'sau:n=5'), (1, 'relu'), (1, 'sau:n=5')]
    """

    arms: tuple[Arm, ...]
    reference: str
    seeds: int
    cells: tuple[Cell, ...]
    recipe: dict[str, Any]
    device: str = "cpu"
    tuning: Tuning | None = None
    tuned: dict[str, dict[str, float]] = field(default_factory=dict)
    margin: float = 0.0

    @classmethod
    def resolve(
        cls,
        activations: Sequence[str],
        reference: str,
        seeds: int,
        recipe: Mapping[str, Any],
        *,
        device: str = "cpu",
        tuning: Tuning | None = None,
        margin: float = 0.0,
    ) -> Experiment:
        """Make an experiment: fill in the defaults, and check everything that can be checked without data.

        Args:
            activations: arms as typed, see :mod:`bevel_lab.experiment.arm`.
            reference: one more, or one of them.
            seeds: number of paired seeds.
            recipe: fields of a trial; ``dataset`` and ``model`` may be lists.
            device, tuning, margin: as the attributes.

        Raises:
            BevelError: for unknown names, bad values, or two arms that are one trial.
        """
        base, given = arm(reference), [arm(text) for text in activations]
        if type(seeds) is not int or seeds < 1:
            raise InvalidValue(f"seeds must be a whole number, at least 1; got {seeds!r}.")
        if not 0 <= margin < math.inf:
            raise InvalidValue(f"margin must be a number, at least 0; got {margin!r}.")
        shared = {name: value for name, value in recipe.items() if name not in ("dataset", "model")}
        defaults = {f.name: f.default for f in dataclasses.fields(Trial)}
        named = {key: _listed(key, recipe.get(key, defaults[key])) for key in ("dataset", "model")}
        cells = tuple((dataset, model) for dataset in named["dataset"] for model in named["model"])
        whole = Trial(activation=base.activation, **shared).to_dict()
        filled = {name: whole[name] for name in (*RECIPE, "processes")}
        arms, label = _arms(given, base, filled)
        taken = {name for one in arms for name in one.changes} & set(tuning.space if tuning else ())
        if taken:
            raise InvalidValue(
                f"tuning chooses {', '.join(sorted(taken))}; an arm that sets it itself cannot be tuned."
            )
        made = cls(
            arms=tuple(arms), reference=label, seeds=seeds, cells=cells, recipe=filled, device=device, tuning=tuning,
            margin=margin,
        )  # fmt: skip
        made.base_trials()  # raises if an arm has a wrong field, or if data set and model do not fit
        return made

    def trials(self) -> list[Job]:
        """Return every (trial, label), ordered by seed, the reference first, so that an unfinished run has whole pairs.

        With tuning, only arms whose recipe has been chosen have trials.
        """
        return [
            (self._trial(one, cell, seed=seed, **self.tuned.get(place(cell, one.label), {})), one.label)
            for seed in range(self.seeds)
            for cell in self.cells
            for one in sorted(self.arms, key=lambda one: one.label != self.reference)
            if self.tuning is None or place(cell, one.label) in self.tuned
        ]

    def base_trials(self) -> list[Job]:
        """Return one (trial, label) for every arm in every cell; tuning starts from these."""
        return [(self._trial(one, cell), one.label) for cell in self.cells for one in self.arms]

    def _trial(self, one: Arm, cell: Cell, **settings: Any) -> Trial:
        dataset, model = cell
        return one.trial(**(self.recipe | settings), dataset=dataset, model=model, task=_task(dataset, model))

    def notes(self) -> list[str]:
        """Return the sentences in which a report says how the arms got their recipes."""
        if self.tuning is None:
            return []
        return [f"Every arm was tuned first, in each cell: {self.tuning}. The test part was not read for it."]

    def merge(self, other: Experiment) -> Experiment:
        """Return this experiment with the additional arms, cells and seeds of ``other``."""
        known = self._by_key()
        arms = (*self.arms, *(one for key, one in other._by_key().items() if key not in known))
        cells = tuple(dict.fromkeys((*self.cells, *other.cells)))
        return dataclasses.replace(self, arms=arms, cells=cells, seeds=max(self.seeds, other.seeds))

    def subset(self, whole: Experiment) -> Experiment:
        """Return this experiment with the labels and tuned recipes of ``whole``, which contains it."""
        wanted = self._by_key()
        arms = tuple(one for key, one in whole._by_key().items() if key in wanted)
        return dataclasses.replace(self, arms=arms, reference=whole.reference, tuned=whole.tuned)

    def _by_key(self) -> dict[str, Arm]:
        return {one.canonical_key(self.recipe): one for one in self.arms}

    def differences(self, other: Experiment) -> list[tuple[str, Any, Any]]:
        """Return (what, here, there) for everything that keeps two experiments from being merged."""
        reference, others = (
            next(one for one in e.arms if one.label == e.reference).canonical_key(e.recipe) for e in (self, other)
        )
        pairs = [
            ("reference", reference, others),
            ("device", self.device, other.device),
            ("tuning", str(self.tuning), str(other.tuning)),
            ("margin", self.margin, other.margin),
            *((key, self.recipe.get(key), other.recipe.get(key)) for key in sorted(self.recipe | other.recipe)),
        ]
        return [pair for pair in pairs if pair[1] != pair[2]]


def place(cell: Cell, label: str) -> str:
    """Return the key of an arm in a cell. It is text, since JSON has no other keys."""
    return json.dumps([*cell, label], ensure_ascii=False)


def _arms(given: Sequence[Arm], base: Arm, recipe: Mapping[str, Any]) -> tuple[list[Arm], str]:
    """Return the arms with the reference among them, and the label of the reference."""
    first: dict[str, Arm] = {}
    for one in given:
        other = first.setdefault(one.canonical_key(recipe), one)
        if other is not one:
            raise InvalidValue(
                f"{other.label!r} and {one.label!r} are the same activation with one recipe; name each once."
            )
    there = first.get(base.canonical_key(recipe))
    return ([*given], there.label) if there else ([base, *given], base.label)


def _listed(key: str, given: Any) -> list[Any]:
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str) for name in found):
        raise InvalidValue(f"{key} must be text; got {given!r}.")
    return list(dict.fromkeys(found))


def _task(dataset: str, model: str) -> str:
    task, wants = DATASETS.item(dataset).task, MODELS.item(model).task
    if wants != task:
        raise InvalidValue(f"data set {dataset!r} is for {task}, model {model!r} for {wants}{own(dataset, wants)}.")
    return task
