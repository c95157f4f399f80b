"""The ``bevel`` command, in which every process keeps what it trains on in the first steps.

Usage: ``python parts.py FOLDER ARGUMENTS``. Data sets are "downloaded" from the folder in the variable ``MIRROR``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bevel_lab.running import Running

STEPS = 3
_step = Running.step


def keeping(folder: Path) -> Callable[[Running, int, Any, int], dict[str, Tensor]]:
    """``Running.step``, which writes its batch into ``folder`` first."""

    def step(self: Running, number: int, batch: Any, samples: int) -> dict[str, Tensor]:
        if number < STEPS:
            torch.save(batch, folder / f"{self.trial.activation}-{number}-{self.team.rank}.pt")
        return _step(self, number, batch, samples)

    return step


def kept(folder: Path, activation: str, number: int) -> tuple[Tensor, ...]:
    """The batch of all processes together."""
    parts = [torch.load(path) for path in sorted(folder.glob(f"{activation}-{number}-*.pt"))]
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


if __name__ == "__main__":
    from bevel_lab.cli import main

    if "MIRROR" in os.environ:
        import torchvision

        real = torchvision.datasets.MNIST
        real.mirrors = [Path(os.environ["MIRROR"]).as_uri() + "/"]
        real.resources = [(name, None) for name, _ in real.resources]  # packed anew; what is in them is checked
    Running.step = keeping(Path(sys.argv[1]))  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
