"""What every executor shares: its set-up, what it tells the driver, and what failed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bevel_lab.data.source import Source
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial


@dataclass(frozen=True)
class Setup:
    """What all workers share: where data lies, the device, the folder of checkpoints and seconds between them."""

    source: Source
    device: str
    states: Path
    state_every: float = 1.0

    def state(self, trial: Trial) -> Path:
        return self.states / f"{trial.id}.pt"


@dataclass(frozen=True)
class Failure:
    """A trial without a record: the reason in a line, and the details that help to find it."""

    trial: Trial
    label: str
    reason: str
    details: str


class Watcher(Protocol):
    """Is told what happens, in the driver's process."""

    def epoch(self, trial: Trial, label: str, done: int) -> None: ...

    def record(self, record: Record) -> None: ...

    def failure(self, failure: Failure) -> None: ...

    def note(self, text: str) -> None: ...
