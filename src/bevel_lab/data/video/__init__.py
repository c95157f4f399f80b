"""Labeled clips: the data sets of video, made on the device (``moving``) or decoded from files (``from_files``)."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

Split = Literal["train", "test"]


class Clips(abc.ABC):
    """A data set of clips of one shape, in two parts; the task splits the validation part off ``train``.

    Attributes:
        labels: class of every clip of a part, int64 on the CPU, 0 … len(classes) − 1.
        classes: names of the classes.
        frames, channels, size: T, C and (H, W) of a clip.
        mean, std: per channel of pixels in [0, 1].
        facts: counts, a digest, a note.
        at_once: clips evaluated at once; the result's last bits depend on it, so it is fixed.
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
            part: the part of the data set.
            batches: numbers of the clips of every batch, int64 on the CPU.
            device: where the clips go.
            draw: (seed, epoch): the random choices for a clip follow from these and its number only. None: the fixed
                clips of evaluation.
        """
