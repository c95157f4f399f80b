"""Many trials on a Ray cluster: one task a trial, with its CPUs and GPU.

Nothing is shared between nodes but what Ray carries: a task sends its state home after an epoch, where it becomes the
same checkpoint file that a local run writes, and starts from the state that it is given. So a worker or a node that
dies costs the epoch it was in, and a second's worth of shorter ones before it; so does the driver: its successor finds
the files. Every node needs bevel, and the files of data and weights under the paths that they have on the driver's
machine; relative ones start from its folder.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bevel.errors import BevelError, InvalidValue
from bevel_lab.data import invalid
from bevel_lab.errors import LabError
from bevel_lab.execution.job import Failure, Setup, Watcher
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Job, Trial
from bevel_lab.runtime import atomic_file
from bevel_lab.training import checkpoint, result

DEATHS = 3
"""Deaths of a trial's task without an epoch between them before it is given up: then the trial is the reason."""

PATIENCE = 60.0
"""Seconds of silence after which the driver looks whether the cluster still has room for any of its trials."""


def run(jobs: Sequence[Job], ledger: Ledger, setup: Setup, address: str, watcher: Watcher) -> list[Failure]:
    """Run every job on the cluster at ``address`` (``auto``: the one this machine belongs to).

    Returns:
        The trials that failed. Everything else is in the ledger.

    Raises:
        BevelError: where Ray is missing, there is no such cluster, or no node of it can ever run one of the trials.
    """
    ray = _connect(address)
    root = setup.source.root.absolute()  # tasks start in folders of their own
    setup = dataclasses.replace(setup, source=dataclasses.replace(setup.source, root=root))
    driver = _Driver(ray, ledger, setup, watcher)
    try:
        nodes = ray.nodes()
        for trial, _ in jobs:
            if lacking := wanting(request(trial, setup.device), nodes):
                raise LabError(lacking)
        for job in jobs:
            driver.submit(job)
        while driver.running:
            driver.hear()
    finally:
        ray.shutdown()  # ends what is still running
    return driver.failures


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise InvalidValue(f"--ray needs Ray ({error}); pip install 'bevel[cluster]'.") from error
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise LabError(
            f"there is no Ray cluster at {address!r} ({str(error).splitlines()[0]}); `ray start --head` makes one."
        ) from error
    return ray


def request(trial: Trial, device: str) -> dict[str, int]:
    """What Ray must set aside for a task of ``trial``, as options of the task."""
    return {"num_cpus": trial.threads, "num_gpus": int(device.startswith("cuda"))}


def wanting(asked: Mapping[str, int], nodes: Sequence[Mapping[str, Any]]) -> str:
    """A sentence where no node that is alive has what is ``asked`` for (see :func:`request`), else "".

    Ray would let such a task wait for ever, for a larger node may yet join.

    Args:
        asked: options of a task.
        nodes: as ``ray.nodes()`` gives them.
    """
    cpus, gpus = asked["num_cpus"], asked["num_gpus"]
    there = [
        (int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0))) for node in nodes if node["Alive"]
    ]
    if any(has[0] >= cpus and has[1] >= gpus for has in there):
        return ""
    found = ", ".join(f"{has[0]} and {has[1]}" for has in there) or "none is alive"
    return (
        f"a trial takes {cpus} CPUs and {gpus} GPUs of one node of the cluster, and no node has them ({found}); ask "
        "for less by --threads and --device, or add a node by `ray start`."
    )


