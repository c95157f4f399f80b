"""What a person sees while trials run: bars on a terminal, plain lines elsewhere. Both go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bevel_lab.experiment.events import Begun, EpochDone, Event, Failure, Note, Watcher
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial

ROWS = 8
"""Trials with a bar of their own; on larger machines they would fill the screen."""


@contextmanager
def progress_display() -> Iterator[Watcher]:
    """A watcher that shows on standard error what it is told."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    bars = _Bars(console)
    try:
        yield bars
    finally:
        bars.progress.stop()


class _Bars:
    """One bar for all epochs of a round, and one for each trial that is running."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} epochs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,  # seconds; arms differ in cost, so the last few epochs say little
        )
        self.total = TaskID(-1)
        self.rows: dict[str, tuple[TaskID, int]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Begun):
            self._begin(event)
        elif isinstance(event, EpochDone):
            self._advance(event)
        else:
            if isinstance(event, Record | Failure):
                self._end(event.trial)
            if isinstance(event, Note | Failure):
                self.progress.console.print(str(event), markup=False, highlight=False)

    def _begin(self, event: Begun) -> None:
        self.progress.stop()
        for task in self.progress.task_ids:
            self.progress.remove_task(task)
        self.done, self.all = event.done, event.done + len(event.jobs)
        self.total = self.progress.add_task("", total=sum(trial.epochs for trial, _ in event.jobs))
        self._count()
        if event.jobs:
            self.progress.start()

    def _count(self) -> None:
        self.progress.update(self.total, description=f"[bold]{self.done}/{self.all} trials")

    def _advance(self, event: EpochDone) -> None:
        trial = event.trial
        if trial.id not in self.rows:
            text = f"  {escape(event.label)}, seed {trial.seed}"
            row = self.progress.add_task(text, total=trial.epochs, visible=len(self.rows) < ROWS)
            self.rows[trial.id] = row, 0
        row, before = self.rows[trial.id]
        self.progress.update(row, completed=event.done)
        self.progress.advance(self.total, event.done - before)
        self.rows[trial.id] = row, event.done

    def _end(self, trial: Trial) -> None:
        row, before = self.rows.pop(trial.id, (None, 0))
        if row is not None:
            self.progress.remove_task(row)
        self.progress.advance(self.total, trial.epochs - before)
        self.done += 1
        self._count()


class _Lines:
    """A line for every trial that ends."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Begun):
            self.done, self.all = event.done, event.done + len(event.jobs)
            self.epochs = sum(trial.epochs for trial, _ in event.jobs)
            self.run = 0
            self.reached: dict[str, int] = {}
            self.began = time.monotonic()
            if event.done and event.jobs:
                _print(str(event))
        elif isinstance(event, EpochDone):
            self._advance(event.trial, event.done)
        elif isinstance(event, Note):
            _print(str(event))
        else:
            self._advance(event.trial, event.trial.epochs)
            self.done += 1
            took = f" in {duration(event.seconds)}" if isinstance(event, Record) else ""
            left = (time.monotonic() - self.began) * (self.epochs - self.run) / max(1, self.run)
            more = f"; about {duration(left)} left" if left >= 1 else ""
            _print(f"[{self.done}/{self.all}] {event}{took}{more}")

    def _advance(self, trial: Trial, done: int) -> None:
        self.run += done - self.reached.get(trial.id, 0)
        self.reached[trial.id] = done


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
