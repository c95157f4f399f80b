"""An arm: an activation, and what of the recipe is its own. Typed as ``SPEC`` or ``SPEC@field=value,field=value``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import bevel
from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel_lab.experiment.trial import Trial

NOT_RECIPE = ("activation", "seed", "task", "dataset", "model", "processes", "tuning")
RECIPE = {f.name: str(f.type) for f in dataclasses.fields(Trial) if f.name not in NOT_RECIPE}
"""Fields of a trial that a recipe sets, and their types."""
DEFAULTS = {f.name: f.default for f in dataclasses.fields(Trial) if f.name in RECIPE}
"""What a recipe sets them to if it does not say."""


@dataclass(frozen=True)
class Arm:
    """An activation as the user typed it, with every argument written out, and the recipe fields it changes."""

    label: str
    activation: str
    changes: dict[str, Any] = field(default_factory=dict)

    def meaning(self, recipe: Mapping[str, Any]) -> str:
        """What tells arms apart under a recipe, whatever they are called: equal meanings are equal trials.

        A change to what the recipe says anyway is none. Fields that ``recipe`` lacks have their defaults.
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
