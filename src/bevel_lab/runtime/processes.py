"""Processes that end together with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def exit_with_parent(worker: int = 0) -> None:
    """Exit this process as soon as the process that started it ends.

    Otherwise a killed parent would leave workers behind: a data loader's worker waits until somebody takes its batch.

    Args:
        worker: unused; ``DataLoader`` passes the worker's number to its ``worker_init_fn``.
    """
    threading.Thread(target=_wait_and_exit, daemon=True).start()


def use_fork_server() -> None:
    """Start further processes as forks of a server process that has already imported what data loaders need.

    A spawned process would spawn its children, too, and import torch again for every epoch's loaders, which takes
    seconds. Only workers of an experiment call this: elsewhere the start method is the user's choice.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("forkserver", force=True)
        multiprocessing.set_forkserver_preload(["bevel_lab.training.trainer", "torchvision.transforms.v2"])


def _wait_and_exit() -> None:
    """Wait for the parent's end, then exit at once with ``os._exit``."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
