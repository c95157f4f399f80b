"""A user's own task, in one file: it stands beside the lab and is run as ``python examples/custom_task.py compare …``.

Scikit-learn's diabetes data: ten measurements of 442 patients, and how far the disease went within a year.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from torch import Tensor, nn

from bevel_lab.cli import main
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS, DataSet
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, Activation, Model
from bevel_lab.runtime.rng import SHARED, generator
from bevel_lab.tasks import TASKS, Shard, Task, whole_batch

TEST = 88
"""Patients of the test part, a fifth."""


@dataclass(frozen=True)
class Table:
    """Float32 rows of features and, standardised, their target; the test part comes last."""

    x: Tensor
    y: Tensor


class Regression(Task):
    """A number from a row of numbers: mean squared error, R² (1: exact; 0: as good as the mean)."""

    metric = "r2"

    def __init__(self, trial: Trial, data: Table, device: torch.device) -> None:
        self.trial, self.x, self.y = trial, data.x.to(device), data.y.to(device)
        order = torch.randperm(len(data.x) - TEST, generator=generator(SHARED, "split"))
        held = round(len(order) * trial.validation)
        self.held, self.kept = order[:held], order[held:]
        self.samples, self.validated, self.tested = len(self.kept), len(self.held), TEST
        content = b"".join(part.numpy().tobytes() for part in (data.x, data.y))
        self.facts = {"train": len(order), "test": TEST, "digest": hashlib.sha256(content).hexdigest()[:16]}

    def build(self, activation: Activation) -> nn.Module:
        network: nn.Module = MODELS.item(self.trial.model).build(activation, self.x.shape[1])
        return network

    def batches(
        self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for samples in order:
            rows = self.kept[samples[slice(*shard(len(samples)))]]
            yield self.x[rows], self.y[rows]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return F.mse_loss(model(batch[0])[:, 0], batch[1]), {}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._measure(model, self.held)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._measure(model, torch.arange(len(self.x) - TEST, len(self.x)))

    def _measure(self, model: nn.Module, rows: Tensor) -> dict[str, float]:
        guess = model(self.x[rows])[:, 0].float().cpu()
        return {"r2": float(r2_score(self.y[rows].cpu(), guess))}

    def pictures(self, model: nn.Module) -> list[Picture]:
        return [
            Picture(
                title=f"patient {row % len(self.x)}",
                given=f"body mass index {float(self.x[row, 2]):+.2f}",
                truth=f"{float(self.y[row]):+.2f}",
                guess=f"{float(model(self.x[row : row + 1 or None])):+.2f}",
            )
            for row in (-3, -2, -1)
        ]


def _load(source: Source) -> Table:
    x, y = (torch.from_numpy(part).float() for part in load_diabetes(return_X_y=True))
    train = slice(None, -TEST)
    return Table((x - x[train].mean(0)) / x[train].std(0), (y - y[train].mean()) / y[train].std())


def _build(activation: Activation, inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 16), activation(16), nn.Linear(16, 1))


TASKS.register("regression", Regression)
DATASETS.register("diabetes", DataSet("442 patients, ten measurements; comes with scikit-learn", _load, "regression"))
MODELS.register("narrow", Model("one hidden layer of 16", _build, "regression"))

if __name__ == "__main__":
    sys.exit(main())
