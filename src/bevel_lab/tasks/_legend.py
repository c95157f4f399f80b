"""Which color is which class, below a picture; and pictures as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

LINE, SWATCH, GAP = 12, 8, 3
"""Pixels of a legend: its lines' height, a swatch's side, and what lies between things."""


def explained(image: Any, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> str:
    """An image of Pillow's with a legend below it, as a PNG file in a ``data:`` URI.

    Args:
        image: with few colors, so that the legend's keep theirs.
        entries: names and their colors (red, green, blue), 0 to 255.
    """
    from PIL import Image

    below = _legend(entries, image.width)
    canvas = Image.new("RGB", (image.width, image.height + below.height))
    canvas.paste(image.convert("RGB"))
    canvas.paste(below, (0, image.height))
    return uri(canvas.quantize(256, dither=Image.Dither.NONE))


def uri(image: Any) -> str:
    """An image of Pillow's as a PNG file in a ``data:`` URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _legend(entries: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> Any:
    """Swatches and names, as many side by side as there is room for."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, LINE * max(1, len(entries))), "white")
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "1"  # black and white only: no color is added
    left = line = 0
    for name, color in entries:
        long = SWATCH + GAP + round(draw.textlength(name)) + GAP
        if left and left + long > width:
            left, line = 0, line + 1
        top = line * LINE + (LINE - SWATCH) // 2
        draw.rectangle((left, top, left + SWATCH - 1, top + SWATCH - 1), fill=color)
        draw.text((left + SWATCH + GAP, line * LINE), name, fill="black")
        left += long + 2 * GAP
    return canvas.crop((0, 0, width, (line + 1) * LINE))
