"""Run trials on a Ray cluster, each as a task with its own CPUs and GPU.

Nothing is shared between nodes but what Ray carries: a task sends its state home after an epoch, where it becomes the
same checkpoint file that a local run writes, and starts from the state that it is given. So a worker or a node that
dies costs the epoch it was in, and a second's worth of shorter ones before it; so does the driver: its successor finds
the files. Every node needs bevel, and the files of data and weights under the paths that they have on the driver's
machine; relative ones start from its folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bevel.errors import InvalidValue
from bevel_lab.data import invalid
from bevel_lab.errors import LabError, first_line, optional_library
from bevel_lab.execution.executor import Driver, Executor, Setup, with_failure
from bevel_lab.experiment.events import EpochDone, Failure, Note, Outcome, Watcher
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.trial import Job, Trial
from bevel_lab.runtime import atomic_file

MAX_TASK_DEATHS = 3
"""Deaths of a trial's task without a new epoch between them after which the trial fails."""

ANSWER_WITHIN = 10.0
"""Seconds in which the head of a cluster must accept a connection and answer."""

_FRAME = 9
"""Bytes at the beginning of a frame of HTTP/2 (RFC 9113, 4.1): length, kind, flags, stream."""
_SETTINGS = b"\x04"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)
"""What a client of HTTP/2 sends first (RFC 9113, 3.4), with no settings."""

PATIENCE = 60.0
"""Seconds without an event after which the driver checks that a node of the cluster can run its trials."""


