"""The headline metric of a cell: its name, unit and direction."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bevel_lab.experiment import measures


@dataclass(frozen=True)
class Metric:
    """The headline metric, its unit and its direction.

    Attributes:
        key: its name in a record.
        share: whether it is a share of one, which is written as per cent; anything else is written as it is.
        lower_is_better: whether lower values are better.
        log: whether values are compared as their log10, such as relative errors.
    """

    key: str
    share: bool
    lower_is_better: bool = False
    log: bool = False

    @property
    def scale(self) -> float:
        return 100.0 if self.share else 1.0

    @property
    def sign(self) -> float:
        """1 where larger is better, else −1: score · sign is always a gain."""
        return -1.0 if self.lower_is_better else 1.0

    @property
    def better(self) -> str:
        """Where a better score lies in a figure."""
        return "Down" if self.lower_is_better else "Up"

    @property
    def name(self) -> str:
        return ("log10 " if self.log else "") + measures.named(self.key)

    @property
    def title(self) -> str:
        """Its name at the beginning of a title."""
        return self.name.capitalize() if self.name.islower() else self.name

    @property
    def decimals(self) -> int:
        return 2 if self.share else measures.decimals(self.key)

    def of(self, value: float) -> float:
        """The score that a measured value counts as; NaN for a value that has no logarithm."""
        if self.log:
            return math.log10(value) if value > 0 else math.nan
        return value

    @property
    def axis(self) -> str:
        return f"{self.name} (%)" if self.share else self.name

    @property
    def difference(self) -> str:
        """Label of an axis of differences."""
        return f"difference ({self.points.strip()})" if self.points else "difference"

    @property
    def points(self) -> str:
        """Unit that follows a difference."""
        return " points" if self.share else f" {self.name}" if self.key in measures.POINTS else ""
