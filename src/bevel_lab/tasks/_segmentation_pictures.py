"""Images and masks drawn small enough for a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bevel_lab.data.images.masks import VOID, Color
from bevel_lab.tasks._legend import explained, uri

LONG = 160
"""The longer side of a picture in pixels."""
COLORS = 64
"""Colors of a photograph: that size has 10 to 15 kB then."""
OPACITY = 0.6
"""Of a mask on its image."""


def photograph(image: Tensor) -> str:
    """Uint8 3×H×W → a PNG file as a ``data:`` URI."""
    return uri(_quantized(_shrunk(image)))


def painted(image: Tensor, mask: Tensor, classes: Sequence[str], colors: Sequence[Color]) -> str:
    """A PNG file as a ``data:`` URI: the image through its mask, and below it which color is which class.

    Args:
        image: uint8 3×H×W.
        mask: uint8 H×W of classes; ``VOID`` is black.
        classes, colors: of the classes; what is named is what occurs.
    """
    from torchvision.transforms.v2.functional import pil_to_tensor
    from torchvision.utils import draw_segmentation_masks

    small = _shrunk(image)
    places = [
        torch.linspace(0.5, side - 0.5, part).long() for side, part in zip(mask.shape, small.size[::-1], strict=True)
    ]
    mask = mask.cpu()[places[0]][:, places[1]]
    there = sorted(set(mask.flatten().tolist()))
    entries = [("void", (0, 0, 0)) if n == VOID else (classes[n], colors[n]) for n in there]
    layers = torch.stack([mask == n for n in there])
    drawn = draw_segmentation_masks(pil_to_tensor(small), layers, OPACITY, colors=[color for _, color in entries])
    return explained(_quantized(_image(drawn)), entries)


def _image(pixels: Tensor) -> Any:
    from PIL import Image

    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def _shrunk(image: Tensor) -> Any:
    """As an image of Pillow's, shrunk where it is large."""
    from PIL import Image

    whole = _image(image)
    factor = min(1.0, LONG / max(whole.size))
    width, height = (max(1, round(side * factor)) for side in whole.size)
    return whole.resize((width, height), Image.Resampling.BOX)


def _quantized(image: Any) -> Any:
    from PIL import Image

    return image.quantize(COLORS, dither=Image.Dither.NONE)
