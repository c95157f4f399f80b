"""Invalid samples of a data set: the first is an error, or all are skipped, counted and listed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bevel_lab.data.facts import summarize_skipped
from bevel_lab.errors import LabError

SKIPPED_FILE = "skipped.txt"
"""The file beside a ledger that lists all skipped samples, one a line."""


class DataNote(UserWarning):
    """What a user must know about the data.

    The process that the user started prints it; its workers, which load the same data, stay silent.
    """


class SkippedSamples(DataNote):
    """Samples were skipped as invalid.

    Args:
        skipped: one sentence for each sample.
    """

    def __init__(self, skipped: Sequence[str]) -> None:
        super().__init__(f"skipped as invalid, {summarize_skipped(skipped)}")
        self.skipped = skipped


def problem_and_remedy(error: LabError) -> tuple[str, str]:
    """The two parts of a message ``"PROBLEM; REMEDY."``."""
    problem, _, remedy = str(error).removesuffix(".").rpartition("; ")
    return problem, remedy


class InvalidSamples:
    """Collects the invalid samples of a data set while it is read.

    Args:
        skip: whether invalid samples are skipped (``--skip-invalid``); otherwise the first is an error.
        root: folder that names in :attr:`skipped` are relative to, so that they are equal on every machine.

    Attributes:
        skipped: one sentence for each skipped sample.
    """

    def __init__(self, skip: bool, root: Path) -> None:
        self.skip, self.root = skip, root
        self.skipped: list[str] = []

    def add(self, problem: str, remedy: str) -> None:
        """Skip the invalid sample that ``problem`` names, or raise ``LabError`` with ``problem`` and ``remedy``."""
        if not self.skip:
            raise LabError(f"{problem}; {remedy}, or skip it with --skip-invalid.")
        self.skipped.append(problem.replace(f"{self.root}/", ""))

    def add_error(self, error: LabError) -> None:
        """Skip the invalid sample that ``error`` names, whose message is ``"PROBLEM; REMEDY."``, or raise it."""
        self.add(*problem_and_remedy(error))

    def finish(self) -> tuple[str, ...]:
        """All skipped samples; warns :class:`SkippedSamples` if there are any."""
        if self.skipped:
            warnings.warn(SkippedSamples(self.skipped), stacklevel=2)
        return tuple(self.skipped)


def silence_data_notes() -> None:
    """Ignore data notes in a worker process: the process that started it prints them."""
    warnings.simplefilter("ignore", DataNote)


@contextlib.contextmanager
def pass_on_data_notes(say: Callable[[str], object], path: Path | None = None) -> Iterator[None]:
    """Call ``say`` with every data note instead of warning, and list all skipped samples in the file ``path``."""
    default = warnings.showwarning
    lines: list[str] = []

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not isinstance(message, DataNote):
            default(message, category, *where, **more)
            return
        rest = ""
        if isinstance(message, SkippedSamples) and path:
            lines.extend(message.skipped)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="backslashreplace")
            rest = f"; {path} lists them"
        say(f"note: {message}{rest}.")

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = default
