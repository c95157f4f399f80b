"""What a person sees while a grid runs: bars on a terminal, plain lines elsewhere. Both go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bevel_lab.execution.job import Failure, Watcher
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Job, Trial

ROWS = 8
"""Trials with a bar of their own; on larger machines they would fill the screen."""


@contextmanager
def watching(jobs: Sequence[Job], done: int) -> Iterator[Watcher]:
    """A watcher for ``jobs``, which are still to be run, besides ``done`` trials that have a record."""
    console = Console(stderr=True)
    if console.is_terminal and jobs:
        with _Bars(console, jobs, done) as bars:
            yield bars
    else:
        yield _Lines(jobs, done)


class _Bars:
    """One bar for all epochs, and one for each trial that is running."""

    def __init__(self, console: Console, jobs: Sequence[Job], done: int) -> None:
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
        self.done, self.all = done, done + len(jobs)
        self.total = self.progress.add_task("", total=sum(trial.epochs for trial, _ in jobs))
        self.rows: dict[str, tuple[TaskID, int]] = {}
        self._count()

    def __enter__(self) -> _Bars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def _count(self) -> None:
        self.progress.update(self.total, description=f"[bold]{self.done}/{self.all} trials")

    def epoch(self, trial: Trial, label: str, done: int) -> None:
        if trial.id not in self.rows:
            text = f"  {_escaped(label)}, seed {trial.seed}"
            row = self.progress.add_task(text, total=trial.epochs, visible=len(self.rows) < ROWS)
            self.rows[trial.id] = row, 0
        row, before = self.rows[trial.id]
        self.progress.update(row, completed=done)
        self.progress.advance(self.total, done - before)
        self.rows[trial.id] = row, done

    def _end(self, trial: Trial) -> None:
        row, before = self.rows.pop(trial.id, (None, 0))
        if row is not None:
            self.progress.remove_task(row)
        self.progress.advance(self.total, trial.epochs - before)
        self.done += 1
        self._count()

    def record(self, record: Record) -> None:
        self._end(record.trial)

    def failure(self, failure: Failure) -> None:
        self._end(failure.trial)
        self.note(_failed(failure))

    def note(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)


class _Lines:
    """A line for every trial that ends."""

    def __init__(self, jobs: Sequence[Job], done: int) -> None:
        self.done, self.all = done, done + len(jobs)
        self.epochs = sum(trial.epochs for trial, _ in jobs)
        self.run = 0
        self.reached: dict[str, int] = {}
        self.began = time.monotonic()

    def epoch(self, trial: Trial, label: str, done: int) -> None:
        self.run += done - self.reached.get(trial.id, 0)
        self.reached[trial.id] = done

    def _end(self, trial: Trial, text: str) -> None:
        self.epoch(trial, "", trial.epochs)
        self.done += 1
        left = (time.monotonic() - self.began) * (self.epochs - self.run) / max(1, self.run)
        self.note(f"[{self.done}/{self.all}] {text}" + (f"; about {duration(left)} left" if left >= 1 else ""))

    def record(self, record: Record) -> None:
        value = record.test[record.metric]
        text = f"{record.label}, seed {record.trial.seed}: {record.metric} {value:.4f} in {duration(record.seconds)}"
        self._end(record.trial, text)

    def failure(self, failure: Failure) -> None:
        self._end(failure.trial, _failed(failure))

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _failed(failure: Failure) -> str:
    return f"{failure.label}, seed {failure.trial.seed}, FAILED: {failure.reason}"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
