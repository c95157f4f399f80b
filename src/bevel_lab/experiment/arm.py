"""An arm: an activation and the recipe fields it changes, written ``SPEC`` or ``SPEC@field=value,field=value``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import bevel
from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel_lab.experiment.trial import OLD_NAMES, Trial

_NOT_RECIPE = ("activation", "seed", "task", "dataset", "model", "processes", "tuning")
RECIPE = {f.name: str(f.type) for f in dataclasses.fields(Trial) if f.name not in _NOT_RECIPE}
"""Fields of a trial that a recipe sets → their types."""

DEFAULTS = {f.name: f.default for f in dataclasses.fields(Trial) if f.name in RECIPE}
"""Fields of a trial that a recipe sets → their values where the recipe does not say."""


@dataclass(frozen=True)
class Arm:
    """An activation, and the fields of the recipe that it changes.

    Attributes:
        label: the text that the user typed.
        activation: the canonical spec string, with every argument written out.
        changes: fields of a trial → values.
    """

    label: str
    activation: str
    changes: dict[str, Any] = field(default_factory=dict)

    def canonical_key(self, recipe: Mapping[str, Any]) -> str:
        """A text that two arms share if and only if they are the same trials under ``recipe``.

        A change to the recipe's own value does not count. Fields that ``recipe`` lacks have their defaults.
        """
        settings = DEFAULTS | dict(recipe)
        own = [f"{name}={value}" for name, value in sorted(self.changes.items()) if value != settings[name]]
        return "@".join([self.activation, ",".join(own)]) if own else self.activation

    def trial(self, **settings: Any) -> Trial:
        """A trial of this arm; its own fields win over ``settings``."""
        return Trial(activation=self.activation, **(settings | self.changes))


def arm(text: str) -> Arm:
    """Read ``sau:n=5`` or ``frelu@alternate=epoch,lr=0.05``.

    Raises:
        BevelError: for an unknown activation or field, or a value of the wrong type.
    """
    spec, at, rest = text.partition("@")
    if at and not rest:
        raise InvalidValue(f"after @ come fields of the recipe, such as frelu@alternate=epoch; got {text!r}.")
    changes = dict(_change(text, piece) for piece in rest.split(",")) if at else {}
    return Arm(text, bevel.canonical(spec), changes)


def _change(text: str, piece: str) -> tuple[str, Any]:
    name, equals, value = (part.strip() for part in piece.partition("="))
    if not equals:
        raise InvalidValue(f"in {text!r}, {piece!r} is not of the form field=value.")
    name = OLD_NAMES.get(name, name)
    if name not in RECIPE:
        raise UnknownName(f"in {text!r}: unknown field {name!r}; {did_you_mean(name, RECIPE)}")
    kind = RECIPE[name]
    try:
        if kind == "bool":
            return name, {"true": True, "false": False}[value.lower()]
        return name, {"int": int, "float": float, "str": str}[kind](value)
    except (KeyError, ValueError):
        words = {"bool": "true or false", "int": "a whole number", "float": "a number"}[kind]
        raise InvalidValue(f"in {text!r}: {name} is {words}; got {value!r}.") from None
