"""The ``bevel`` command, in which every process keeps what it trains on in the first steps.

Usage: ``python batch_recorder.py FOLDER ARGUMENTS``.
One more data set is there, ``slow_digits``, whose download takes its time.
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
PACE = 0.1
"""Seconds more for a step: a trial must outlast the second between its checkpoints to be killed after one."""
_step = Trainer.step


def keeping(folder: Path, pace: float = 0.0) -> Callable[[Trainer, int, Any, int], dict[str, Tensor]]:
    """``Trainer.step``, which writes its batch into ``folder`` first and takes ``pace`` seconds more."""

    def step(self: Trainer, number: int, batch: Any, samples: int) -> dict[str, Tensor]:
        if number < STEPS and samples > 2:  # two are a rehearsal
            torch.save(batch, folder / f"{self.trial.activation}-{number}-{self.group.rank}.pt")
        time.sleep(pace)
        return _step(self, number, batch, samples)

    return step


def kept(folder: Path, activation: str, number: int) -> tuple[Tensor, ...]:
    """The batch of all processes together."""
    parts = [torch.load(path) for path in sorted(folder.glob(f"{activation}-{number}-*.pt"))]
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def _slow(source: Source) -> Any:
    file = source.root / "slow"
    if source.download:
        time.sleep(2)
        with file.open("a") as log:
            log.write("downloaded\n")
    if not file.exists():
        raise LabError(f"there is no file {file}")
    return DATASETS.item("digits").load(source)


DATASETS.register("slow_digits", DataSet("digits that are downloaded slowly", _slow))

if __name__ == "__main__":
    from bevel_lab.cli import main

    Trainer.step = keeping(Path(sys.argv[1]), PACE)  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
