"""An experiment: several activations, one recipe, paired seeds; and the folder that holds what came of it."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bevel
from bevel.errors import InvalidValue
from bevel_lab.checkpoint import sync_folder
from bevel_lab.datasets import DATASETS
from bevel_lab.errors import LabError
from bevel_lab.models import MODELS
from bevel_lab.trial import Trial

FILE = "experiment.json"
FORMAT = 1
RECIPE = tuple(f.name for f in dataclasses.fields(Trial) if f.name not in ("activation", "seed", "task"))
"""The fields of a trial that an experiment sets; the task follows from the data set."""


@dataclass(frozen=True)
class Arm:
    """An activation as the user typed it, and with every argument written out."""

    label: str
    activation: str


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is compared, resolved.

    Attributes:
        arms: the activations, the reference among them.
        reference: label of the arm that the others are compared with.
        seeds: every arm runs with seeds 0 … seeds − 1.
        recipe: the fields of every trial but activation and seed.
        device: torch device of all trials.
    """

    arms: tuple[Arm, ...]
    reference: str
    seeds: int
    recipe: dict[str, Any]
    device: str = "cpu"

    @classmethod
    def resolve(
        cls, activations: list[str], reference: str, seeds: int, recipe: dict[str, Any], device: str = "cpu"
    ) -> Experiment:
        """Check everything that can be checked without data, and fill in the defaults.

        Raises:
            BevelError: for unknown names, bad values, or an activation given twice.
        """
        arms = [Arm(label, bevel.canonical(label)) for label in activations]
        base = bevel.canonical(reference)
        if base not in [arm.activation for arm in arms]:
            arms.insert(0, Arm(reference, base))
        first: dict[str, str] = {}
        for arm in arms:
            if arm.activation in first:
                raise InvalidValue(
                    f"{first[arm.activation]!r} and {arm.label!r} are the same activation; name each once."
                )
            first[arm.activation] = arm.label
        if type(seeds) is not int or seeds < 1:
            raise InvalidValue(f"seeds is a whole number, at least 1; got {seeds!r}.")
        trial = Trial(activation=base, **recipe)
        task, model = DATASETS.item(trial.dataset).task, MODELS.item(trial.model)
        if model.task != task:
            raise InvalidValue(f"data set {trial.dataset!r} is for {task}, model {trial.model!r} for {model.task}.")
        trial = dataclasses.replace(trial, task=task)
        filled = {k: v for k, v in trial.to_dict().items() if k not in ("activation", "seed")}
        return cls(arms=tuple(arms), reference=first[base], seeds=seeds, recipe=filled, device=device)

    def trials(self) -> list[tuple[Trial, str]]:
        """Every (trial, label), seed by seed, the reference first: an unfinished experiment has whole pairs."""
        arms = sorted(self.arms, key=lambda arm: arm.label != self.reference)
        return [
            (Trial(activation=arm.activation, seed=seed, **self.recipe), arm.label)
            for seed in range(self.seeds)
            for arm in arms
        ]

    def command(self, out: Path) -> str:
        """The shell command that runs this experiment."""
        words = ["bevel", "compare", "--activations", *(arm.label for arm in self.arms)]
        words += ["--reference", self.reference, "--seeds", str(self.seeds)]
        defaults = {f.name: f.default for f in dataclasses.fields(Trial)}
        for name in RECIPE:
            value, flag = self.recipe[name], name.replace("_", "-")
            if value == defaults[name]:
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

        A folder keeps one recipe and one reference; arms and seeds may be added to it by running it again.

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
            known = {arm.activation for arm in stored.arms}
            arms = (*stored.arms, *(arm for arm in self.arms if arm.activation not in known))
            merged = dataclasses.replace(stored, arms=arms, seeds=max(stored.seeds, self.seeds))
        if merged != stored:
            _write(folder / FILE, merged)
        return merged

    def part(self, of: Experiment) -> Experiment:
        """The arms and seeds of this experiment with the labels of ``of``, which it was settled into."""
        wanted = {arm.activation for arm in self.arms}
        arms = tuple(arm for arm in of.arms if arm.activation in wanted)
        return dataclasses.replace(self, arms=arms, reference=of.reference)


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
        data["arms"] = tuple(Arm(**arm) for arm in data["arms"])
        return Experiment(**data)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabError(f"{path} cannot be read ({error}); move it away, or choose another folder.") from error


def _pairs(stored: Experiment, new: Experiment) -> list[tuple[str, Any, Any]]:
    """(what, there, here) for everything that must agree."""
    base = [next(a.activation for a in e.arms if a.label == e.reference) for e in (stored, new)]
    fixed: list[tuple[str, Any, Any]] = [("reference", base[0], base[1]), ("device", stored.device, new.device)]
    keys = sorted(stored.recipe.keys() | new.recipe.keys())
    return [*fixed, *((key, stored.recipe.get(key), new.recipe.get(key)) for key in keys)]


def _write(path: Path, experiment: Experiment) -> None:
    part = path.with_name(f"{path.name}.part")
    text = json.dumps({"format": FORMAT} | dataclasses.asdict(experiment), indent=2, ensure_ascii=False)
    with part.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)
