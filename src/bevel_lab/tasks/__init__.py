"""Tasks: what a model learns from what data, and how it is measured. One task a file, found by name.

Only a task knows what a sample, a batch, a loss or a metric is. The trainer, the executors and the report see opaque
batches, one scalar to minimize, and numbers by name.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bevel.catalog import Catalog
from bevel.errors import InvalidValue
from bevel_lab.data.facts import Facts
from bevel_lab.data.images import stratified
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS, Activation, Model
from bevel_lab.runtime.rng import SHARED, generator
from bevel_lab.tasks._measures import Measured, Units

Shard = Callable[[int], tuple[int, int]]
"""Number of samples in a batch → first and last (exclusive) sample that this process trains on."""


def whole_batch(count: int) -> tuple[int, int]:
    """The shard of a single process."""
    return 0, count


def sharded(order: Sequence[Tensor], shard: Shard) -> Iterator[Tensor]:
    """The samples of every batch that this process trains on."""
    return (samples[slice(*shard(len(samples)))] for samples in order)


class Task(abc.ABC):
    """A learning problem, ready for one trial: data on the device, validation part split off, model looked up.

    A subclass sets the class attributes, prepares its data in ``__init__``, and sets ``samples`` and ``validated``.

    Args:
        trial: what to run.
        data: the loaded data set; its type is an agreement between the data set and the task. Its attribute ``facts``
            says what exactly it is, as :func:`bevel_lab.data.facts.facts` makes it.
        device: where the data goes.

    Raises:
        InvalidValue: if trial, data set and model do not fit together.

    Attributes:
        name: the task's name in the registry.
        data_types: what the task can learn from.
        model_type: class of the task's registry entries for models.
        unsupported: fields of a trial that must be 0 or empty for this task.
        metric: key of the headline metric in the result of :meth:`test`.
        metric_is_fraction: whether the headline metric lies between 0 and 1, which a report writes as per cent.
        lower_is_better: whether lower values of it are better.
        log_scale: whether it is compared as its log10, such as a relative error.
        input_shape: shape of a small input of the models, e.g. ``(1, 3, 32, 32)``; () if :meth:`without_data` is not
            supported. ``input_form`` says what its entries are, e.g. ``"N×C×H×W"``.
        samples: number of training samples after the validation part is split off.
        validated, tested: numbers of samples that :meth:`validate` and :meth:`test` measure. ``tested`` comes from the
            facts of the data set: nothing reads the test part for it.
        facts: the data set's facts, for the record.
    """

    name: ClassVar[str]
    data_types: ClassVar[tuple[type, ...]]
    model_type: ClassVar[type[Model]] = Model
    unsupported: ClassVar[tuple[str, ...]] = ("mixup", "cutmix", "randaugment", "label_smoothing")
    metric: ClassVar[str]
    metric_is_fraction: ClassVar[bool] = False
    lower_is_better: ClassVar[bool] = False
    log_scale: ClassVar[bool] = False
    input_shape: ClassVar[tuple[int, ...]] = ()
    input_form: ClassVar[str] = ""
    CLASSES_WITHOUT_DATA: ClassVar[int] = 10
    data: Any
    model: Model
    samples: int
    validated: int
    tested: int
    facts: Facts

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        self.trial, self.data, self.device = trial, data, device
        self.model = MODELS.item(trial.model)
        if not isinstance(data, self.data_types):
            wanted = " or ".join(kind.__name__ for kind in self.data_types)
            raise InvalidValue(f"{self.name} takes {wanted}; data set {trial.dataset!r} gives {type(data).__name__}.")
        if self.model.task != self.name or not isinstance(self.model, self.model_type):
            raise InvalidValue(f"model {trial.model!r} is for {self.model.task}; choose one for {self.name}.")
        for field in self.unsupported:
            if value := getattr(trial, field):
                none = "false" if value is True else "0"
                raise InvalidValue(f"{field} must be {none} for {self.name}, got {value!r}.")
        if trial.measures and type(self).measure is Task.measure:
            raise InvalidValue(f"measures must be false for {self.name}, got True.")
        self.facts, self.tested = self.data.facts, int(self.data.facts["test"])

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise ``InvalidValue`` if images of (height, width) ``size`` are too small for the model."""
        if min(size) < self.model.min_size:
            raise InvalidValue(
                f"model {self.trial.model!r} takes images of at least {self.model.min_size} pixels a side; "
                f"{self.trial.dataset!r} has {size[0]}×{size[1]}."
            )

    def split(self, count: int, labels: Tensor | None = None, fraction: float | None = None) -> tuple[Tensor, Tensor]:
        """Split the training part of a data set into training and validation samples.

        The split depends on the data set, ``trial.validation`` and ``trial.train_limit`` only: it is the same for all
        seeds and arms.

        Args:
            count: number of samples to split.
            labels: int64, N: classes for a stratified split. None: the split is uniform.
            fraction: fraction of samples to hold out; ``trial.validation`` by default, 0 for a data set with a
                validation part of its own.

        Returns:
            Sorted indices of training and validation samples, int64 on the CPU.

        Raises:
            InvalidValue: if fewer than two samples are left for training, or a class has no sample.
        """
        fraction = self.trial.validation if fraction is None else fraction
        held_out = round(count * fraction)
        if labels is not None:
            labels = labels.cpu()
            validation, training = stratified(labels, held_out, generator(SHARED, "split"))
            if 0 < self.trial.train_limit < len(training):
                kept, _ = stratified(labels[training], self.trial.train_limit, generator(SHARED, "train limit"))
                training = training[kept]
            return training, validation
        held_out = max(1, held_out) if fraction else 0
        if count - held_out < 2:
            raise InvalidValue(f"training needs at least 2 samples; {held_out} of {count} are held out for validation.")
        order = torch.randperm(count, generator=generator(SHARED, "split"))
        training = order[held_out:][: self.trial.train_limit or None]
        return training.sort().values, order[:held_out].sort().values

    @abc.abstractmethod
    def build(self, activation: Activation) -> nn.Module:
        """Build the trial's model on the CPU, with the activation at its call sites."""

    @classmethod
    def without_data(
        cls, model: Model, activation: Activation, shape: tuple[int, ...]
    ) -> tuple[nn.Module, tuple[Any, ...]]:
        """Build a model and inputs for its forward in eval mode, for ``bevel inspect``, which has no data.

        Args:
            model: the registry entry.
            activation: as for :meth:`build`.
            shape: of the input, with as many entries as ``input_shape``.

        Raises:
            NotImplementedError: where a task has no ``input_shape``, which ``bevel inspect`` asks for first.
        """
        raise NotImplementedError(f"{cls.name} cannot build a model without data")

    def initialize(self, model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
        """Draw the initial weights with :func:`init_he`, unless the model keeps its own."""
        if not self.model.own_init:
            init_he(model, sites, generator)

    @abc.abstractmethod
    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Any]:
        """An epoch's training batches on the device, augmented if the trial says so.

        Equal seeds and epochs give equal batches, whatever the arm, wherever the run was interrupted, and into however
        many shards a batch is cut: augmentation is drawn for whole batches, or for every sample by itself.

        Args:
            order: the samples of every whole batch (int64, CPU, 0 … samples − 1).
            seed, epoch: determine the draws of augmentation.
            shard: which part of every batch to return; all of it by default.
        """

    @abc.abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch's mean loss, to be minimized, and further means over the batch by name (detached scalars)."""

    @abc.abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Metrics on the validation part; ``model`` is in eval mode and no gradient is recorded."""

    @abc.abstractmethod
    def test(self, model: nn.Module) -> dict[str, float]:
        """Metrics on the test part; called once, after the last epoch, and nothing else reads that part."""

    def measure(self, model: nn.Module, units: Units) -> Measured:
        """What else the trained model has on the test part, for ``trial.measures``.

        Args:
            model: in eval mode; no gradient is recorded.
            units: its activations, each with the axis of its units.

        Raises:
            NotImplementedError: where a task does not override it; a trial with ``measures`` of such a task is refused.
        """
        raise NotImplementedError(f"{self.name} has no further measures")

    def evaluation_seconds(self, model: nn.Module, forward: float) -> tuple[float, float]:
        """Estimate the seconds of :meth:`validate` and :meth:`test` without reading the test part.

        By default both are a forward pass a sample.

        Args:
            model: in eval mode; no gradient is recorded.
            forward: seconds of a forward pass, a sample.
        """
        return self.validated * forward, self.tested * forward

    def pictures(self, model: nn.Module) -> list[Picture]:
        """A few test samples, the same for every arm, with the truth and the model's answer."""
        return []


def init_he(model: nn.Module, sites: Iterable[nn.Module], generator: torch.Generator) -> None:
    """He's initialization: weights of linear maps and convolutions from N(0, 2/fan_in), biases 0.

    One gain serves all activations: a recipe fitted to an arm would be part of what is compared. Draws depend on the
    order of the modules only, so activations with and without parameters get the same weights.

    Args:
        model: changed in place.
        sites: modules to leave as they are: the activations.
        generator: source of the draws.
    """
    skip = {id(m) for site in sites for m in site.modules()}
    for module in model.modules():
        if id(module) not in skip and isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers 0 … count − 1, evenly spaced from 0.

    Example:
        >>> evenly_spaced(10, 3), evenly_spaced(2, 3)
        ([0, 3, 6], [0, 1])
    """
    return sorted({count * k // most for k in range(most)})


TASKS: Catalog[type[Task]] = Catalog("bevel_lab.tasks", "task")
