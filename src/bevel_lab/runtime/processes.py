"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def exit_with_parent(worker: int = 0) -> None:
    """Watch, from now on, for the end of the process that started this one, and leave at once then.

    Without it a killed parent leaves workers behind: one that reads data waits for somebody to take what it has read.

    Args:
        worker: not used; a ``DataLoader`` numbers its workers for its ``worker_init_fn``.
    """
    threading.Thread(target=_leave, daemon=True).start()


def use_fork_server() -> None:
    """Let the processes that this one starts from now on be copies of one that has loaded what readers need.

    A spawned process spawns too, and every epoch's readers would import torch again: seconds for each of them. It is
    done by workers of a grid only: elsewhere the way in which processes start is the user's.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("forkserver", force=True)
        multiprocessing.set_forkserver_preload(["bevel_lab.training.trainer", "torchvision.transforms.v2"])


def _leave() -> None:
    """Wait until the parent is gone, then leave in the middle of whatever is going on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
