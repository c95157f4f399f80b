"""The ``Executor`` protocol, and what executors share: the settings of trials, and a driver that hears of them."""

from __future__ import annotations

import collections
import contextlib
import math
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from bevel.errors import BevelError
from bevel_lab.data.source import Source
from bevel_lab.experiment.events import EpochDone, Failure, Note, Outcome, Watcher
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.predictions import Predictions
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Job, Trial
from bevel_lab.runtime.distributed import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True)
class Setup:
    """The settings that all trials of an experiment share and that do not change their results.

    Attributes:
        source: where data lies.
        device: name of the torch device.
        states: folder of the checkpoints.
        state_every: least number of seconds between two checkpoints of a trial.
        until: time of the driver's monotonic clock at which it stops its workers; their trials keep their checkpoints.
    """

    source: Source
    device: str
    states: Path
    state_every: float = 1.0
    until: float = math.inf

    def state(self, trial: Trial) -> Path:
        """Return the path of the checkpoint of ``trial``."""
        return self.states / f"{trial.id}.pt"


class Executor(Protocol):
    """Runs many trials. Subclass it and write :meth:`run` for a way of one's own; the other methods have defaults.

    Attributes:
        group: the processes that share every trial; each of them makes its own executor.
    """

    group: ProcessGroup = SINGLE_PROCESS

    def run(self, jobs: Sequence[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> list[Failure]:
        """Run every job that the ledger has no record of, each from its checkpoint where it has one.

        Args:
            jobs: in the order in which they are started.
            ledger: open; gets a record per trial.
            setup: what the trials share.
            watcher: is called with every event.

        Returns:
            The trials that failed. Everything else is in the ledger.

        Raises:
            BevelError: if no trial can be run at all.
        """
        ...

    @contextlib.contextmanager
    def on_rank_zero(self, setup: Setup) -> Iterator[bool]:
        """Enter with True in the process of rank 0, which calls :meth:`run` and writes the folder.

        The other processes of :attr:`group` take part in the trials before they enter, with False.
        """
        yield True

    def at_once(self, jobs: Sequence[Job], device: str, watcher: Watcher) -> int:
        """Return the number of trials that run at a time on this machine; ``watcher`` is told if it is too large."""
        return 1

    def local_device(self, device: str) -> str:
        """Return the device on which this process tries the arms before the trials run on ``device``.

        Raises:
            InvalidValue: if trials cannot run on ``device`` in this way.
        """
        return self.group.local_device(device)


class Driver:
    """Hears of trials while they run: fills the ledger, tells the watcher, and gives up a trial that dies repeatedly.

    Args:
        jobs, ledger, setup, watcher: as :meth:`Executor.run` has them.
        deaths: after that many deaths of a trial's process without a new epoch between them, the trial is the
            likely reason, and it fails.

    Attributes:
        todo: the jobs without a record.
        failures: the trials that failed so far.
    """

    def __init__(self, jobs: Sequence[Job], ledger: Ledger, setup: Setup, watcher: Watcher, deaths: int = 1) -> None:
        self.ledger, self.setup, self.watcher, self.max_deaths = ledger, setup, watcher, deaths
        self.todo = collections.deque(job for job in jobs if job[0].id not in ledger.records)
        self.failures: list[Failure] = []
        self._deaths: collections.Counter[str] = collections.Counter()
        self._reached: collections.Counter[str] = collections.Counter()
        for path in setup.states.glob("*.pt*"):
            # the checkpoint of a recorded trial, or a file that a dying process left half-written
            if path.suffix == ".part" or path.stem in ledger.records:
                path.unlink(missing_ok=True)

    def hear(self, event: Outcome) -> bool:
        """Act on an event and pass it to the watcher; return whether it is the last event of its trial."""
        if isinstance(event, Predictions):
            event.write(self.ledger.folder)
            return False
        if isinstance(event, EpochDone):
            key = event.trial.id
            if event.done > self._reached[key]:  # an epoch that is repeated, for want of a checkpoint, is no progress
                self._reached[key], self._deaths[key] = event.done, 0
        elif isinstance(event, Record):
            self.ledger.append(event)
            # the checkpoint is removed last: until the record is on the disk, it is all there is of the trial
            self.setup.state(event.trial).unlink(missing_ok=True)
        elif isinstance(event, Failure):
            self.failures.append(event)
        self.watcher(event)
        return isinstance(event, Record | Failure)

    def died(self, job: Job, how: str, details: str = "") -> bool:
        """Count the death of a trial's process; return whether the trial is to be run again.

        Args:
            job: what the process was running.
            how: the death in a sentence without its full stop.
            details: for a person who looks for the reason.
        """
        trial, label = job
        if trial.id in self.ledger.records:
            return False
        self._deaths[trial.id] += 1
        if self._deaths[trial.id] < self.max_deaths:
            self.watcher(Note(f"{how}; the trial goes on from its last checkpoint."))
            return True
        self.hear(Failure(trial, label, f"{how}, {self.max_deaths} times in a row", details))
        return False


def perform(job: Job, setup: Setup, group: ProcessGroup = SINGLE_PROCESS) -> Iterator[Outcome]:
    """Run a trial in this process and keep its checkpoint in a file; yield its events, the record last."""
    from bevel_lab.training import checkpoint
    from bevel_lab.training.run import trial_events

    trial, label = job
    state = setup.state(trial)
    return trial_events(
        trial, label=label, source=setup.source, device=setup.device, load=partial(checkpoint.load, state),
        save=partial(checkpoint.save, state), save_every=setup.state_every, group=group,
    )  # fmt: skip


def with_failure(job: Job, events: Iterator[Outcome]) -> Iterator[Outcome]:
    """Yield ``events``; if they raise an exception, yield a failure of ``job`` in its place."""
    try:
        yield from events
    except BevelError as error:
        yield Failure(*job, str(error), "")
    except Exception as error:
        reason = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        yield Failure(*job, reason, traceback.format_exc())
