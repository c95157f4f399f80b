"""Labelled clips: the values a video data set can be, made on the device (``moving``) or decoded (``files``)."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

Split = Literal["train", "test"]


class Clips(abc.ABC):
    """A data set of clips, all of one shape, in two parts; the validation part is split off ``train`` by the task.

    Attributes:
        labels: class of every clip of a part, int64 on the CPU, 0 … len(classes) − 1.
        classes: their names.
        frames, channels, size: T, C and (H, W) of a clip.
        mean, std: per channel of pixels in [0, 1].
        facts: what exactly the data is: numbers of clips, a digest, a note.
        at_once: clips evaluated at once; part of the result's last bits, therefore fixed.
    """

    labels: dict[Split, Tensor]
    classes: Sequence[str]
    frames: int
    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    facts: dict[str, int | str]
    at_once: ClassVar[int]

    @abc.abstractmethod
    def clips(
        self, part: Split, batches: Sequence[Tensor], device: torch.device, draw: tuple[int, int] | None = None
    ) -> Iterator[Tensor]:
        """The clips of every batch: uint8 B×T×C×H×W on ``device``.

        Args:
            part: which part the numbers in ``batches`` (int64, CPU) count.
            batches: lazily read, in order.
            device: where the clips go.
            draw: (seed, epoch): what is random of a clip follows from these and its number, and from nothing else.
                None: as for evaluation, always the same.
        """
