"""Bad entries of a data set: the first is an error, or all are left out, counted and named."""

from __future__ import annotations

import warnings
from pathlib import Path

from bevel_lab.errors import LabError


class Bad:
    """Takes note of bad entries.

    Args:
        skip: whether they are left out (``--skip-bad``).
        root: what names in :attr:`found` are relative to, so that they are the same on every machine.

    Attributes:
        found: what was left out, one sentence each.
    """

    def __init__(self, skip: bool, root: Path) -> None:
        self.skip, self.root = skip, root
        self.found: list[str] = []

    def note(self, problem: str, remedy: str) -> None:
        """The entry that ``problem`` names is bad; returns where it is to be left out, else raises ``LabError``."""
        if not self.skip:
            raise LabError(f"{problem}; {remedy}, or leave it out with --skip-bad.")
        self.found.append(problem.replace(f"{self.root}/", ""))

    def close(self) -> tuple[str, ...]:
        """Everything that was left out; warns if that is anything."""
        if self.found:
            more = f" (the first of {len(self.found)})" if len(self.found) > 1 else ""
            warnings.warn(f"left out as bad: {self.found[0]}{more}; the record names more.", stacklevel=2)
        return tuple(self.found)
