"""Arms: activations with recipe fields of their own, written ``SPEC`` or ``SPEC@field=value,field=value``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import bevel
from bevel.errors import InvalidValue, UnknownName, did_you_mean
from bevel_lab.experiment.trial import OLD_NAMES, Trial

_SET = {f.name: f for f in dataclasses.fields(Trial) if f.metadata.get("words") and f.name not in ("dataset", "model")}
RECIPE = {name: str(field.type) for name, field in _SET.items()}
"""Fields of a trial that a recipe sets → their types."""

DEFAULTS = {name: field.default for name, field in _SET.items()}
"""Fields of a trial that a recipe sets → their values where the recipe does not say."""

_BOOLS = {"true": True, "false": False}
_READ: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str, "bool": lambda s: _BOOLS[s.lower()]}


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
        """Return a text that is the same for two arms if and only if they make the same trials under ``recipe``.

        A change to the recipe's own value does not count. Fields that ``recipe`` lacks have their defaults.
        """
        settings = DEFAULTS | dict(recipe)
        own = [f"{name}={value}" for name, value in sorted(self.changes.items()) if value != settings[name]]
        return "@".join([self.activation, ",".join(own)]) if own else self.activation

    def trial(self, **settings: Any) -> Trial:
        """Make a trial of this arm; the arm's own fields win over ``settings``."""
        return Trial(activation=self.activation, **(settings | self.changes))


def arm(text: str) -> Arm:
    """Parse an arm such as ``sau:n=5`` or ``frelu@alternate=epoch,lr=0.05``.

    Raises:
        BevelError: for an unknown activation or field; a value of the wrong type is found when a trial is made.
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
    try:
        return name, _READ[RECIPE[name]](value)
    except (KeyError, ValueError):
        return name, value  # the trial refuses it, and says what is allowed
