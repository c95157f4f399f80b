"""Many trials over worker processes.

The driver hands out trials and is the only one to write the ledger. A worker imports torch once and runs one trial
after another; it dies with the driver, however that ends. A worker that dies is replaced and its trial goes on from
its last checkpoint; a second death before it came any further is reported.
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from bevel.errors import BevelError
from bevel_lab.data import invalid
from bevel_lab.errors import LabError
from bevel_lab.execution.job import Failure, Setup, Watcher
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.trial import Job
from bevel_lab.runtime.processes import exit_with_parent, use_fork_server

DEATHS = 2
"""Deaths of a trial's worker without a new epoch between them before it is given up: then the trial is the reason."""


def run(jobs: Sequence[Job], ledger: Ledger, setup: Setup, workers: int, watcher: Watcher) -> list[Failure]:
    """Run every job that the ledger has no record of.

    Args:
        jobs: in the order in which they are started.
        ledger: open; gets a record per trial.
        workers: number of processes, at least 1.
        watcher: is told of epochs, records, failures and notes.

    Returns:
        The trials that failed. Everything else is in the ledger.

    Raises:
        LabError: if workers cannot start at all.
    """
    _tidy(setup, ledger)
    todo = collections.deque(job for job in jobs if job[0].id not in ledger.records)
    driver = _Driver(todo, ledger, setup, watcher)
    try:
        driver.work(min(workers, len(todo)))
    finally:
        driver.stop()
    return driver.failures


def _tidy(setup: Setup, ledger: Ledger) -> None:
    """Remove checkpoints of recorded trials, and what dying processes left half-written."""
    for path in setup.states.glob("*.pt*"):
        if path.suffix == ".part" or path.stem in ledger.records:
            path.unlink(missing_ok=True)


class _Worker:
    """The driver's end of one process."""

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=serve, args=(theirs, setup))
        self.ready = False
        self.job: Job | None = None
        with _ignored_interrupt():  # inherited: Ctrl-C reaches the driver only, which then stops its workers
            self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # it may just have died; its sentinel tells
            self.connection.send(job)

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What has arrived; ends early where the process died."""
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


class _Driver:
    def __init__(self, todo: collections.deque[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> None:
        self.todo, self.ledger, self.setup, self.watcher = todo, ledger, setup, watcher
        self.workers: list[_Worker] = []
        self.deaths: collections.Counter[str] = collections.Counter()
        self.reached: collections.Counter[str] = collections.Counter()
        self.failures: list[Failure] = []

    def work(self, count: int) -> None:
        self.workers = [_Worker(self.setup) for _ in range(count)]
        while True:
            for worker in self.workers:
                if worker.job is None and self.todo:
                    worker.give(self.todo.popleft())
            busy = [worker for worker in self.workers if worker.job is not None]
            if not busy:
                return
            wait([end for w in busy for end in (w.connection, w.process.sentinel)])
            for worker in busy:
                dead = worker.process.exitcode is not None  # asked first: what it said before is then complete
                for kind, content in worker.messages():
                    self._hear(worker, kind, content)
                if dead:
                    self._bury(worker)

    def _hear(self, worker: _Worker, kind: str, content: Any) -> None:
        if worker.job is None:
            return
        trial, label = worker.job
        if kind == "ready":
            worker.ready = True
        elif kind == "epoch":
            if content > self.reached[trial.id]:  # one done again, for want of a checkpoint, is no progress
                self.reached[trial.id], self.deaths[trial.id] = content, 0
            self.watcher.epoch(trial, label, content)
        elif kind == "note":
            self.watcher.note(content)
        elif kind == "record":
            self.ledger.append(content)
            # only now: until the record is on the disk the checkpoint is all there is of the trial
            self.setup.state(trial).unlink(missing_ok=True)
            worker.job = None
            self.watcher.record(content)
        elif kind == "error":
            worker.job = None
            self._fail(Failure(trial, label, *content))

    def _bury(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.kill()
        if not worker.ready:
            raise LabError(f"a worker process {worker.fate()} before it could start; nothing can be run.")
        if worker.job is not None:
            trial, label = worker.job
            self.deaths[trial.id] += 1
            what = f"the worker (process {worker.process.pid}) that ran {label}, seed {trial.seed}, {worker.fate()}"
            if self.deaths[trial.id] < DEATHS:
                self.watcher.note(f"{what}; the trial goes on from its last checkpoint.")
                self.todo.appendleft(worker.job)
            else:
                self._fail(Failure(trial, label, f"{what}, {DEATHS} times in a row", ""))
        if self.todo:
            self.workers.append(_Worker(self.setup))

    def _fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.watcher.failure(failure)

    def stop(self) -> None:
        """End all workers at once: their checkpoints are whole at any moment."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()


@contextlib.contextmanager
def _ignored_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are set in the main thread only; elsewhere the caller sees to Ctrl-C
        return
    was = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, was)


def serve(connection: Connection, setup: Setup) -> None:
    """The worker's life: jobs in; epochs, notes, records and errors out."""
    exit_with_parent()
    use_fork_server()
    from bevel_lab.training.run import run_trial

    invalid.silence_data_notes()
    connection.send(("ready", None))
    while True:
        trial, label = connection.recv()
        try:
            record = run_trial(
                trial,
                label=label,
                source=setup.source,
                device=setup.device,
                state=setup.state(trial),
                state_every=setup.state_every,
                on_epoch=lambda done, epoch: connection.send(("epoch", done)),
                on_note=lambda text: connection.send(("note", text)),
            )
        except BevelError as error:
            connection.send(("error", (str(error), "")))
        except Exception as error:
            reason = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
            connection.send(("error", (reason, traceback.format_exc())))
        else:
            connection.send(("record", record))
