"""Detectors of torchvision as registry entries: with the trial's activation, and coordinates in float32."""

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

    ``build(activation, classes)`` returns torchvision's kind of network. In training mode it takes a list of images
    (float32, 3×H×W, in [0, 1]) and a list of targets (``boxes`` float32 N×4 in pixels, ``labels`` int64 N, 1 … classes)
    and returns losses by name; in evaluation mode it takes images and returns ``boxes``, ``labels`` and ``scores`` of
    each.

    Attributes:
        side: height and width that the network resizes every image to; 0: it keeps the aspect ratio.
        augmentation: of training images: ``"flip"``; ``"crop"``: crops around objects, then flip; ``"ssd"``: random
            colors and zooming out, then crop and flip.
    """

    side: int = 0
    augmentation: str = "flip"


def detector(
    summary: str,
    make: Callable[[int], Any],
    *,
    full: tuple[str, ...] = ("backbone", "head"),
    side: int = 0,
    augmentation: str = "flip",
) -> Detector:
    """A registry entry that keeps the initial values that torchvision draws, which suit its heads.

    Args:
        summary: one line for ``bevel list``.
        make: number of classes, the background among them → the network, without pretrained weights; imports
            torchvision itself.
        full: submodules whose results become float32: under autocast the boxes made of them would be off by a pixel.
        side, augmentation: as of :class:`Detector`.
    """

    def build(activation: Activation, classes: int) -> nn.Module:
        network = make(classes + 1)
        for name in full:
            network.get_submodule(name).register_forward_hook(_to_float32)
        transform: Any = network.get_submodule("transform")
        largest = transform.max_size
        if not side:
            transform.max_size = 64  # the example is really computed, and call sites do not depend on the size
        try:
            return activation.swap(network, *example(network))
        finally:
            transform.max_size = largest

    return Detector(summary, build, task="detection", own_init=True, side=side, augmentation=augmentation)


def example(network: nn.Module) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images and targets that any detector takes; one where no batch norm needs more than one value.

    SSD300's VGG-16 has no norm and takes more than half a second for an image, which it brings to 300×300.
    """
    count = 2 if any(isinstance(m, nn.BatchNorm2d) for m in network.modules()) else 1
    target = {"boxes": torch.tensor([[10.0, 10.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    return [torch.zeros(3, 64, 64)] * count, [target] * count


def _to_float32(module: nn.Module, given: Any, result: Any) -> Any:
    return _pytree.tree_map_only(Tensor, Tensor.float, result)
