"""Tasks: what is learnt from what, and how it is measured. One a file, found by name.

A task is the only part of the lab that knows what a sample, a batch, a loss or a metric is: the trainer, the grid and
the report see opaque batches, one scalar to minimise, and numbers by name.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bevel.catalog import Catalog
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import Activation

Shard = Callable[[int], tuple[int, int]]
"""Number of a batch's samples → first and last (exclusive) of those that this process trains on."""


def whole_batch(count: int) -> tuple[int, int]:
    """The share of a process on its own."""
    return 0, count


class Task(abc.ABC):
    """A learning problem made ready for a trial: data on the device, validation part split off.

    The split is drawn from the stream ``generator(SHARED, "split")`` and is the same for all seeds and arms.

    Args:
        trial: what is to be run.
        data: the loaded data set; its type is an agreement between the data set and the task.
        device: where the data goes.

    Raises:
        InvalidValue: where trial, data set and model do not fit together.

    Attributes:
        metric: key of the headline number in what :meth:`test` returns; larger is better.
        metric_is_fraction: whether the metric lies between 0 and 1, which a report writes as per cent.
        samples: number of training samples, after the validation part is split off.
        validated, tested: number of samples that :meth:`validate` and :meth:`test` measure on; the latter is a fact of
            the data set, for which the test part is not touched.
        facts: what exactly the data is (numbers, digest, notes), for the record; may be empty.
    """

    metric: ClassVar[str]
    metric_is_fraction: ClassVar[bool] = False
    samples: int
    validated: int
    tested: int
    facts: Mapping[str, int | str] = MappingProxyType({})

    @abc.abstractmethod
    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None: ...

    @abc.abstractmethod
    def build(self, activation: Activation) -> nn.Module:
        """The trial's model on the CPU, with the activation at its call sites."""

    def initialize(self, model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
        """Draw the initial weights, leaving the modules of ``sites`` as they are; the default is He's rule."""
        he(model, sites, generator)

    @abc.abstractmethod
    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Any]:
        """An epoch's training batches on the device, augmented if the trial says so.

        Equal seeds and epochs give equal batches, whatever the arm, however the run was interrupted, and into however
        many shares a batch is cut: augmentation is drawn for whole batches, or for every sample by itself.

        Args:
            order: the samples of every whole batch (int64, CPU, 0 … samples − 1).
            seed, epoch: what the draws of augmentation follow from.
            shard: which part of every batch to give; by default all of it.
        """

    @abc.abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch's mean loss, to be minimised, and further means over the batch by name (detached scalars)."""

    @abc.abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Metrics on the validation part; ``model`` is in eval mode and no gradient is recorded."""

    @abc.abstractmethod
    def test(self, model: nn.Module) -> dict[str, float]:
        """Metrics on the test part; called once, after the last epoch, and nothing else reads that part."""

    def pictures(self, model: nn.Module) -> list[Picture]:
        """A few test samples, the same for every arm, with the truth and what ``model`` makes of them."""
        return []


def he(model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
    """He's initialisation: weights of linear maps and convolutions N(0, 2/fan_in), biases 0.

    One gain for all activations: a recipe fitted to an arm would be part of what is compared. Draws depend on the
    order of the modules only, so activations with and without parameters get the same weights.
    """
    skip = {id(m) for site in sites for m in site.modules()}
    for module in model.modules():
        if id(module) not in skip and isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


TASKS: Catalog[type[Task]] = Catalog("bevel_lab.tasks", "task")
