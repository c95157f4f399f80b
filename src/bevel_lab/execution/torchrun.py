"""Trials one after the other, each by all processes that torchrun has started; the first one keeps the ledger."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence

from bevel.errors import BevelError
from bevel_lab.data import invalid
from bevel_lab.errors import CannotWrite
from bevel_lab.execution.executor import Driver, Executor, Setup, perform
from bevel_lab.experiment.events import Failure, Watcher
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.trial import Job
from bevel_lab.runtime.device import as_device
from bevel_lab.runtime.distributed import TorchrunProcessGroup


class Torchrun(Executor):
    """Runs each trial in all processes of torchrun, data parallel.

    What a user can cause fails alike in all processes and is a failure of the trial. Anything else, a full disk among
    it, ends the first process, and torchrun then ends the others: the same command goes on from the last epoch.

    Args:
        device: ``cpu`` or ``cuda``, as the trials have it.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.group = TorchrunProcessGroup(as_device(device.partition(":")[0]))

    def run(self, jobs: Sequence[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> list[Failure]:
        invalid.silence_data_notes()  # the rehearsal said it
        driver = Driver(jobs, ledger, setup, watcher)
        for job in driver.todo:
            self.group.broadcast(job)
            try:
                for event in perform(job, setup, self.group):
                    driver.hear(event)
            except CannotWrite:
                raise  # the others know nothing of it, and are in the middle of the trial
            except BevelError as error:
                driver.hear(Failure(*job, str(error), traceback.format_exc()))
        return driver.failures

    @contextlib.contextmanager
    def leading(self, setup: Setup) -> Iterator[bool]:
        if self.group.rank == 0:
            yield True
            self.group.broadcast(None)  # there is nothing more to do
            return
        invalid.silence_data_notes()
        while (job := self.group.broadcast(None)) is not None:
            with contextlib.suppress(BevelError):  # the first process fails alike and says so
                for _ in perform(job, setup, self.group):
                    pass
        yield False
