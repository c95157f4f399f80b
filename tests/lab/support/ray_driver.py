"""A driver for the cluster tests that tells all it is told.

Usage: ``python ray_driver.py ADDRESS FOLDER SETTINGS DEVICE WORK``: SETTINGS is the JSON of a list of
``Experiment.resolve``'s arguments, WORK is what the tasks do: ``train``, or one of :data:`WORKS`. Writes the ledger of
the grid into FOLDER, and prints what happens, one JSON object a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bevel_lab.data.source import Source
from bevel_lab.execution import ray_cluster
from bevel_lab.execution.job import Failure, Setup
from bevel_lab.execution.workers import Job
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial


class Watch:
    """Prints what it is told."""

    def epoch(self, trial: Trial, label: str, done: int) -> None:
        print(json.dumps(["epoch", trial.id, done]), flush=True)

    def record(self, record: Record) -> None:
        print(json.dumps(["record", record.trial.id, 0]), flush=True)

    def failure(self, failure: Failure) -> None:
        print(json.dumps(["failure", failure.reason, 0]), flush=True)

    def note(self, text: str) -> None:
        print(json.dumps(["note", text, 0]), flush=True)


def die(job: Job, setup: Setup, data: bytes | None, folder: Path) -> Iterator[tuple[str, Any]]:
    """A task that always takes its process with it."""
    os.kill(os.getpid(), signal.SIGKILL)
    yield "note", "still here"


def look(job: Job, setup: Setup, data: bytes | None, folder: Path) -> Iterator[tuple[str, Any]]:
    """A task that tells which GPUs Ray gave it, and where it works; waits for the file ``done`` beside the ledger."""
    import ray

    yield "note", f"GPUs {ray.get_gpu_ids()}"
    while not (setup.states.parent / "done").exists():
        time.sleep(0.1)
    yield "error", (f"data in {setup.source.root}, paths from {folder}", "")


WORKS = {"train": ray_cluster.work, "die": die, "look": look}


def main(address: str, out: Path, settings: list[dict[str, Any]], device: str, work: str) -> int:
    ray_cluster.work = WORKS[work]
    ray_cluster.PATIENCE = 1.0
    setup = Setup(Source(), device, out / "checkpoints", state_every=0.0)
    with Ledger(out) as ledger:
        jobs = [job for one in settings for job in Experiment.resolve(**one).trials()]
        return len(ray_cluster.run(jobs, ledger, setup, address, Watch()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), *sys.argv[4:]))
