"""Images and masks drawn small enough for a record."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bevel_lab.images.masked import VOID, Colour

LONG = 160
"""The longer side of a picture in pixels."""
COLOURS = 64
"""Colours of a photograph: that size has 10 to 15 kB then."""


def photograph(image: Tensor) -> str:
    """Uint8 3×H×W → a PNG file as a ``data:`` URI."""
    from PIL import Image

    whole = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    return _uri(whole.resize(_small(whole), Image.Resampling.BOX).quantize(COLOURS, dither=Image.Dither.NONE))


def painted(mask: Tensor, colours: Sequence[Colour]) -> str:
    """Uint8 H×W of classes → a PNG file as a ``data:`` URI, a colour a class; void is black."""
    from PIL import Image

    whole = Image.fromarray(mask.cpu().numpy(), "P")
    palette = [*colours, *[(0, 0, 0)] * (VOID + 1 - len(colours))]
    whole.putpalette([part for colour in palette for part in colour])
    return _uri(whole.resize(_small(whole), Image.Resampling.NEAREST))


def _small(image: Any) -> tuple[int, int]:
    """(width, height), shrunk where it is large."""
    factor = min(1.0, LONG / max(image.size))
    return max(1, round(image.width * factor)), max(1, round(image.height * factor))


def _uri(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
