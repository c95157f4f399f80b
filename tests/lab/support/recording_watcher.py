"""A watcher that records the events of an experiment."""

from __future__ import annotations

from collections.abc import Callable

from bevel_lab.experiment.events import EpochDone, Event, Failure, Note
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial


class RecordingWatcher:
    """Keeps events by kind; calls ``on_epoch`` with the trial and its number of finished epochs, and ``on_note``."""

    def __init__(
        self,
        on_epoch: Callable[[Trial, int], None] = lambda trial, done: None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.on_epoch, self.on_note = on_epoch, on_note
        self.epochs: list[tuple[str, int]] = []
        self.records: list[Record] = []
        self.failures: list[Failure] = []
        self.notes: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            self.epochs.append((event.trial.id, event.done))
            self.on_epoch(event.trial, event.done)
        elif isinstance(event, Record):
            self.records.append(event)
        elif isinstance(event, Failure):
            self.failures.append(event)
        elif isinstance(event, Note):
            self.notes.append(event.text)
            self.on_note(event.text)
