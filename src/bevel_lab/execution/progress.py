"""Show on standard error what happens while trials run: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bevel_lab.experiment.events import Begun, EpochDone, Event, Failure, Note, Watcher, duration
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial

ROWS = 8
"""Largest number of trials that have a bar of their own; more would fill the screen."""


@contextmanager
def progress_display(quiet: bool = False) -> Iterator[Watcher]:
    """Yield a watcher that shows every event; ``quiet``: only what went wrong."""
    shown = _Display(_Console(stderr=True), quiet)
    try:
        yield shown
    finally:
        shown.progress.stop()


class _Console(Console):
    """Is silent from when nobody reads it; rich would end the program, and close standard output."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _Display:
    """Shows one bar for all epochs and one for each running trial; without a terminal, a line for every ended trial."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.quiet = quiet
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} epochs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=120,  # seconds; arms differ in cost, so the last few epochs are a poor estimate
        )
        self.rows: dict[str, Task] = {}

    def __call__(self, event: Event) -> None:
        if self.quiet:
            if isinstance(event, Failure | Note):
                self._print(str(event))
        elif isinstance(event, Begun):
            self._begin(event)
        elif isinstance(event, EpochDone):
            self._advance(event.trial, event.label, event.done)
        elif isinstance(event, Note):
            self._print(str(event))
        else:
            self._end(event)

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the training
            self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _begin(self, event: Begun) -> None:
        self.progress.stop()
        for task in self.progress.task_ids:
            self.progress.remove_task(task)
        self.rows.clear()
        self.done, self.all = event.done, event.done + len(event.jobs)
        self.total = self._row(self._count(), sum(trial.epochs for trial, _ in event.jobs))
        if event.jobs:
            self.progress.start()
            if event.done:
                self._print(str(event))

    def _count(self) -> str:
        return f"[bold]{self.done}/{self.all} trials"

    def _row(self, text: str, epochs: int) -> Task:
        self.progress.add_task(text, total=epochs, visible=len(self.rows) < ROWS)
        return self.progress.tasks[-1]

    def _advance(self, trial: Trial, label: str, done: int) -> None:
        if trial.id not in self.rows:
            self.rows[trial.id] = self._row(f"  {escape(label)}, seed {trial.seed}", trial.epochs)
        row = self.rows[trial.id]
        self.progress.advance(self.total.id, done - row.completed)
        self.progress.update(row.id, completed=done)
        self.progress.update(self.total.id, description=self._count())

    def _end(self, event: Record | Failure) -> None:
        self.done += 1
        self._advance(event.trial, event.label, event.trial.epochs)
        self.progress.remove_task(self.rows.pop(event.trial.id).id)
        if self.progress.disable or isinstance(event, Failure):
            took = f" in {duration(event.seconds)}" if isinstance(event, Record) else ""
            left = (self.total.elapsed or 0) * (self.total.remaining or 0) / self.total.completed
            more = f"; about {duration(left)} left" if left >= 1 else ""
            self._print(f"[{self.done}/{self.all}] {event}{took}{more}")
