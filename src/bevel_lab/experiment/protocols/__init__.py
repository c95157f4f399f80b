"""Protocols: ways of training, one TOML file each, found by name. ``controls.toml`` names the controls of activations.

A protocol's ``[recipe]`` gives fields of :class:`~bevel_lab.experiment.trial.Trial`; ``[tune]`` asks for a search
of every arm's own recipe.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel_lab.experiment.arm import arm
from bevel_lab.experiment.tuning import Tuning

_CONTROLS = "controls"


@dataclass(frozen=True)
class Protocol:
    """A named way of training.

    Attributes:
        name, summary: for people.
        recipe: fields of a trial.
        tune: how arms are tuned first, or None.
    """

    name: str
    summary: str
    recipe: dict[str, Any]
    tune: Tuning | None


def names() -> list[str]:
    """Return the names of all protocols."""
    files = (item.name for item in resources.files(__package__).iterdir())
    return sorted(f.removesuffix(".toml") for f in files if f.endswith(".toml") and f != f"{_CONTROLS}.toml")


def protocol(name: str) -> Protocol:
    """Return the protocol called ``name``; raise ``UnknownName`` with similar names."""
    if name not in names():
        raise UnknownName(f"unknown protocol {name!r}; {did_you_mean(name, names())}")
    data = _read(name)
    tune = Tuning.read(data["tune"]) if "tune" in data else None
    return Protocol(name, data["summary"], data["recipe"], tune)


def with_controls(arms: Sequence[str], recipe: Mapping[str, Any], *, more: bool = False) -> list[str]:
    """Return ``arms`` and those of their controls that are not among them already, if under another name.

    Args:
        arms: the arms of an experiment.
        recipe: what all arms share.
        more: whether the controls that are options come, too.

    Raises:
        BevelError: for an arm that is none.
    """
    table = _read(_CONTROLS)
    heads = {text.partition("@")[0].partition(":")[0] for text in arms}
    rows = [row for head, row in table.items() if head in heads]
    wanted = [control for row in rows for control in (*row["arms"], *(row.get("options", ()) if more else ()))]
    found = list(arms)
    seen = {arm(text).canonical_key(recipe) for text in arms}
    for control in [*wanted, *table["any"]["arms"]]:
        key = arm(control).canonical_key(recipe)
        if key not in seen:
            seen.add(key)
            found.append(control)
    return found


def _read(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((resources.files(__package__) / f"{name}.toml").read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:  # somebody has changed the installed file
        raise InvalidValue(f"the protocol {name}.toml is not TOML: {error}") from error
