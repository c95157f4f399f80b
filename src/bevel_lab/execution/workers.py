"""Run trials in worker processes on this machine.

The driver hands out trials and is the only one to write the ledger. A worker runs one trial after another; it ends with
the driver, however that ends. A worker that dies is replaced, and its trial continues from its last checkpoint; if it
dies again before its next epoch, the trial fails.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bevel.errors import InvalidValue
from bevel_lab.data import invalid
from bevel_lab.errors import LabError
from bevel_lab.execution.executor import Driver, Executor, Setup, perform, with_failure
from bevel_lab.experiment.events import Failure, Note, Outcome, Watcher
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.trial import Job
from bevel_lab.runtime.processes import exit_with_parent, keep_bars_private, use_fork_server, worker_context

MAX_WORKER_DEATHS = 2
"""Deaths of a trial's worker without a new epoch between them after which the trial fails."""


class Workers(Executor):
    """Runs every trial in one of several worker processes.

    Args:
        count: number of processes; by default the number of cores divided by the threads of a trial, or 1 on a GPU.
            A larger number is used as it is and the watcher is told, since the threads of a trial must not change.

    Raises:
        InvalidValue: for a count below 1.

    Example:
        >>> import bevel_lab
        >>> bevel_lab.run("runs/example/experiment.toml", out="runs/example", executor=Workers(1)).missing
        0
    """

    def __init__(self, count: int | None = None) -> None:
        if count is not None and count < 1:
            raise InvalidValue(f"workers must be a whole number, at least 1; got {count}.")
        self.count = count
        self._crowded = False

    def run(self, jobs: Sequence[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> list[Failure]:
        driver = Driver(jobs, ledger, setup, watcher, MAX_WORKER_DEATHS)
        if driver.todo:
            with _Pool(driver, min(self.at_once(driver.todo, setup.device, watcher), len(driver.todo))) as pool:
                pool.work()
        return driver.failures

    def at_once(self, jobs: Sequence[Job], device: str, watcher: Watcher) -> int:
        cores, threads = usable_cores(), max(trial.threads for trial, _ in jobs)
        if threads > max(cores, machine_threads()):
            raise InvalidValue(
                f"--threads must be at most {machine_threads()}, as many as this machine has; got {threads}."
            )
        count = self.count or (1 if device != "cpu" else max(1, cores // threads))
        if count * threads > cores and not self._crowded:
            self._crowded = True
            what = f"workers × threads is {count} × {threads} and there are {cores} cores, on which they take turns"
            watcher(Note(f"{what}; ask for less by --workers or --threads."))
        return count


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_threads() -> int:
    """Return the number of threads that the machine's processors run at a time."""
    return os.cpu_count() or 1


class _Worker:
    """The driver's end of one process."""

    def __init__(self, setup: Setup) -> None:
        context = worker_context()
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(theirs, setup, dict(os.environ)))
        self.ready = False
        self.job: Job | None = None
        with _interrupt_ignored():  # the worker inherits it: only the driver acts on Ctrl-C and stops its workers
            self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # the worker may have died; the driver sees that by its sentinel
            self.connection.send(job)

    def events(self) -> Iterator[Outcome | None]:
        """Yield the events that have arrived; None says that the worker is ready."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, OSError):
            return

    def fate(self) -> str:
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return f"exited with code {code}"

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    """Worker processes that run a driver's jobs; leaving the context ends all of them."""

    def __init__(self, driver: Driver, count: int) -> None:
        self.driver = driver
        self.workers = [_Worker(driver.setup) for _ in range(count)]

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:  # they need no time to finish: checkpoints are whole at any moment
            worker.kill()

    def work(self) -> None:
        while True:
            for worker in self.workers:
                if worker.job is None and self.driver.todo:
                    worker.give(self.driver.todo.popleft())
            busy = [worker for worker in self.workers if worker.job is not None]
            left = self.driver.setup.until - time.monotonic()
            if not busy or left <= 0:
                return
            wait([end for w in busy for end in (w.connection, w.process.sentinel)], left if left < math.inf else None)
            for worker in busy:
                dead = worker.process.exitcode is not None  # read first, so that all of a dead worker's events are seen
                for event in worker.events():
                    if event is None:
                        worker.ready = True
                    elif self.driver.hear(event):
                        worker.job = None
                if dead:
                    self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.kill()
        if not worker.ready:
            raise LabError(
                f"a worker process {worker.fate()} before it could start; nothing can be run. (A script must call "
                'bevel_lab.run under `if __name__ == "__main__":`, since workers import it.)'
            )
        if worker.job is not None:
            trial, label = worker.job
            how = f"the worker (process {worker.process.pid}) that ran {label}, seed {trial.seed}, {worker.fate()}"
            if self.driver.died(worker.job, how):
                self.driver.todo.appendleft(worker.job)
        if self.driver.todo:
            self.workers.append(_Worker(self.driver.setup))


@contextlib.contextmanager
def _interrupt_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python sets signal handlers in the main thread only
        return
    was = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, was)


def serve(connection: Connection, setup: Setup, environment: Mapping[str, str]) -> None:
    """Serve a driver as its worker: send None when ready, then receive jobs and send their events."""
    exit_with_parent()
    if dict(os.environ) != environment:  # the server of which this is a fork may be older than a driver's variables
        os.environ.clear()
        os.environ.update(environment)
    use_fork_server()
    keep_bars_private()
    import bevel_lab.training.run  # noqa: F401  torch is loaded before the worker is ready

    invalid.silence_data_notes()
    connection.send(None)
    while True:
        job = connection.recv()
        for event in with_failure(job, perform(job, setup)):
            connection.send(event)
