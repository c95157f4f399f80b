"""Events of running trials, from the trainer to the progress bars. ``str`` gives each of them as a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bevel_lab.experiment.predictions import Predictions
from bevel_lab.experiment.record import Epoch, Record
from bevel_lab.experiment.trial import Job, Trial


@dataclass(frozen=True)
class Begun:
    """A round of trials begins: ``jobs`` are to be run, and ``done`` further trials have a record already."""

    jobs: Sequence[Job]
    done: int

    def __str__(self) -> str:
        count = self.done + len(self.jobs)
        if self.done:
            return f"{self.done} of {count} {'trial is' if count == 1 else 'trials are'} done already."
        return f"{count} {'trial is' if count == 1 else 'trials are'} to be run."


@dataclass(frozen=True)
class EpochDone:
    """A trial has ended its epoch number ``done``, counted from 1."""

    trial: Trial
    label: str
    done: int
    epoch: Epoch

    def __str__(self) -> str:
        return f"{self.label}, seed {self.trial.seed}: epoch {self.done} of {self.trial.epochs}"


@dataclass(frozen=True)
class Failure:
    """A trial has ended without a record, for a ``reason`` of one line; ``details`` help to find the fault."""

    trial: Trial
    label: str
    reason: str
    details: str

    def __str__(self) -> str:
        return f"{self.label}, seed {self.trial.seed}, FAILED: {self.reason}"


@dataclass(frozen=True)
class Note:
    """A sentence for the user."""

    text: str

    def __str__(self) -> str:
        return self.text


Event = Begun | EpochDone | Record | Failure | Note
"""A :class:`Record` is the event that its trial has ended."""

Outcome = Event | Predictions
"""What a trial yields: events, and data that lie beside the ledger, of which no watcher hears."""

Watcher = Callable[[Event], object]
"""Is called with every event, in the process that runs the experiment. Its return value is not used."""


def duration(seconds: float) -> str:
    """Format a time as text, such as ``2.1 s`` or ``1 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