class Ray(Executor):
    """Runs every trial as a task of a Ray cluster.

    Args:
        address: of the cluster; ``auto`` is the one that this machine belongs to.

    Example:
        >>> Ray("auto").local_device("cpu")  # as in bevel_lab.run(..., executor=Ray("auto"))
        'cpu'
    """

    def __init__(self, address: str = "auto") -> None:
        self.address = address

    def run(self, jobs: Sequence[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> list[Failure]:
        """See :meth:`Executor.run`.

        Raises:
            BevelError: where Ray is missing, there is no such cluster, or no node of it can ever run one of the trials.
        """
        ray = _connect(self.address)
        root = setup.source.root.absolute()  # a task starts in a folder that Ray chooses
        setup = dataclasses.replace(setup, source=dataclasses.replace(setup.source, root=root))
        driver = Driver(jobs, ledger, setup, watcher, MAX_TASK_DEATHS)
        try:
            nodes = ray.nodes()
            for trial, _ in driver.todo:
                if lacking := wanting(request(trial, setup.device), nodes):
                    raise LabError(lacking)
            _Tasks(ray, driver).work()
        finally:
            ray.shutdown()  # this ends the tasks that still run
        return driver.failures

    def local_device(self, device: str) -> str:
        if device.startswith("cuda:"):
            raise InvalidValue(
                f"with --ray the device must be cpu or cuda: Ray chooses the GPU of a task; got {device}."
            )
        import torch

        return "cpu" if device == "cuda" and not torch.cuda.is_available() else device


def _connect(address: str) -> Any:
    with optional_library("--ray needs Ray", "cluster"):
        import ray
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise LabError(
            f"there is no Ray cluster at {address!r} ({first_line(error)}); `ray start --head` makes one."
        ) from error
    return ray


def _knock(address: str) -> None:
    """Raise ``OSError`` where nothing at HOST:PORT answers as Ray does; Ray itself would try for minutes.

    A head speaks gRPC, which is HTTP/2: both sides greet each other, and a server's greeting begins with its settings.
    Under TLS it is only seen whether somebody listens.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", address)
    place = urlsplit(address if "://" in address else f"//{address}")
    if not (place.hostname and place.port):
        return
    end = time.monotonic() + ANSWER_WITHIN
    with socket.create_connection((place.hostname, place.port), ANSWER_WITHIN) as head:
        if os.environ.get("RAY_USE_TLS", "0").lower() not in ("0", "false", ""):
            return
        head.sendall(_GREETING)
        answer = b""
        while len(answer) < _FRAME:
            head.settimeout(max(0.001, end - time.monotonic()))
            try:
                part = head.recv(_FRAME - len(answer))
            except TimeoutError:
                raise OSError(f"what listens at {place.netloc} does not answer") from None
            if not part:
                break
            answer += part
    if answer[3:4] != _SETTINGS:
        raise OSError(f"what listens at {place.netloc} is something else")


def request(trial: Trial, device: str) -> dict[str, int]:
    """Return the resources that Ray must reserve for a task of ``trial``, as options of the task."""
    return {"num_cpus": trial.threads, "num_gpus": int(device.startswith("cuda"))}


def wanting(asked: Mapping[str, int], nodes: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence if no living node has the resources that are ``asked`` for, else "".

    Ray would let such a task wait for ever, since a larger node may join later.

    Args:
        asked: options of a task, see :func:`request`.
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


class _Tasks:
    """Runs a driver's jobs as tasks of the cluster."""

    def __init__(self, ray: Any, driver: Driver) -> None:
        self.ray, self.driver = ray, driver
        self.running: dict[Any, Job] = {}
        self.warned = ""

    def work(self) -> None:
        while self.driver.todo:
            self._submit(self.driver.todo.popleft())
        while self.running:
            self._wait()

    def _submit(self, job: Job) -> None:
        trial, label = job
        state = self.driver.setup.state(trial)
        data = state.read_bytes() if state.exists() else None
        task = self.ray.remote(perform_remotely).options(
            **request(trial, self.driver.setup.device),
            max_retries=0,  # Ray has not got the newest state, from which a retry must start
            num_returns="streaming",
            name=f"{label}, seed {trial.seed}",
        )
        self.running[task.remote(job, self.driver.setup, data, Path.cwd())] = job

    def _wait(self) -> None:
        """Wait for the next event of any task, and act on it."""
        ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=PATIENCE)
        if not ready:
            self._warn_where_no_node_has_room()
        for stream in ready:
            job = self.running[stream]
            try:
                event, state = self.ray.get(next(stream))
            except StopIteration:
                del self.running[stream]  # the task has ended; its record or failure came before
            except self.ray.exceptions.RayError as error:
                del self.running[stream]
                how = f"the task of {job[1]}, seed {job[0].seed}, died ({type(error).__name__})"
                if self.driver.died(job, how, str(error)):
                    self._submit(job)
            else:
                if state is not None:
                    atomic_file.write(self.driver.setup.state(job[0]), state)
                self.driver.hear(event)

    def _warn_where_no_node_has_room(self) -> None:
        nodes = self.ray.nodes()
        lacking = [wanting(request(trial, self.driver.setup.device), nodes) for trial, _ in self.running.values()]
        if all(lacking) and lacking[0] != self.warned:
            self.warned = lacking[0]
            self.driver.watcher(Note(f"waiting: {self.warned}"))


def perform_remotely(
    job: Job, setup: Setup, data: bytes | None, folder: Path
) -> Iterator[tuple[Outcome, bytes | None]]:
    """Run a trial as a task; yield its events, each with the content of a new checkpoint file or None.

    Args:
        job: what to run.
        setup: what the trials share.
        data: the content of the checkpoint file to go on from.
        folder: where relative paths start; the task works there if its node has it.
    """
    with contextlib.suppress(OSError):
        os.chdir(folder)
    from bevel_lab.training import checkpoint
    from bevel_lab.training.run import trial_events

    invalid.silence_data_notes()
    trial, label = job
    states: list[bytes] = []
    events = trial_events(
        trial, label=label, source=setup.source, device=setup.device,
        load=lambda: checkpoint.decode(data, trial.id) if data else None,
        save=lambda state: states.append(checkpoint.encode(state)), save_every=setup.state_every,
    )  # fmt: skip
    for event in with_failure(job, events):
        yield event, states.pop() if isinstance(event, EpochDone) and states else None
