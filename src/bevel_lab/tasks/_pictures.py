"""Pictures of samples for a record: boxes, masks and clips drawn small, as PNG files in ``data:`` URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bevel_lab.data.images.masks import VOID, Color

BOX_WIDTH, BOX_COLORS = 176, 40
"""Width in pixels and number of colors of an image with boxes: a photograph of that size then takes 10 kB."""
PALETTE = ((230, 25, 75), (0, 130, 255), (60, 180, 75), (255, 225, 25), (240, 50, 230))
"""Colors of the boxes of the first five classes; later classes repeat them in order."""
MASK_SIDE, MASK_COLORS = 160, 64
"""Longer side in pixels and number of colors of an image with or without a mask: 10 to 15 kB."""
OPACITY = 0.6
"""Opacity of a mask on its image."""
STRIP_HEIGHT, STRIP_COLORS = 48, 64
"""Largest height in pixels and number of colors of a clip: eight frames then take 15 kB."""
LINE, SWATCH, GAP = 12, 8, 3
"""Pixels of a legend: height of a line, side of a swatch, and the gap around both."""


def draw_boxes(image: Tensor, boxes: Tensor, labels: Tensor, size: tuple[int, int], classes: Sequence[str]) -> str:
    """The image with its boxes and a legend of their classes, as a PNG file in a ``data:`` URI.

    Args:
        image: uint8, 3×H×W, of any aspect ratio.
        boxes: float, N×4, in pixels of ``image``.
        labels: int64, N.
        size: (height, width) of the original image, which the picture restores in proportion.
        classes: names of the labels 1, 2, …
    """
    from torchvision.transforms.v2.functional import pil_to_tensor, resize, to_pil_image
    from torchvision.utils import draw_bounding_boxes

    height = round(BOX_WIDTH * size[0] / size[1])
    few = _quantized(to_pil_image(resize(image, [height, BOX_WIDTH], antialias=True)), BOX_COLORS)
    small = pil_to_tensor(few.convert("RGB"))  # quantized before the boxes are drawn, so that these keep their colors
    colors = {label: PALETTE[(label - 1) % len(PALETTE)] for label in labels.tolist()}
    if colors:
        scale = torch.tensor([BOX_WIDTH / image.shape[-1], height / image.shape[-2]] * 2)
        small = draw_bounding_boxes(small, boxes.float() * scale, colors=[colors[n] for n in labels.tolist()], width=1)
    return _with_legend(to_pil_image(small), [(classes[label - 1], color) for label, color in sorted(colors.items())])


def draw_image(image: Tensor) -> str:
    """The image, uint8 3×H×W, as a PNG file in a ``data:`` URI."""
    return _uri(_quantized(_shrunk(image), MASK_COLORS))


def draw_mask(image: Tensor, mask: Tensor, classes: Sequence[str], colors: Sequence[Color]) -> str:
    """The image through its mask, and a legend of the classes that occur, as a PNG file in a ``data:`` URI.

    Args:
        image: uint8, 3×H×W.
        mask: uint8, H×W: classes; ``VOID`` is drawn black.
        classes, colors: names and colors of all classes.
    """
    from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
    from torchvision.utils import draw_segmentation_masks

    small = pil_to_tensor(_shrunk(image))
    rows, columns = (
        torch.linspace(0.5, side - 0.5, part).long() for side, part in zip(mask.shape, small.shape[1:], strict=True)
    )
    mask = mask.cpu()[rows][:, columns]
    there = sorted(set(mask.flatten().tolist()))
    entries = [("void", (0, 0, 0)) if n == VOID else (classes[n], colors[n]) for n in there]
    layers = torch.stack([mask == n for n in there])
    drawn = draw_segmentation_masks(small, layers, OPACITY, colors=[color for _, color in entries])
    return _with_legend(_quantized(to_pil_image(drawn), MASK_COLORS), entries)


def draw_clip(clip: Tensor) -> str:
    """The frames with one white pixel between them, as a PNG file in a ``data:`` URI.

    Args:
        clip: uint8, T×C×H×W with 1 or 3 channels; frames higher than ``STRIP_HEIGHT`` are shrunk.
    """
    from torchvision.transforms.v2.functional import resize, to_pil_image

    height, width = clip.shape[2:]
    if height > STRIP_HEIGHT:
        clip = resize(clip, [STRIP_HEIGHT, max(1, round(width * STRIP_HEIGHT / height))], antialias=True)
    row = F.pad(clip.cpu(), (0, 1), value=255).permute(1, 2, 0, 3).flatten(2)
    picture = to_pil_image(row[..., :-1])
    return _uri(picture if picture.mode == "L" else _quantized(picture, STRIP_COLORS))


def _shrunk(image: Tensor) -> Any:
    """A Pillow image of at most ``MASK_SIDE`` pixels a side."""
    from PIL import Image
    from torchvision.transforms.v2.functional import to_pil_image

    whole = to_pil_image(image.cpu())
    factor = min(1.0, MASK_SIDE / max(whole.size))
    return whole.resize([max(1, round(side * factor)) for side in whole.size], Image.Resampling.BOX)


def _quantized(image: Any, colors: int) -> Any:
    """The image with at most ``colors`` colors, which makes its file small."""
    from PIL import Image

    return image.quantize(colors, dither=Image.Dither.NONE)


def _uri(image: Any) -> str:
    """The image as a PNG file in a ``data:`` URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _with_legend(image: Any, entries: Sequence[tuple[str, Color]]) -> str:
    """The image above a legend, as a PNG file in a ``data:`` URI.

    Args:
        image: a Pillow image with few colors, so that the legend keeps its own.
        entries: names of classes and their colors.
    """
    from PIL import Image

    legend = _legend(entries, image.width)
    canvas = Image.new("RGB", (image.width, image.height + legend.height))
    canvas.paste(image.convert("RGB"))
    canvas.paste(legend, (0, image.height))
    return _uri(_quantized(canvas, 256))


def _legend(entries: Sequence[tuple[str, Color]], width: int) -> Any:
    """Swatches and names, as many in a line as fit."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, LINE * max(1, len(entries))), "white")
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "1"  # no antialiasing, which would add colors
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
