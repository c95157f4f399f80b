"""Labelled images as tensors: the value a classification data set is, its split, and its augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from bevel.errors import InvalidValue


@dataclass(frozen=True, eq=False)
class Part:
    """Images of one part: uint8, N×C×H×W, and their labels: int64, N."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape:
            raise InvalidValue(f"images are uint8, N×C×H×W, not empty; got {images.dtype} {tuple(images.shape)}.")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise InvalidValue(
                f"labels are int64, one an image; got {labels.dtype} {tuple(labels.shape)} for {len(images)} images."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str | torch.device) -> Part:
        return Part(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """An image classification data set.

    Attributes:
        train, test: the two parts; the validation part is split off ``train`` by the task.
        classes: number of classes; labels are 0 … classes − 1.
        flips: whether a mirrored image keeps its label.
        mean, std: per channel, of ``train`` scaled to [0, 1].
    """

    train: Part
    test: Part
    classes: int
    flips: bool
    mean: tuple[float, ...] = field(init=False)
    std: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("test", self.test)):
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= self.classes:
                raise InvalidValue(f"labels are 0 … {self.classes - 1}; the {name} part has {low} … {high}.")
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise InvalidValue("training and test images have one shape; these differ.")
        mean, std = _moments(self.train.images)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.train.images.shape[2], self.train.images.shape[3]


def _moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images scaled to [0, 1], exact: from the 256 counts."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = float(share @ values)
        means.append(mean)
        stds.append(max(float(share @ (values - mean) ** 2) ** 0.5, 1 / 255))
    return tuple(means), tuple(stds)


def stratified(labels: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw ``count`` samples with every class in its share; returns sorted indices (drawn, rest).

    Shares are rounded by the largest remainder (the lower class first), so that ``count`` is met exactly. Identical
    for equal labels and generator state.
    """
    total = len(labels)
    if not 0 < count < total:
        raise InvalidValue(f"a part drawn from {total} samples has 1 … {total - 1} of them; {count} were asked for.")
    sizes = torch.bincount(labels)
    # integers, because a share of 0.2·n computed in floats may fall on either side of a tie
    quota = sizes * count // total
    remainder = sizes * count - quota * total
    order = sorted(range(len(sizes)), key=lambda c: (-int(remainder[c]), c))
    for c in order[: count - int(quota.sum())]:
        quota[c] += 1
    drawn = []
    for c in range(len(sizes)):
        members = (labels == c).nonzero().flatten()
        drawn.append(members[torch.randperm(len(members), generator=generator)[: int(quota[c])]])
    taken = torch.zeros(total, dtype=torch.bool)
    taken[torch.cat(drawn)] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()


def normaliser(data: LabelledImages, device: str | torch.device) -> Callable[[Tensor], Tensor]:
    """uint8 B×C×H×W on ``device`` → float32, zero mean and unit variance over the training part."""
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
    scale, shift = 1 / (255 * std), -mean / std
    return lambda images: images.float().mul_(scale).add_(shift)


def augment(images: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    """Shift every image by up to an eighth of its side (zeros enter), and mirror half of them where ``flips``.

    Args:
        images: uint8, B×C×H×W; not changed.
        generator: on the images' device; a call draws the same amount whatever the images are.
    """
    batch, _, height, width = images.shape
    reach = max(1, min(height, width) // 8)
    draw = torch.rand(3, batch, 1, generator=generator, device=images.device)
    rows = torch.arange(height, device=images.device) + (draw[0] * (2 * reach + 1)).long()
    columns = torch.arange(width, device=images.device) + (draw[1] * (2 * reach + 1)).long()
    if flips:
        columns = torch.where(draw[2] < 0.5, columns.flip(1), columns)
    padded = F.pad(images, (reach, reach, reach, reach)).movedim(1, -1)
    sample = torch.arange(batch, device=images.device).view(-1, 1, 1)
    # one gather: B×H×W×C, back to a contiguous B×C×H×W
    return padded[sample, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
