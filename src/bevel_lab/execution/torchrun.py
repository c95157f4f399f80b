"""Run trials one after the other, each in all processes of torchrun; the first process keeps the ledger."""

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

    A mistake of the user fails alike in all processes and is a failure of the trial. Any other error, such as a full
    disk, ends the first process, and torchrun then ends the others; the same command continues from the last epoch.

    Args:
        device: ``cpu`` or ``cuda``, as the trials have it.

    Example:
        >>> bevel_lab.run("runs/example/experiment.toml", executor=Torchrun("cpu"))  # doctest: +SKIP
    """

    def __init__(self, device: str = "cpu") -> None:
        self.group = TorchrunProcessGroup(as_device(device.partition(":")[0]))

    def run(self, jobs: Sequence[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> list[Failure]:
        invalid.silence_data_notes()  # they were told before the first trial
        driver = Driver(jobs, ledger, setup, watcher)
        for job in driver.todo:
            self.group.broadcast(job)
            try:
                for event in perform(job, setup, self.group):
                    driver.hear(event)
            except CannotWrite:
                raise  # the other processes do not know of it and go on with the trial
            except BevelError as error:
                driver.hear(Failure(*job, str(error), traceback.format_exc()))
        return driver.failures

    @contextlib.contextmanager
    def on_rank_zero(self, setup: Setup) -> Iterator[bool]:
        if self.group.rank == 0:
            yield True
            self.group.broadcast(None)  # the others stop waiting for jobs
            return
        invalid.silence_data_notes()
        while (job := self.group.broadcast(None)) is not None:
            with contextlib.suppress(BevelError):  # the first process fails alike and reports it
                for _ in perform(job, setup, self.group):
                    pass
        yield False
