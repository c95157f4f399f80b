"""Detectors of torchvision as the lab's: the trial's activation at their call sites, coordinates in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from bevel_lab.models import Activation, Model


@dataclass(frozen=True)
class Detector(Model):
    """A model for detection.

    ``build(activation, classes)`` makes torchvision's kind of network: in training mode it takes a list of images
    (float32, 3×H×W, 0 … 1) and one of targets (``boxes`` float32 N×4 in pixels, ``labels`` int64 N, 1 … classes) and
    gives losses by name; in evaluation mode it takes the images and gives ``boxes``, ``labels`` and ``scores`` of each.

    Attributes:
        side: height and width that it brings every image to; 0: it keeps their shape.
        augmentation: of training images: ``"flip"``; ``"crop"``, which crops around objects first; or ``"ssd"``, with
            colors and zooming out too.
    """

    side: int = 0
    augmentation: str = "flip"


def detector(
    summary: str,
    make: Callable[[int], nn.Module],
    *,
    full: tuple[str, ...] = ("backbone", "head"),
    side: int = 0,
    augmentation: str = "flip",
) -> Detector:
    """An entry of the registry; it keeps the initial values that torchvision draws, which suit its heads.

    Args:
        summary: one line for ``bevel list``.
        make: makes the network of a number of classes, the background among them, without any weights from elsewhere;
            imports torchvision itself.
        full: submodules whose results are brought to float32: under autocast the boxes that are made of them would
            have a pixel's error.
        side, augmentation: as of :class:`Detector`.
    """

    def build(activation: Activation, classes: int) -> nn.Module:
        network = make(classes + 1)
        for name in full:
            network.get_submodule(name).register_forward_hook(_in_full)
        transform: Any = network.get_submodule("transform")
        largest = transform.max_size
        if not side:
            transform.max_size = 64  # the example is run for real, and its call sites are the same at any size
        try:
            return activation.swap(network, *example())
        finally:
            transform.max_size = largest

    return Detector(summary, build, task="detection", own_init=True, side=side, augmentation=augmentation)


def example() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images (norms want more than one value) and targets that any detector takes."""
    target = {"boxes": torch.tensor([[10.0, 10.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    return [torch.zeros(3, 64, 64)] * 2, [target] * 2


def _in_full(module: nn.Module, given: Any, result: Any) -> Any:
    return _pytree.tree_map_only(Tensor, Tensor.float, result)
