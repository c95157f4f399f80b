"""Trials one after the other, each by all processes that torchrun has started; the first one keeps the ledger."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from bevel.errors import BevelError
from bevel_lab.data import invalid
from bevel_lab.errors import CannotWrite
from bevel_lab.execution.job import Failure, Setup, Watcher
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Job
from bevel_lab.runtime.distributed import ProcessGroup


def run(jobs: Sequence[Job], ledger: Ledger, setup: Setup, group: ProcessGroup, watcher: Watcher) -> list[Failure]:
    """The first process's part: announce every job, take part in it, and store its record.

    What a user can cause fails alike in all processes and is a failure of the trial. Anything else, a full disk among
    it, ends this process, and torchrun then ends the others: the same command goes on from the last epoch.
    """
    failures = []
    for job in jobs:
        group.broadcast(job)
        trial, label = job
        try:
            record = _train(job, setup, group, watcher)
        except CannotWrite:
            raise  # the others know nothing of it, and are in the middle of the trial
        except BevelError as error:
            failures.append(Failure(trial, label, str(error), traceback.format_exc()))
            watcher.failure(failures[-1])
            continue
        ledger.append(record)
        setup.state(trial).unlink(missing_ok=True)
        watcher.record(record)
    return failures


def dismiss(group: ProcessGroup) -> None:
    """Tell the other processes that there is nothing more to do."""
    group.broadcast(None)


def follow(setup: Setup, group: ProcessGroup) -> int:
    """The other processes' part: take part in every job that is announced; returns the exit code."""
    while (job := group.broadcast(None)) is not None:
        try:
            _train(job, setup, group, None)
        except BevelError:
            continue  # the first process fails alike and says so
    return 0


def _train(job: Job, setup: Setup, group: ProcessGroup, watcher: Watcher | None) -> Record:
    from bevel_lab.training.run import run_trial

    invalid.silence_data_notes()  # the rehearsal said it
    trial, label = job
    return run_trial(
        trial,
        label=label,
        source=setup.source,
        device=setup.device,
        state=setup.state(trial),
        state_every=setup.state_every,
        on_epoch=lambda done, epoch: watcher.epoch(trial, label, done) if watcher else None,
        on_note=lambda text: watcher.note(text) if watcher else None,
        group=group,
    )
