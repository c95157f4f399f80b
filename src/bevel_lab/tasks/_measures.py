"""What a trained classifier has beside its accuracy: calibration, robustness, dead units, what eight bits cost.

A pixel's step is 1/255 of the range of an image, whatever the normalization.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.data.images.normalize import Normalize
from bevel_lab.runtime.rng import SHARED, generator

NOISE = 8.0
"""Standard deviation of the noise, in steps of a pixel."""
EPSILON = 2.0
"""Size of FGSM's change, in steps of a pixel."""
BINS = 15
"""Bins of equal width that confidence is sorted into."""
VARIES = 1e-6
"""A unit whose output varies by less over the test part is dead."""

Batches = Iterable[tuple[Tensor, Tensor]]
"""Images, uint8 B×C×H×W, and labels, int64 B."""
Units = Sequence[tuple[nn.Module, int]]
"""Activations, each with the axis of its units."""


@dataclass(frozen=True)
class Measured:
    """Shares by name, and the predicted class of every test sample."""

    values: dict[str, float]
    classes: list[int]


def measure(
    model: nn.Module, units: Units, normalize: Normalize, test: Callable[[], Batches], validation: Batches
) -> Measured:
    """Measure a trained classifier on the test part; ``validation`` gives the ranges of eight bits.

    Args:
        model: in eval mode; normalized images → logits.
        units: the activations.
        normalize: uint8 images → the model's input.
        test, validation: batches of images.

    Returns:
        ``calibration_error``, ``noise_accuracy``, ``fgsm_accuracy``, ``int8_accuracy`` and ``dead_units``, each a share
        of one, and the classes.
    """
    extremes = [_Extremes(axis) for _, axis in units]
    classes: list[Tensor] = []
    gaps, hits, count = torch.zeros(BINS, dtype=torch.float64), dict.fromkeys(("noise", "fgsm", "int8"), 0), 0
    for number, (images, labels) in enumerate(test()):
        inputs = normalize(images)
        with _hooks([(unit, extreme) for (unit, _), extreme in zip(units, extremes, strict=True)]):
            confidence, guess = model(inputs).float().softmax(1).cpu().max(1)
        gaps.index_add_(0, _bins(confidence), (guess == labels.cpu()).double() - confidence.double())
        classes.append(guess)
        draws = torch.randn(inputs.shape, generator=generator(SHARED, "test noise", number)).to(inputs)
        hits["noise"] += _right(model, normalize.shifted(inputs, NOISE * draws), labels)
        hits["fgsm"] += _right(model, normalize.shifted(inputs, EPSILON * _slope(model, inputs, labels).sign()), labels)
        count += len(labels)
    with eight_bits(model, (normalize(images) for images, _ in validation)):
        hits["int8"] = sum(_right(model, normalize(images), labels) for images, labels in test())
    dead = [extreme.dead for extreme in extremes]
    values = {"calibration_error": float(gaps.abs().sum()) / count}
    values |= {f"{name}_accuracy": right / count for name, right in hits.items()}
    values["dead_units"] = sum(map(int, map(torch.sum, dead))) / max(1, sum(map(len, dead)))
    return Measured(values, torch.cat(classes).tolist())


def _bins(confidence: Tensor) -> Tensor:
    return (confidence * BINS).nan_to_num().long().clamp(0, BINS - 1)


def _right(model: nn.Module, inputs: Tensor, labels: Tensor) -> int:
    return int((model(inputs).argmax(1) == labels).sum())


def _slope(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the loss in the inputs."""
    with torch.enable_grad():
        moved = inputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(model(moved), labels, reduction="sum"), moved)
    return slope


@dataclass
class _Extremes:
    """A forward hook that keeps the least and the largest output of every unit."""

    axis: int
    low: Tensor = field(default_factory=lambda: torch.tensor(torch.inf))
    high: Tensor = field(default_factory=lambda: torch.tensor(-torch.inf))

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        rows = output.detach().movedim(self.axis, 0).flatten(1)
        self.low = torch.minimum(rows.amin(1), self.low.to(rows))
        self.high = torch.maximum(rows.amax(1), self.high.to(rows))

    @property
    def dead(self) -> Tensor:
        """bool, one a unit."""
        return (self.high - self.low) < VARIES


@contextlib.contextmanager
def _hooks(pairs: Iterable[tuple[nn.Module, Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def eight_bits(model: nn.Module, inputs: Iterable[Tensor]) -> Iterator[None]:
    """Round weights and inputs of convolutions and linear maps to eight bits inside the ``with`` block.

    Weights are rounded to 255 levels around 0, each output channel by itself; inputs to 256 levels between the least
    and the largest value that ``inputs`` gave there. The rest computes as before, so that what is measured is what
    rounding costs.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    ranges = {layer: _Range() for layer in layers}
    before = [layer.register_forward_pre_hook(seen) for layer, seen in ranges.items()]
    for batch in inputs:
        model(batch)
    for handle in before:
        handle.remove()
    weights = [layer.weight.data for layer in layers]
    handles = [layer.register_forward_pre_hook(seen.rounded) for layer, seen in ranges.items()]
    try:
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.data = _rounded_weight(weight)
        yield
    finally:
        for layer, weight, handle in zip(layers, weights, handles, strict=True):
            layer.weight.data = weight
            handle.remove()


def _rounded_weight(weight: Tensor) -> Tensor:
    largest = weight.abs().flatten(1).amax(1).clamp_min(torch.finfo(weight.dtype).tiny)
    step = (largest / 127).view(-1, *[1] * (weight.ndim - 1))
    return (weight / step).round() * step


@dataclass
class _Range:
    """A forward pre-hook that keeps the range of a layer's input, 0 in it."""

    low: Tensor = field(default_factory=lambda: torch.zeros(()))
    high: Tensor = field(default_factory=lambda: torch.zeros(()))

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        low, high = given[0].detach().float().aminmax()
        self.low, self.high = torch.minimum(self.low.to(low), low), torch.maximum(self.high.to(high), high)

    def rounded(self, module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = given
        step = ((self.high - self.low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
        zero = (-self.low / step).round()
        return (((x / step).round() + zero).clamp(0, 255).sub(zero).mul(step).to(x), *rest)
