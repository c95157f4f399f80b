"""Bad samples of a data set: the first is an error, or all are left out, counted and listed."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bevel_lab.errors import LabError

NAMED = 5
"""How many of the samples that were left out a record and a message name."""

SKIPPED_FILE = "skipped.txt"
"""The file beside a ledger that names them all, a line each."""


class DataNote(UserWarning):
    """What a user must know of the data. The process that he started says it; its workers, which load the same data,
    keep quiet."""


class SkippedSamples(DataNote):
    """Samples were skipped as invalid.

    Args:
        found: one sentence each.
    """

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__(f"skipped as invalid, {summarize_skipped(found)}")
        self.skipped = found


class InvalidSamples:
    """Takes note of bad samples.

    Args:
        skip: whether they are left out (``--skip-invalid``).
        root: what names in :attr:`skipped` are relative to, so that they are the same on every machine.

    Attributes:
        skipped: what was skipped, one sentence each.
    """

    def __init__(self, skip: bool, root: Path) -> None:
        self.skip, self.root = skip, root
        self.skipped: list[str] = []

    def add(self, problem: str, remedy: str) -> None:
        """The sample that ``problem`` names is bad; returns where it is to be left out, else raises ``LabError``."""
        if not self.skip:
            raise LabError(f"{problem}; {remedy}, or skip it with --skip-invalid.")
        self.skipped.append(problem.replace(f"{self.root}/", ""))

    def finish(self) -> tuple[str, ...]:
        """Everything that was left out; warns if that is anything."""
        if self.skipped:
            warnings.warn(SkippedSamples(self.skipped), stacklevel=2)
        return tuple(self.skipped)


def summarize_skipped(found: Sequence[str]) -> str:
    """How many there are, and the first of them."""
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{len(found)}: {'; '.join(found[:NAMED])}{more}"


def skipped_fact(skipped: Sequence[str]) -> dict[str, int | str]:
    """For a record; empty where nothing was left out."""
    return {"skipped": summarize_skipped(skipped)} if skipped else {}


def silence_data_notes() -> None:
    """For a worker process: what is to be known of the data was said where it was started."""
    warnings.simplefilter("ignore", DataNote)


@contextlib.contextmanager
def print_data_notes(path: Path | None = None) -> Iterator[None]:
    """On a command line: notes are a line each, and all that is left out meanwhile is listed in the file ``path``."""
    shown = warnings.showwarning
    lines: list[str] = []

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not isinstance(message, DataNote):
            shown(message, category, *where, **more)
            return
        rest = ""
        if isinstance(message, SkippedSamples) and path:
            lines.extend(message.skipped)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            rest = f"; {path} lists them"
        print(f"note: {message}{rest}.", file=sys.stderr)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown
