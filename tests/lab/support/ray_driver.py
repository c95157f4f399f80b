"""A driver for the cluster tests that prints every event.

Usage: ``python ray_driver.py ADDRESS FOLDER SETTINGS DEVICE WORK``: SETTINGS is the JSON of a list of
``Experiment.resolve``'s arguments, WORK is what the tasks do: one of :data:`WORKS`. Writes the ledger
into FOLDER, and prints events, one JSON list a line.
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
from bevel_lab.execution.executor import Setup
from bevel_lab.experiment.events import EpochDone, Event, Failure, Note
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Job


def print_event(event: Event) -> None:
    """Print an event."""
    if isinstance(event, EpochDone):
        said: list[Any] = ["epoch", event.trial.id, event.done]
    elif isinstance(event, Record):
        said = ["record", event.trial.id, 0]
    elif isinstance(event, Failure):
        said = ["failure", event.reason, 0]
    else:
        said = ["note", str(event), 0]
    print(json.dumps(said), flush=True)


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


WORKS = {"train": ray_cluster.perform_remotely, "die": kill_itself, "report_gpus": report_gpus}


def main(address: str, out: Path, settings: list[dict[str, Any]], device: str, work: str) -> int:
    ray_cluster.perform_remotely = WORKS[work]
    ray_cluster.PATIENCE = 1.0
    setup = Setup(Source(), device, out / "checkpoints", state_every=0.0)
    with Ledger(out) as ledger:
        jobs = [job for one in settings for job in Experiment.resolve(**one).trials()]
        return len(ray_cluster.Ray(address).run(jobs, ledger, setup, print_event))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), *sys.argv[4:]))
