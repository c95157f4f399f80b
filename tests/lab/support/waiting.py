"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE = 900.0
"""Seconds after which a process hangs: starting a cluster, five seconds here, took two minutes on a busy machine."""


def until(true: Callable[[], T], what: str, process: Popen[Any] | None = None) -> T:
    """What ``true`` gives as soon as it is something, or when ``process``, which should bring it about, has ended."""
    end = time.monotonic() + PATIENCE
    while not (found := true()) and (process is None or process.poll() is None):
        assert time.monotonic() < end, f"no {what} in {PATIENCE:.0f} seconds"
        time.sleep(0.02)
    return found
