"""The ``bevel`` command, in which every process records the batches of the first steps.

Usage: ``python batch_recorder.py FOLDER ARGUMENTS``.
It has one more data set, ``slow_digits``, whose download takes two seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS, DataSet
from bevel_lab.errors import LabError
from bevel_lab.training.trainer import Trainer

STEPS = 3
EXTRA_SECONDS = 0.1
"""Seconds that a step takes longer: a trial must outlast the second between two checkpoints to be killed after one."""
_step = Trainer.step


def recording_step(folder: Path, pace: float = 0.0) -> Callable[[Trainer, int, Any, int], dict[str, Tensor]]:
    """``Trainer.step``, which saves its batch in ``folder`` first and takes ``pace`` seconds longer."""

    def step(self: Trainer, number: int, batch: Any, samples: int) -> dict[str, Tensor]:
        if number < STEPS and samples > 2:  # a batch of two belongs to the rehearsal
            torch.save(batch, folder / f"{self.trial.activation}-{number}-{self.group.rank}.pt")
        time.sleep(pace)
        return _step(self, number, batch, samples)

    return step


def recorded_batch(folder: Path, activation: str, number: int) -> tuple[Tensor, ...]:
    """The recorded batch, put together from all processes."""
    parts = [torch.load(path) for path in sorted(folder.glob(f"{activation}-{number}-*.pt"))]
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def _load_slowly(source: Source) -> Any:
    file = source.root / "slow"
    if source.download:
        time.sleep(2)
        with file.open("a") as log:
            log.write("downloaded\n")
    if not file.exists():
        raise LabError(f"there is no file {file}")
    return DATASETS.item("digits").load(source)


DATASETS.register("slow_digits", DataSet("digits that are downloaded slowly", _load_slowly))

if __name__ == "__main__":
    from bevel_lab.cli import main

    Trainer.step = recording_step(Path(sys.argv[1]), EXTRA_SECONDS)  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
