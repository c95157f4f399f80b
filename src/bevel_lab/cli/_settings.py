"""The flags of an experiment: one for every key of its TOML file except the table ``tune``."""

from __future__ import annotations

import argparse
import dataclasses
from argparse import Namespace
from typing import Any

from bevel_lab.cli._parser import Parser, number, whole
from bevel_lab.experiment.keys import KEYS, PLACES, RECIPE_KEYS
from bevel_lab.experiment.trial import Trial

_KINDS = {"int": int, "float": float, "bool": bool, "str": str}
_VALUES = {int: "N", float: "X", str: "NAME"}


def add_flags(made: Parser) -> None:
    """Add a flag for every setting to a parser."""
    made.offers_quiet()
    made.add_argument("--dry-run", action="store_true", help="print the grid, and what it would cost, from a few steps")
    recipe, place = made.add_argument_group("recipe"), made.add_argument_group("where")
    for name, key in KEYS.items():
        if key.kind is not dict:
            _add(place if name in PLACES else made, name, key.kind, key.words, key.value)
    for field in dataclasses.fields(Trial):
        if field.name in RECIPE_KEYS:
            kind = list if field.name in ("model", "dataset") else _KINDS[str(field.type)]
            words = f"{field.metadata['words']} (default {_said(field.default)})"
            _add(recipe, field.name, kind, words, _VALUES.get(kind, "NAME"))


def _said(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return "none" if default == "" else str(default)


def _add(group: argparse._ActionsContainer, name: str, kind: type, words: str, value: str) -> None:
    flag = "--" + name.replace("_", "-")
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, help=words)
    else:
        convert = {int: whole, float: number}.get(kind, str)
        group.add_argument(flag, nargs="+" if kind is list else None, type=convert, metavar=value, help=words)


def given(arguments: Namespace) -> dict[str, Any]:
    """Return the settings whose flags were given."""
    return {key: value for key, value in vars(arguments).items() if key in (*KEYS, *RECIPE_KEYS) and value is not None}
