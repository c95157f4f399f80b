"""A watcher of grids that remembers."""

from __future__ import annotations

from collections.abc import Callable

from bevel_lab.execution.job import Failure
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial


class Watch:
    """Notes what happens; ``on_epoch`` may interfere."""

    def __init__(self, on_epoch: Callable[[Trial, int], None] = lambda trial, done: None) -> None:
        self.on_epoch = on_epoch
        self.epochs: list[tuple[str, int]] = []
        self.records: list[Record] = []
        self.failures: list[Failure] = []
        self.notes: list[str] = []

    def epoch(self, trial: Trial, label: str, done: int) -> None:
        self.epochs.append((trial.id, done))
        self.on_epoch(trial, done)

    def record(self, record: Record) -> None:
        self.records.append(record)

    def failure(self, failure: Failure) -> None:
        self.failures.append(failure)

    def note(self, text: str) -> None:
        self.notes.append(text)
