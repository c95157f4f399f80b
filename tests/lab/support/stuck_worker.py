"""A driver whose worker hangs in the middle of an epoch.

Usage: ``python stuck_worker.py FOLDER``. Prints the worker's process id, and ``stuck`` when the worker hangs.
"""

import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

from small_trials import trial

from bevel_lab.data.source import Source
from bevel_lab.execution import workers
from bevel_lab.execution.executor import Setup


def _hang(*_: object, **__: object) -> None:
    print("stuck", flush=True)
    time.sleep(120)


def serve(connection: Connection, setup: Setup) -> None:
    with mock.patch("bevel_lab.training.run.trial_events", _hang):
        workers.serve(connection, setup, dict(os.environ))


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, Setup(Source(), "cpu", Path(sys.argv[1]))))
    process.start()
    print(process.pid, flush=True)
    ours.send((trial(), "stuck"))
    process.join()
