"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def leave_with_parent(worker: int = 0) -> None:
    """Watch, from now on, for the end of the process that started this one, and leave at once then.

    Without it a killed parent leaves workers behind: one that reads data waits for somebody to take what it has read.

    Args:
        worker: not used; a ``DataLoader`` numbers its workers for its ``worker_init_fn``.
    """
    threading.Thread(target=_leave, daemon=True).start()


def _leave() -> None:
    """Wait until the parent is gone, then leave in the middle of whatever is going on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
