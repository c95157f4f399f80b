"""Published results from ``published.toml``, each with its source, and the arms that they belong to."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bevel_lab.report.analysis.cells import Arm, Cell

PATH = Path(__file__).with_name("published.toml")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One published number; accuracies in per cent, differences in points.

    Attributes:
        citation: source of the number.
        activation: name in the registry.
        reference: name of what ``difference`` refers to; empty for a value.
        requires: an argument that the arm's full spec must have, or "".
        alternate: whether it was trained by alternate optimization; then the arm must be, too.
        model: its published name.
        names: names that the lab may give it.
        dataset, metric: names in the lab.
        value, sd, runs: as printed; NaN and 0 if not printed.
        difference: difference to ``reference``; NaN if a value was printed.
        remark: a word that precedes the number.
    """

    citation: str
    activation: str
    model: str
    names: tuple[str, ...]
    dataset: str
    metric: str
    reference: str = ""
    requires: str = ""
    alternate: bool = False
    value: float = float("nan")
    sd: float = float("nan")
    runs: int = 0
    difference: float = float("nan")
    remark: str = ""

    def of(self, cell: Cell) -> bool:
        """Whether it belongs to the cell's model, data set and metric."""
        if (self.dataset, self.metric) != (cell.dataset, cell.metric.key):
            return False
        return _plain(cell.model) in {_plain(name) for name in (self.model, *self.names)}

    def fits(self, arm: Arm) -> bool:
        """Whether the arm runs the published activation with the published arguments."""
        trial = arm.first.trial
        name, _, arguments = trial.activation.partition(":")
        alike = bool(trial.alternate) == self.alternate
        return name == self.activation and alike and (not self.requires or self.requires in arguments.split(","))


@lru_cache(maxsize=1)
def results() -> tuple[Result, ...]:
    """Return all results of ``published.toml``."""
    data: dict[str, Any] = tomllib.loads(PATH.read_text(encoding="utf-8"))
    return tuple(
        Result(
            citation=data["sources"][fields.pop("source")]["citation"],
            names=tuple(data["models"][fields["model"]]),
            **fields,
        )
        for fields in data["results"]
    )


def beside(cells: Sequence[Cell]) -> list[tuple[Cell, Arm, Result]]:
    """Return every published number that belongs to an arm of these cells."""
    return [
        (cell, arm, result)
        for cell in cells
        for arm, result in itertools.product(cell.arms, [result for result in results() if result.of(cell)])
        if result.fits(arm)
    ]


def _plain(name: str) -> str:
    """Keep letters and digits only, so that ``ResNet-18`` and ``resnet18`` are one model."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
