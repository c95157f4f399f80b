"""A driver whose worker is stuck in the middle of an epoch: run as a program, it prints the worker's process id."""

import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

from small import trial

from bevel_lab import grid
from bevel_lab.datasets import Source


def _stuck(*_: object, **__: object) -> None:
    print("stuck", flush=True)
    time.sleep(120)


def serve(connection: Connection, setup: grid.Setup) -> None:
    import bevel_lab.train

    bevel_lab.train.run = _stuck  # type: ignore[assignment]
    grid.serve(connection, setup)


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, grid.Setup(Source(), "cpu", Path("none"))))
    process.start()
    print(process.pid, flush=True)
    ours.send((trial(), "stuck"))
    process.join()
