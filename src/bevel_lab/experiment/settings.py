"""The settings of an experiment. They are the keys of its TOML file and the flags of ``bevel compare``.

What they are is in :mod:`bevel_lab.experiment.keys`.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel.spec import split_items
from bevel_lab.datasets import DATASETS, own
from bevel_lab.errors import LabError
from bevel_lab.experiment import protocols
from bevel_lab.experiment.arm import RECIPE
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.keys import DEFAULTS, KEYS, PLACES, RECIPE_KEYS
from bevel_lab.experiment.trial import renamed
from bevel_lab.experiment.tuning import Tuning

_WORDS = {
    list: "a list of texts", str: "text", int: "a whole number", float: "a number", bool: "true or false",
    dict: "a table",
}  # fmt: skip


def checked(given: Mapping[str, Any], origin: str = "") -> dict[str, Any]:
    """Check settings, and return them with paths as text and old names replaced.

    Args:
        given: settings by key.
        origin: where they are from; messages start with it.

    Raises:
        UnknownName: for an unknown key.
        InvalidValue: for a value of the wrong type; the fields of a trial are checked when the trial is made.
    """
    found = {key: str(value) if isinstance(value, Path) else value for key, value in renamed(given).items()}
    for key, value in found.items():
        texts = value if isinstance(value, list) else [value]
        if key not in PLACES and any(isinstance(text, str) and not is_unicode(text) for text in texts):
            raise InvalidValue(
                f"{origin}{key} must be text that UTF-8 can write, for the experiment's files keep it; got {value!r}. "
                "Rename the file, or link to it by another name."
            )
        if key in RECIPE_KEYS:
            continue
        if key not in KEYS:
            raise UnknownName(f"{origin}unknown key {key!r}; {did_you_mean(key, [*KEYS, *RECIPE_KEYS])}")
        kind = KEYS[key].kind
        if kind is float and type(value) is int:
            found[key] = value = float(value)
        if type(value) is not kind or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
            raise InvalidValue(f"{origin}{key} must be {_WORDS[kind]}; got {value!r}.")
    return found


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can write a text; it cannot write what Python makes of a file name in another encoding."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read(path: Path) -> dict[str, Any]:
    """Read the settings in a TOML file; raise ``BevelError`` with its name if that cannot be done."""
    try:
        return checked(tomllib.loads(path.read_text(encoding="utf-8")), f"{path}: ")
    except FileNotFoundError:
        raise LabError(f"there is no file {path}; settings without a file are flags of `bevel compare`.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} is not TOML: {error}") from error


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return ``settings`` as the text of a TOML file, without those in :data:`PLACES`."""
    return "".join(_lines({key: value for key, value in settings.items() if key not in PLACES}, ""))


def _lines(table: Mapping[str, Any], name: str) -> list[str]:
    # JSON and TOML write these values alike, except for the character DEL
    values = {k: json.dumps(v, ensure_ascii=False).replace("\x7f", "\\u007f") for k, v in table.items()}
    lines = [f"{key} = {values[key]}\n" for key, value in table.items() if not isinstance(value, dict)]
    lines = [f"\n[{name}]\n", *lines] if name and lines else lines
    for key, inner in table.items():
        if isinstance(inner, dict):
            lines += _lines(inner, f"{name}.{key}" if name else key)
    return lines


def resolve(settings: Mapping[str, Any]) -> Experiment:
    """Make the experiment that checked ``settings`` ask for; what they lack has its default.

    Raises:
        BevelError: for whatever is wrong with them.
    """
    given = DEFAULTS | dict(settings)
    if not given["activations"]:
        raise InvalidValue("name what to compare: --activations SPEC ..., for example --activations relu gelu sau.")
    base = protocols.protocol(given["protocol"]) if given["protocol"] else None
    recipe = (base.recipe if base else {}) | {name: given[name] for name in RECIPE_KEYS if name in given}
    arms = split_arms(given["activations"])
    more = given["more_controls"]
    if given["controls"] if given["controls"] is not None else base is not None or more:
        arms = protocols.with_controls(arms, recipe, more=more)
    elif more:
        raise InvalidValue("more_controls adds to the controls, which controls = false leaves out; drop one of them.")
    tuning = base.tune if base else None
    if given["tune"]:
        tuning = Tuning.read((dataclasses.asdict(tuning) if tuning else {}) | given["tune"])
    found = Experiment.resolve(
        arms, given["reference"], given["seeds"], recipe, device=given["device"], tuning=tuning, margin=given["margin"]
    )
    tasks = {entry.task for entry in DATASETS.values()}
    if given["task"] and given["task"] not in tasks:
        raise UnknownName(f"unknown task {given['task']!r}; {did_you_mean(given['task'], tasks)}")
    for trial, _ in found.base_trials():
        if given["task"] not in ("", trial.task):
            raise InvalidValue(
                f"task is {given['task']!r} and data set {trial.dataset!r} is for {trial.task}; choose another "
                f"data set, or leave the task out{own(trial.dataset, given['task'])}."
            )
    return found


def amounting_to(experiment: Experiment) -> dict[str, Any]:
    """Return settings from which :func:`resolve` makes ``experiment``.

    Raises:
        InvalidValue: if its cells are not all pairs of its data sets and models.
    """
    datasets, models = (list(dict.fromkeys(names)) for names in zip(*experiment.cells, strict=True))
    if len(experiment.cells) < len(datasets) * len(models):
        raise InvalidValue(f"one experiment must be run on all pairs of data set and model; got {experiment.cells}.")
    found = {
        "activations": [one.label for one in experiment.arms],
        "reference": experiment.reference,
        "seeds": experiment.seeds,
        "controls": False,
        "device": experiment.device,
        **({"margin": experiment.margin} if experiment.margin else {}),
        "dataset": datasets,
        "model": models,
        **{name: value for name, value in experiment.recipe.items() if name in RECIPE},
    }
    return found | ({"tune": dataclasses.asdict(experiment.tuning)} if experiment.tuning else {})


def split_arms(texts: Sequence[str]) -> list[str]:
    """Split at commas between arms: ``relu,sau:n=5,alpha=0.2`` names two, for arguments have a ``=``."""
    found: list[str] = []
    for text in texts:
        for number, piece in enumerate(filter(str.strip, split_items(text))):
            if number and "=" in piece.partition(":")[0].partition("@")[0]:
                found[-1] += "," + piece
            else:
                found.append(piece.strip())
    return found
