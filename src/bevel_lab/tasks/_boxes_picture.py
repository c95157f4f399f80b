"""Boxes drawn on an image, small enough for a record."""

from __future__ import annotations

import base64
import io

import torch
from torch import Tensor

WIDE = 176
"""Width of a picture in pixels."""
COLOURS = 40
"""Colours of a picture: a photograph of that size has 10 kB then."""

NAMED = {"red": "#e6194b", "blue": "#0082ff", "green": "#3cb44b", "yellow": "#ffe119", "magenta": "#f032e6"}


def legend(labels: list[int], classes: tuple[str, ...]) -> str:
    """Which class has which colour, for the first five classes; the others share the colours in their order."""
    names = list(NAMED)
    return ", ".join(f"{classes[label - 1]} {names[(label - 1) % len(names)]}" for label in sorted(set(labels)))


def drawn(image: Tensor, boxes: Tensor, labels: Tensor, size: tuple[int, int]) -> str:
    """A PNG file as a ``data:`` URI.

    Args:
        image: uint8 3×H×W, of any proportions.
        boxes, labels: float, N×4, in the image's pixels; int64, N.
        size: (height, width) that the image had before it was brought to its own.
    """
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image
    from torchvision.utils import draw_bounding_boxes

    shape = [round(WIDE * size[0] / size[1]), WIDE]
    few = to_pil_image(resize(image, shape, antialias=True)).quantize(COLOURS, dither=Image.Dither.NONE)
    small = pil_to_tensor(few.convert("RGB"))  # first, so that the colours of the boxes stay
    scale = torch.tensor([WIDE / image.shape[-1], shape[0] / image.shape[-2]] * 2)
    if len(boxes):
        colours = [list(NAMED.values())[(label - 1) % len(NAMED)] for label in labels.tolist()]
        small = draw_bounding_boxes(small, boxes.float() * scale, colors=colours, width=1)
    buffer = io.BytesIO()
    to_pil_image(small).quantize(COLOURS + len(NAMED)).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
