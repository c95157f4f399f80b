"""Models: one a file, found by name. A model gets the activation as a factory and never names one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from bevel_lab.registry import Registry


class Activation(Protocol):
    """What a builder is given: call it once per call site, in the order of the forward pass, or hand it a network."""

    def __call__(self, channels: int, dim: int = 1) -> nn.Module:
        """An activation for inputs with ``channels`` entries along ``dim``."""

    def swap(self, model: nn.Module, *example: Any) -> nn.Module:
        """Put activations, in place, where a finished network has its own; ``example`` is what it takes."""


@dataclass(frozen=True)
class Model:
    """An entry of the registry.

    Attributes:
        summary: one line for ``bevel list``.
        build: makes the network. Its arguments are an agreement between the model and its task; classification
            calls ``build(activation, in_channels, image_size, classes)`` with ``image_size`` as (height, width) and
            wants B×classes logits of B×in_channels×height×width images.
        task: name of the task it is for.
        min_size: least height and width of its images, in pixels.
        own_init: keep the initial weights that ``build`` drew from the global generator. By default tasks draw them by
            He's rule, which suits convolutions and batch norms but not, e.g., a transformer.
    """

    summary: str
    build: Callable[..., nn.Module]
    task: str = "classification"
    min_size: int = 1
    own_init: bool = False


MODELS: Registry[Model] = Registry("bevel_lab.models", "model")
