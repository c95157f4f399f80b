"""Boxes drawn on an image, small enough for a record."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevel_lab.tasks._legend import explained

WIDE = 176
"""Width of a picture in pixels."""
COLORS = 40
"""Colors of a picture: a photograph of that size has 10 kB then."""

PALETTE = ((230, 25, 75), (0, 130, 255), (60, 180, 75), (255, 225, 25), (240, 50, 230))
"""Red, green and blue of the first five classes; the others share them in their order."""


def drawn(image: Tensor, boxes: Tensor, labels: Tensor, size: tuple[int, int], classes: Sequence[str]) -> str:
    """A PNG file as a ``data:`` URI, with a legend of the classes that occur.

    Args:
        image: uint8 3×H×W, of any proportions.
        boxes, labels: float, N×4, in the image's pixels; int64, N.
        size: (height, width) that the image had before it was brought to its own.
        classes: names of the labels 1, 2, …
    """
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image
    from torchvision.utils import draw_bounding_boxes

    shape = [round(WIDE * size[0] / size[1]), WIDE]
    few = to_pil_image(resize(image, shape, antialias=True)).quantize(COLORS, dither=Image.Dither.NONE)
    small = pil_to_tensor(few.convert("RGB"))  # first, so that the colors of the boxes stay
    scale = torch.tensor([WIDE / image.shape[-1], shape[0] / image.shape[-2]] * 2)
    if len(boxes):
        small = draw_bounding_boxes(small, boxes.float() * scale, colors=[_color(n) for n in labels.tolist()], width=1)
    there = sorted(set(labels.tolist()))
    return explained(to_pil_image(small), [(classes[label - 1], _color(label)) for label in there])


def _color(label: int) -> tuple[int, int, int]:
    return PALETTE[(label - 1) % len(PALETTE)]
