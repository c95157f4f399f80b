"""From uint8 images to a network's input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalize:
    """uint8 B×C×H×W in [0, 255] → float32 with zero mean and unit variance over the training part.

    Args:
        mean, std: per channel, of pixels scaled to [0, 1].
        channels_last: whether the result is in the channels-last memory format.
        device: device of the images.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels_last: bool, device: torch.device) -> None:
        center, spread = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, std))
        self.scale, self.shift = 1 / (255 * spread), -center / spread
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def shifted(self, inputs: Tensor, steps: Tensor) -> Tensor:
        """Normalized ``inputs`` moved by so many of a pixel's 255 steps, and kept within a pixel's range."""
        moved = inputs + steps * self.scale
        return torch.minimum(torch.maximum(moved, self.shift), 255 * self.scale + self.shift)

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(torch.float32, memory_format=self.layout).mul_(self.scale).add_(self.shift)