class _Driver:
    def __init__(self, ray: Any, ledger: Ledger, setup: Setup, watcher: Watcher) -> None:
        self.ray, self.ledger, self.setup, self.watcher = ray, ledger, setup, watcher
        self.running: dict[Any, Job] = {}
        self.deaths: collections.Counter[str] = collections.Counter()
        self.failures: list[Failure] = []
        self.warned = ""

    def submit(self, job: Job) -> None:
        trial, label = job
        state = self.setup.state(trial)
        data = state.read_bytes() if state.exists() else None
        task = self.ray.remote(work).options(
            **request(trial, self.setup.device),
            max_retries=0,  # a retry starts from the newest state, which only this side has
            num_returns="streaming",
            name=f"{label}, seed {trial.seed}",
        )
        self.running[task.remote(job, self.setup, data, Path.cwd())] = job

    def hear(self) -> None:
        """Wait until a task says something, and act on it."""
        ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=PATIENCE)
        if not ready:
            self._look()
        for stream in ready:
            job = self.running[stream]
            try:
                kind, content = self.ray.get(next(stream))
            except StopIteration:
                del self.running[stream]  # it has said all: a record or an error came before
            except self.ray.exceptions.RayError as error:
                del self.running[stream]
                self._bury(job, error)
            else:
                self._act(job, kind, content)

    def _look(self) -> None:
        """Nothing was heard for long: say so, once, if what is left waits for a node that is no longer there."""
        nodes = self.ray.nodes()
        lacking = [wanting(request(trial, self.setup.device), nodes) for trial, _ in self.running.values()]
        if all(lacking) and lacking[0] != self.warned:
            self.warned = lacking[0]
            self.watcher.note(f"waiting: {self.warned}")

    def _act(self, job: Job, kind: str, content: Any) -> None:
        trial, label = job
        if kind == "epoch":
            done, state = content
            if state is not None:
                atomic_file.write(self.setup.state(trial), state)
                self.deaths[trial.id] = 0
            self.watcher.epoch(trial, label, done)
        elif kind == "note":
            self.watcher.note(content)
        elif kind == "record":
            record = Record.from_json(content)
            self.ledger.append(record)
            self.setup.state(trial).unlink(missing_ok=True)
            self.watcher.record(record)
        else:
            self._fail(Failure(trial, label, *content))

    def _bury(self, job: Job, error: Exception) -> None:
        trial, label = job
        if trial.id in self.ledger.records:
            return  # its record came before its death
        self.deaths[trial.id] += 1
        what = f"the task of {label}, seed {trial.seed}, died ({type(error).__name__})"
        if self.deaths[trial.id] < DEATHS:
            self.watcher.note(f"{what}; the trial goes on from its last epoch.")
            self.submit(job)
        else:
            self._fail(Failure(trial, label, f"{what}, {DEATHS} times in a row", str(error)))

    def _fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.watcher.failure(failure)


def work(job: Job, setup: Setup, data: bytes | None, folder: Path) -> Iterator[tuple[str, Any]]:
    """A task: what happens, as it happens: ("epoch", (done, state or None)), ("note", text), ("record", line) or
    ("error", (reason, details)). It works in ``folder``, where relative paths start, if its node has it."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
    try:
        yield from _train(job, setup, data)
    except BevelError as error:
        yield "error", (str(error), "")
    except Exception as error:
        reason = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        yield "error", (reason, traceback.format_exc())


def _train(job: Job, setup: Setup, data: bytes | None) -> Iterator[tuple[str, Any]]:
    from bevel_lab.runtime.determinism import deterministic
    from bevel_lab.runtime.device import as_device
    from bevel_lab.training.run import start

    invalid.silence_data_notes()
    trial, label = job
    notes: list[str] = []
    found = None
    try:
        found = checkpoint.decode(data, trial.id) if data else None
    except LabError as error:
        notes.append(f"{error}; trial {trial.id} starts again.")
    device = as_device(setup.device)
    with deterministic(trial.threads, device):
        trainer = start(trial, setup.source, device, found, notes.append)
        yield from (("note", note) for note in notes)
        sent = time.monotonic()
        while len(trainer.epochs) < trial.epochs:
            trainer.advance()
            state = None
            if time.monotonic() - sent >= setup.state_every:
                state, sent = checkpoint.encode(trainer.state()), time.monotonic()
            yield "epoch", (len(trainer.epochs), state)
        yield "record", result.record(trainer, label).to_json()
