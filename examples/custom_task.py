"""A task of your own, in one file beside the lab: ``python examples/custom_task.py compare …`` knows it.

The data are scikit-learn's: ten measurements of 442 diabetes patients, and how far the disease went within a year.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from torch import Tensor, nn

from bevel_lab.cli import main
from bevel_lab.data.facts import Facts, digest, facts
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS, DataSet
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, Activation, Model
from bevel_lab.tasks import TASKS, Shard, Task, sharded, whole_batch

Batch = tuple[Tensor, Tensor]
TEST = 88
"""Patients of the test part, a fifth: the last ones."""


@dataclass(frozen=True)
class Table:
    """Float32 features, N×10, standardized targets, N, and what a record says of them."""

    x: Tensor
    y: Tensor
    facts: Facts


class Regression(Task):
    """A number from a row of numbers: mean squared error, R² (1: exact; 0: as good as the mean)."""

    name = "regression"
    data_types = (Table,)
    metric = "r2"

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        super().__init__(trial, data, device)
        self.x, self.y = data.x.to(device), data.y.to(device)
        self.training, self.validation = self.split(len(data.x) - TEST)
        self.samples, self.validated = len(self.training), len(self.validation)

    def build(self, activation: Activation) -> nn.Module:
        return self.model.build(activation, self.x.shape[1])

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Batch]:
        for samples in sharded(order, shard):
            rows = self.training[samples]
            yield self.x[rows], self.y[rows]

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return F.mse_loss(model(batch[0])[:, 0], batch[1]), {}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._r2(model, self.validation)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._r2(model, torch.arange(len(self.x))[-TEST:])

    def _r2(self, model: nn.Module, rows: Tensor) -> dict[str, float]:
        return {"r2": float(r2_score(self.y[rows].cpu(), model(self.x[rows])[:, 0].float().cpu()))}

    def pictures(self, model: nn.Module) -> list[Picture]:
        found = []
        for row in range(len(self.x) - 3, len(self.x)):
            given, guess = f"body mass index {self.x[row, 2]:+.2f}", f"{model(self.x[row, None]).item():+.2f}"
            found.append(Picture(title=f"patient {row}", given=given, truth=f"{self.y[row]:+.2f}", guess=guess))
        return found


def _load(source: Source) -> Table:
    x, y = (torch.from_numpy(part).float() for part in load_diabetes(return_X_y=True))
    x, y = ((part - part[:-TEST].mean(0)) / part[:-TEST].std(0) for part in (x, y))
    return Table(x, y, facts({"train": len(x) - TEST, "test": TEST}, digest([x.numpy().data, y.numpy().data])))


def _build(activation: Activation, inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 16), activation(16), nn.Linear(16, 1))


TASKS.register(Regression.name, Regression)
DATASETS.register("diabetes", DataSet("442 patients, ten measurements; comes with scikit-learn", _load, "regression"))
MODELS.register("narrow", Model("one hidden layer of 16", _build, "regression"))

if __name__ == "__main__":
    sys.exit(main())
