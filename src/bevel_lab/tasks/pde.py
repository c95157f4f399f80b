"""Differential equations: a network becomes their solution; relative L2 error against the exact one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bevel.errors import InvalidValue
from bevel_lab.datasets.equations import Equation
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import Activation, Model
from bevel_lab.runtime.rng import generator
from bevel_lab.tasks import Shard, Task, evenly_spaced, sharded, whole_batch

PICTURES = 4
"""Test points that a record shows."""


class PDE(Task):
    """A network that solves an equation through its own derivatives; the exact solution only measures it.

    A model's ``build(activation, dimensions)`` returns a float64 network from N×d points to N×1 values, each of its own
    point alone. A training sample is a cell of the box: if the trial augments, its point is drawn anew every epoch;
    otherwise it is the midpoint. Validation and test have points of their own, whatever ``Trial.validation`` says.
    """

    name = "pde"
    data_types = (Equation,)
    metric = "relative_l2"
    lower_is_better = True
    log_scale = True
    input_shape, input_form = (1, 2), "N×d"
    data: Equation

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        super().__init__(trial, data, device)
        if trial.precision != "float32":
            raise InvalidValue(f"precision must be float32 for pde, whose models are float64; got {trial.precision!r}.")
        if trial.compile:
            raise InvalidValue("compile must be false for pde: torch.compile has no second derivatives; got True.")
        self.training = self.split(len(data.train), fraction=0.0)[0]
        self.samples, self.validated = len(self.training), len(data.validation)
        self.cell = data.cell.to(device)

    def build(self, activation: Activation) -> nn.Module:
        return self.model.build(activation, self.data.train.shape[1])

    @classmethod
    def without_data(
        cls, model: Model, activation: Activation, shape: tuple[int, ...]
    ) -> tuple[nn.Module, tuple[Any, ...]]:
        return model.build(activation, shape[1]), (torch.zeros(shape, dtype=torch.float64),)

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Tensor]:
        shape, draws = (self.samples, len(self.cell)), generator(seed, "points", epoch)
        inside = (
            torch.rand(shape, generator=draws, dtype=torch.float64) if self.trial.augment else torch.full(shape, 0.5)
        )
        for samples in sharded(order, shard):
            middle, moved = self.data.train[self.training[samples]], inside[samples] - 0.5
            yield middle.to(self.device) + self.cell * moved.to(self.device)

    def loss(self, model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        points = batch.detach().requires_grad_()
        return self.data.density(points, self.values(model, points)).mean(), {}

    def values(self, model: nn.Module, points: Tensor) -> Tensor:
        """The function that the network stands for, at N×d points: N."""
        return self.data.ansatz(points, model(points)[:, 0])

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._measure(model, self.data.validation)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._measure(model, self.data.test)

    def _measure(self, model: nn.Module, points: Tensor) -> dict[str, float]:
        points = points.to(self.device)
        exact = self.data.solution(points)
        error = (self.values(model, points) - exact).norm() / exact.norm()
        with torch.enable_grad():  # the loss itself differentiates
            loss = self.loss(model, points)[0]
        return {"loss": float(loss), "relative_l2": float(error)}

    def pictures(self, model: nn.Module) -> list[Picture]:
        chosen = self.data.test[evenly_spaced(self.tested, PICTURES)]
        points = chosen.to(self.device)
        found = zip(
            chosen.tolist(), self.data.solution(points).tolist(), self.values(model, points).tolist(), strict=True
        )
        return [
            Picture(
                title=f"test point {number + 1}",
                given=", ".join(f"{c:+.3f}" for c in point),
                truth=f"{exact:+.4f}",
                guess=f"{guess:+.4f}",
            )
            for number, (point, exact, guess) in enumerate(found)
        ]


ENTRIES = {PDE.name: PDE}
