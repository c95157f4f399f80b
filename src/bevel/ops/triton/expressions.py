"""What the text of programs is made of: expressions, and the forms of a kernel that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.family import Family, constant_of

_MADE = {"below_": "survival_", "lift_": "second_", "both_": "second_ excess_"}  # what is made of forms
# what a kernel gives at v = |u|
FORMS = ("density", "survival", "excess", "moment", "second", "turn")


def wanted(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the forms that lines of the near side use."""
    text = "\n".join(lines)
    for made, of in _MADE.items():
        text = text.replace(made, of)
    return tuple(form for form in FORMS if f"{form}_" in text)


def constants(family: Family) -> tuple[float, ...]:
    """Return the numbers that a family's text calls k0, k1, …, in that order."""
    values = [float(constant_of(s)) for s in family.slots()]
    return tuple(v for v in values if v != 0)


def total(parts: Sequence[str]) -> str:
    return " + ".join(parts) if parts else "0.0"


@dataclass(frozen=True)
class Text:
    """Lines to run, then the expression they lead to."""

    lines: tuple[str, ...]
    result: str


def times(weight: float, part: str) -> str:
    return {1.0: part, -1.0: f"(-{part})"}.get(weight, f"{weight!r} * {part}")
