"""Models: one a file, found by name. A model calls a factory for its activations and never names one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bevel_lab.registry import Registry

if TYPE_CHECKING:  # experiments and reports know the names of models; torch takes 2 s
    from torch import nn


class Activation(Protocol):
    """The activation of a trial, for a model's builder.

    A builder calls it once per call site, in the order of the forward pass, or lets it swap the activations of a
    finished network.
    """

    def __call__(self, channels: int, dim: int = 1) -> nn.Module:
        """An activation module for inputs with ``channels`` entries along ``dim``."""

    def swap(self, model: nn.Module, *example: Any) -> nn.Module:
        """Replace a finished network's own activations, in place; ``example`` are its inputs."""


@dataclass(frozen=True)
class Model:
    """An entry of the registry.

    Attributes:
        summary: one line for ``bevel list``.
        build: makes the network on the CPU. Its arguments are an agreement between the model and its task: see the
            task's class. Classification calls ``build(activation, in_channels, image_size, classes)``.
        task: name of the task.
        min_size: least height and width of its images, in pixels.
        own_init: whether the network keeps the initial weights that ``build`` drew from the global generator. By
            default tasks draw them by He's rule, which suits convolutions and batch norms but not, e.g., transformers.
    """

    summary: str
    build: Callable[..., nn.Module]
    task: str = "classification"
    min_size: int = 1
    own_init: bool = False


MODELS: Registry[Model] = Registry("bevel_lab.models", "model")
