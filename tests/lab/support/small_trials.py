"""Trials that take a fraction of a second."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from typing import Any

import psutil

import bevel
from bevel_lab.experiment.trial import Trial

RECIPE: dict[str, Any] = {"model": "mlp", "epochs": 3, "train_limit": 200, "batch_size": 25}


def trial(spec: str = "relu", **settings: Any) -> Trial:
    """A small trial of an activation, with other settings than :data:`RECIPE` if given."""
    return Trial(activation=bevel.canonical(spec), **(RECIPE | settings))


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Limit the files of this process and its children to ``room`` bytes: longer writes fail as on a full disk.

    The server that forks workers may be a child already, so that it cannot inherit the limit.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(to: tuple[int, int]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, to)
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.rlimit(psutil.RLIMIT_FSIZE, to)

    limit((room, before[1]))
    try:
        yield
    finally:
        limit(before)
