"""What a task of the cluster tests does instead of a trial. The nodes import it, from the folder of this file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from bevel_lab.execution.executor import Setup
from bevel_lab.experiment.events import Event, Failure, Note
from bevel_lab.experiment.trial import Job


def kill_itself(job: Job, setup: Setup, data: bytes | None, folder: Path) -> Iterator[tuple[Event, bytes | None]]:
    """A task that kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)
    yield Note("still here"), None


def report_gpus(job: Job, setup: Setup, data: bytes | None, folder: Path) -> Iterator[tuple[Event, bytes | None]]:
    """A task that reports its GPUs and folders, and waits for the file ``done`` beside the ledger in between."""
    import ray

    yield Note(f"GPUs {ray.get_gpu_ids()}"), None
    while not (setup.states.parent / "done").exists():
        time.sleep(0.1)
    yield Failure(*job, f"data in {setup.source.root}, paths from {folder}", ""), None
