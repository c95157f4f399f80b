"""A clip as one picture: its frames side by side."""

from __future__ import annotations

import base64
import io

import torch.nn.functional as F
from torch import Tensor

HIGH = 48
"""Height of the strip in pixels, at most."""
COLORS = 64
"""Of a colored strip; with this many, eight frames take some 15 kB."""


def strip(clip: Tensor) -> str:
    """A PNG as a ``data:`` URI, one pixel between frames.

    Args:
        clip: uint8 T×C×H×W with 1 or 3 channels; frames higher than ``HIGH`` are made smaller.
    """
    from torchvision.transforms.v2.functional import resize, to_pil_image

    height, width = clip.shape[2:]
    if height > HIGH:
        clip = resize(clip, [HIGH, max(1, round(width * HIGH / height))], antialias=True)
    clip = F.pad(clip.cpu(), (0, 1), value=255)
    picture = to_pil_image(clip.permute(1, 2, 0, 3).flatten(2)[..., :-1])
    if picture.mode != "L":
        picture = picture.quantize(COLORS)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
