"""Processes that end together with the process that started them."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext


def exit_with_parent(worker: int = 0) -> None:
    """Exit this process as soon as the process that started it ends.

    Otherwise a killed parent would leave workers behind: a data loader's worker waits until somebody takes its batch.

    Args:
        worker: unused; ``DataLoader`` passes the worker's number to its ``worker_init_fn``.
    """
    threading.Thread(target=_wait_and_exit, daemon=True).start()


def worker_context() -> ForkServerContext | SpawnContext:
    """How workers of an experiment start: on Linux as forks of a server that has imported torch, elsewhere spawned.

    An import of torch takes two seconds of a processor for each worker, and three more go to its compiler, which every
    optimizer imports. The server only imports: it starts no thread and touches no GPU, so its forks may. Other systems'
    libraries do not all survive a fork.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bevel_lab.training.run", "torch._dynamo"])
    return context


def use_fork_server() -> None:
    """Start further processes as forks of a server process that has already imported what data loaders need.

    A spawned process would spawn its children, too, and import torch again for every epoch's loaders, which takes
    seconds. Only workers of an experiment call this: elsewhere the start method is the user's choice.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("forkserver", force=True)
        multiprocessing.set_forkserver_preload(["bevel_lab.training.trainer", "torchvision.transforms.v2"])


def keep_bars_private() -> None:
    """Let progress bars of this process share no lock with others.

    torch.fx makes one when a model is exported; its lock is a semaphore of the system, of which Python says that it was
    leaked when a worker is ended.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("tqdm").tqdm.set_lock(threading.RLock())


def _wait_and_exit() -> None:
    """Wait for the parent's end, then exit at once with ``os._exit``."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
