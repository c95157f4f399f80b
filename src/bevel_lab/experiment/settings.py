"""The settings of an experiment: the keys of its TOML file, which are the flags of ``bevel compare`` as well.

Some settings say what is compared; those in :data:`PLACES` say where it is run and with which means, and may differ
between two runs of one experiment.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel_lab.datasets import own
from bevel_lab.errors import LabError
from bevel_lab.experiment import protocols
from bevel_lab.experiment.arm import RECIPE
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.trial import renamed
from bevel_lab.experiment.tuning import Tuning

RECIPE_KEYS = ("model", "dataset", *RECIPE)
"""Fields of a trial that may be set. They have no default here, since a protocol may set them too."""

_KEYS: dict[str, tuple[type, Any]] = {
    "activations": (list, []),
    "reference": (str, "relu"),
    "seeds": (int, 10),
    "protocol": (str, ""),
    "task": (str, ""),
    "controls": (bool, None),
    "device": (str, "cpu"),
    "tune": (dict, None),
    "title": (str, ""),
    "skip_invalid": (bool, False),
    "out": (str, ""),
    "workers": (int, None),
    "ray": (str, ""),
    "data_root": (str, "data"),
    "download": (bool, False),
}
DEFAULTS = {key: default for key, (_, default) in _KEYS.items()}
"""All other keys; ``controls`` means yes with a protocol and no without one."""

PLACES = ("out", "workers", "ray", "data_root", "download")

_WORDS = {list: "a list of texts", str: "text", int: "a whole number", bool: "true or false", dict: "a table"}


def checked(given: Mapping[str, Any], origin: str = "") -> dict[str, Any]:
    """``given`` with paths as text and old names replaced.

    Args:
        given: settings by key.
        origin: where they are from; messages start with it.

    Raises:
        UnknownName: for a key that is none.
        InvalidValue: for a value of the wrong type; the fields of a trial are checked when the trial is made.
    """
    found = {key: str(value) if isinstance(value, Path) else value for key, value in renamed(given).items()}
    for key, value in found.items():
        if key in RECIPE_KEYS:
            continue
        if key not in _KEYS:
            raise UnknownName(f"{origin}unknown key {key!r}; {did_you_mean(key, [*_KEYS, *RECIPE_KEYS])}")
        kind, _ = _KEYS[key]
        if type(value) is not kind or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
            raise InvalidValue(f"{origin}{key} is {_WORDS[kind]}; got {value!r}.")
    return found


def read(path: Path) -> dict[str, Any]:
    """The settings in a TOML file; raises ``BevelError`` with the file's name."""
    try:
        return checked(tomllib.loads(path.read_text(encoding="utf-8")), f"{path}: ")
    except FileNotFoundError:
        raise LabError(f"there is no file {path}; settings without a file are flags of `bevel compare`.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} is not TOML: {error}") from error


def to_toml(settings: Mapping[str, Any]) -> str:
    """The TOML file of ``settings``, without those that only say where an experiment is run."""
    return "".join(_lines({key: value for key, value in settings.items() if key not in PLACES}, ""))


def _lines(table: Mapping[str, Any], name: str) -> list[str]:
    lines = [f"{key} = {_value(value)}\n" for key, value in table.items() if not isinstance(value, dict)]
    for key, inner in table.items():
        if isinstance(inner, dict):
            lines += [f"\n[{name}{key}]\n", *_lines(inner, f"{name}{key}.")]
    return lines


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's strings are JSON's but for DEL


def resolve(settings: Mapping[str, Any], processes: int = 1) -> Experiment:
    """The experiment that ``settings`` ask for.

    Args:
        settings: checked ones; what they lack has its default.
        processes: the number that share each trial.

    Raises:
        BevelError: for whatever is wrong with them.
    """
    given = DEFAULTS | dict(settings)
    if not given["activations"]:
        raise InvalidValue("name what to compare: --activations SPEC ..., for example --activations relu gelu sau.")
    base = protocols.protocol(given["protocol"]) if given["protocol"] else None
    recipe = (base.recipe if base else {}) | {name: given[name] for name in RECIPE_KEYS if name in given}
    arms = split_arms(given["activations"])
    if given["controls"] if given["controls"] is not None else base is not None:
        arms = protocols.with_controls(arms, recipe)
    tuning = base.tune if base else None
    if given["tune"]:
        tuning = Tuning.read((dataclasses.asdict(tuning) if tuning else {}) | given["tune"])
    found = Experiment.resolve(
        arms, given["reference"], given["seeds"], recipe | {"processes": processes},
        device=given["device"], protocol=given["protocol"], tuning=tuning,
    )  # fmt: skip
    for trial, _ in found.base_trials():
        if given["task"] not in ("", trial.task):
            raise InvalidValue(
                f"task is {given['task']!r} and data set {trial.dataset!r} is for {trial.task}; choose another "
                f"data set, or leave the task out{own(trial.dataset, given['task'])}."
            )
    return found


def amounting_to(experiment: Experiment) -> dict[str, Any]:
    """Settings that :func:`resolve` makes ``experiment`` from, or one with more cells if some pairs are missing."""
    datasets, models = (list(dict.fromkeys(names)) for names in zip(*experiment.cells, strict=True))
    found = {
        "activations": [one.label for one in experiment.arms],
        "reference": experiment.reference,
        "seeds": experiment.seeds,
        "controls": False,
        "device": experiment.device,
        "dataset": datasets,
        "model": models,
        **{name: value for name, value in experiment.recipe.items() if name in RECIPE},
    }
    return found | ({"tune": dataclasses.asdict(experiment.tuning)} if experiment.tuning else {})


def split_arms(texts: Sequence[str]) -> list[str]:
    """Split at commas between arms: ``relu,sau:n=5,alpha=0.2`` names two, for arguments have a ``=``."""
    found: list[str] = []
    for text in texts:
        depth = 0
        start = True
        for piece in text.split(","):
            head = piece.partition(":")[0].partition("@")[0]
            if not start and (depth > 0 or "=" in head):
                found[-1] += "," + piece
            elif piece.strip():
                found.append(piece.strip())
            depth += piece.count("(") - piece.count(")")
            start = start and not piece.strip()
    return found
