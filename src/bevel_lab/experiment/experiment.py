"""An experiment: several activations, one recipe, paired seeds; and the folder that holds what came of it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bevel.errors import InvalidValue
from bevel_lab.datasets import DATASETS, own
from bevel_lab.errors import LabError
from bevel_lab.experiment import protocols
from bevel_lab.experiment.arm import DEFAULTS, RECIPE, Arm, arm
from bevel_lab.experiment.trial import Job, Trial
from bevel_lab.experiment.tuning import Tuning
from bevel_lab.models import MODELS
from bevel_lab.runtime import atomic_file

FILE = "experiment.json"
FORMAT = 2
Cell = tuple[str, str]
"""(data set, model)."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is compared, resolved.

    Attributes:
        arms: the activations, the reference among them.
        reference: label of the arm that the others are compared with.
        seeds: every arm runs with seeds 0 … seeds − 1.
        cells: every (data set, model) that they are compared on.
        recipe: the fields of every trial but activation, seed, data set, model and task.
        device: torch device of all trials.
        protocol: name of the protocol that the recipe started from, or "".
        tuning: how every arm is tuned first, or None.
        tuned: the recipe fields that tuning chose, by :func:`place`; filled in when it has ended.
    """

    arms: tuple[Arm, ...]
    reference: str
    seeds: int
    cells: tuple[Cell, ...]
    recipe: dict[str, Any]
    device: str = "cpu"
    protocol: str = ""
    tuning: Tuning | None = None
    tuned: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def resolve(
        cls,
        activations: Sequence[str],
        reference: str,
        seeds: int,
        recipe: Mapping[str, Any],
        *,
        device: str = "cpu",
        protocol: str = "",
        tuning: Tuning | None = None,
    ) -> Experiment:
        """Check everything that can be checked without data, and fill in the defaults.

        Args:
            activations: arms as typed, see :mod:`bevel_lab.experiment.arm`.
            reference: one more, or one of them.
            seeds: number of paired seeds.
            recipe: fields of a trial; ``dataset`` and ``model`` may be lists.
            device, protocol, tuning: as the attributes.

        Raises:
            BevelError: for unknown names, bad values, or two arms that are one trial.
        """
        base, given = arm(reference), [arm(text) for text in activations]
        if type(seeds) is not int or seeds < 1:
            raise InvalidValue(f"seeds is a whole number, at least 1; got {seeds!r}.")
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
        for one in arms:
            for dataset, model in cells:
                one.trial(dataset=dataset, model=model, task=_task(dataset, model), **shared)
        return cls(
            arms=tuple(arms), reference=label, seeds=seeds, cells=cells, recipe=filled, device=device,
            protocol=protocol, tuning=tuning,
        )  # fmt: skip

    def trials(self) -> list[Job]:
        """Every (trial, label), seed by seed, the reference first: an unfinished experiment has whole pairs.

        Of an experiment with tuning, only the arms whose recipe has been chosen.
        """
        return [
            (self._trial(one, cell, seed=seed, **self.tuned.get(place(cell, one.label), {})), one.label)
            for seed in range(self.seeds)
            for cell in self.cells
            for one in sorted(self.arms, key=lambda one: one.label != self.reference)
            if self.tuning is None or place(cell, one.label) in self.tuned
        ]

    def bases(self) -> list[Job]:
        """A trial of every arm in every cell, with its label: what tuning starts from."""
        return [(self._trial(one, cell), one.label) for cell in self.cells for one in self.arms]

    def _trial(self, one: Arm, cell: Cell, **settings: Any) -> Trial:
        dataset, model = cell
        return one.trial(**(self.recipe | settings), dataset=dataset, model=model, task=_task(dataset, model))

    def notes(self) -> list[str]:
        """What a report must say of how the arms got their recipes."""
        if self.tuning is None:
            return []
        return [f"Every arm was tuned first, in each cell: {self.tuning}. The test part was not read for it."]

    def command(self, out: Path) -> str:
        """The shell command that runs this experiment; "" where flags cannot say it, for a file had its own tuning."""
        if self.tuning != (protocols.protocol(self.protocol).tune if self.protocol else None):
            return ""
        words = ["bevel", "compare", "--activations", *(one.label for one in self.arms)]
        words += ["--reference", self.reference, "--seeds", str(self.seeds)]
        if self.protocol:
            words += ["--protocol", self.protocol, "--no-controls"]
        defaults = {f.name: f.default for f in dataclasses.fields(Trial)}
        for name, values in zip(("dataset", "model"), zip(*self.cells, strict=True), strict=True):
            unique = list(dict.fromkeys(values))
            if unique != [defaults[name]]:
                words += [f"--{name}", *unique]
        start = defaults | (protocols.protocol(self.protocol).recipe if self.protocol else {})
        for name in RECIPE:
            value, flag = self.recipe[name], name.replace("_", "-")
            if value == start[name]:
                continue
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words += [f"--{flag}", str(value)]
        if self.device != "cpu":
            words += ["--device", self.device]
        return shlex.join([*words, "--out", str(out)])

    def settle(self, folder: Path) -> Experiment:
        """Make this the experiment of ``folder``; call it while holding the folder's ledger.

        A folder keeps one recipe and one reference; arms, cells and seeds may be added to it by running it again.

        Returns:
            The folder's experiment: what was there and what is new.

        Raises:
            LabError: if the folder holds another experiment; says what differs.
        """
        merged = self
        stored = read(folder)
        if stored is not None:
            differ = [
                f"{key} is {there!r} there and {here!r} here"
                for key, there, here in _pairs(stored, self)
                if there != here
            ]
            if differ:
                raise LabError(f"{folder} holds another experiment ({'; '.join(differ)}); choose another --out.")
            known = stored._meanings()
            arms = (*stored.arms, *(one for meaning, one in self._meanings().items() if meaning not in known))
            cells = tuple(dict.fromkeys((*stored.cells, *self.cells)))
            seeds = max(stored.seeds, self.seeds)
            merged = dataclasses.replace(stored, arms=arms, cells=cells, seeds=seeds)
        if merged != stored:
            _write(folder / FILE, merged)
        return merged

    def part(self, of: Experiment) -> Experiment:
        """The arms, cells and seeds of this experiment with the labels of ``of``, which it was settled into."""
        wanted = self._meanings()
        arms = tuple(one for meaning, one in of._meanings().items() if meaning in wanted)
        return dataclasses.replace(self, arms=arms, reference=of.reference, tuned=of.tuned)

    def _meanings(self) -> dict[str, Arm]:
        return {one.meaning(self.recipe): one for one in self.arms}

    def with_tuned(self, folder: Path, tuned: Mapping[str, dict[str, float]]) -> Experiment:
        """This experiment with what tuning chose, also in its folder."""
        done = dataclasses.replace(self, tuned={**self.tuned, **tuned})
        _write(folder / FILE, done)
        return done


def place(cell: Cell, label: str) -> str:
    """The key of an arm in a cell, a text so that JSON can hold it."""
    return json.dumps([*cell, label], ensure_ascii=False)


def _arms(given: Sequence[Arm], base: Arm, recipe: Mapping[str, Any]) -> tuple[list[Arm], str]:
    """The arms, the reference among them, and the label it has there."""
    first: dict[str, Arm] = {}
    for one in given:
        other = first.setdefault(one.meaning(recipe), one)
        if other is not one:
            raise InvalidValue(
                f"{other.label!r} and {one.label!r} are the same activation with one recipe; name each once."
            )
    there = first.get(base.meaning(recipe))
    return ([*given], there.label) if there else ([base, *given], base.label)


def _listed(key: str, given: Any) -> list[Any]:
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str) for name in found):
        raise InvalidValue(f"{key} is text; got {given!r}.")
    return list(dict.fromkeys(found))


def _task(dataset: str, model: str) -> str:
    task, wants = DATASETS.item(dataset).task, MODELS.item(model).task
    if wants != task:
        raise InvalidValue(f"data set {dataset!r} is for {task}, model {model!r} for {wants}{own(dataset, wants)}.")
    return task


def read(folder: Path) -> Experiment | None:
    """The folder's experiment, or None where there is none.

    Raises:
        LabError: if the file cannot be understood.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise ValueError("written by another version of bevel")
        data["arms"] = tuple(Arm(**one) for one in data["arms"])
        data["cells"] = tuple((dataset, model) for dataset, model in data["cells"])
        # fields that a later bevel added say nothing while they have their defaults
        data["recipe"] = DEFAULTS | data["recipe"]
        data["tuning"] = Tuning(**data["tuning"]) if data["tuning"] else None
        return Experiment(**data)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabError(f"{path} cannot be read ({error}); move it away, or choose another folder.") from error


def _pairs(stored: Experiment, new: Experiment) -> list[tuple[str, Any, Any]]:
    """(what, there, here) for everything that must agree."""
    base = [next(one for one in e.arms if one.label == e.reference).meaning(e.recipe) for e in (stored, new)]
    fixed: list[tuple[str, Any, Any]] = [
        ("reference", base[0], base[1]),
        ("device", stored.device, new.device),
        ("tuning", str(stored.tuning), str(new.tuning)),
    ]
    keys = sorted(stored.recipe.keys() | new.recipe.keys())
    return [*fixed, *((key, stored.recipe.get(key), new.recipe.get(key)) for key in keys)]


def _write(path: Path, experiment: Experiment) -> None:
    text = json.dumps({"format": FORMAT} | dataclasses.asdict(experiment), indent=2, ensure_ascii=False)
    atomic_file.write(path, f"{text}\n".encode())
