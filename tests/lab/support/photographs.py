"""Pieces of the two photographs that come with scikit-learn, a temple and a flower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("flower", "temple")


def pieces(count: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Squares cut out at random, as many of one photograph as of the other.

    Returns:
        (uint8 count×side×side×3, int64 count: numbers of ``NAMES``).
    """
    from sklearn.datasets import load_sample_image

    whole = [load_sample_image(name) for name in ("flower.jpg", "china.jpg")]
    draw, found = np.random.default_rng(seed), []
    for i in range(count):
        height, width, _ = whole[i % 2].shape
        top, left = draw.integers(height - side + 1), draw.integers(width - side + 1)
        found.append(whole[i % 2][top : top + side, left : left + side])
    return np.stack(found), np.arange(count) % 2


def folder(root: Path, counts: dict[str, int], side: int) -> Path:
    """``root/PART/NAME/*.jpg`` with so many pieces of each part."""
    for seed, (part, count) in enumerate(counts.items()):
        for i, (pixels, label) in enumerate(zip(*pieces(count, side, seed), strict=True)):
            path = root / part / NAMES[label] / f"{i:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=95)
    return root


def scene(number: int, size: tuple[int, int] = (48, 64)) -> tuple[np.ndarray, np.ndarray]:
    """A piece of either photograph and a mask of it: 0 where it is bluish, 1 where it is reddish, 2 where it is dark.

    Args:
        number: which one; equal numbers give equal pieces.
        size: (height, width).
    """
    pixels = pieces(2, max(size), number)[0][number % 2][: size[0], : size[1]]
    red, _, blue = pixels.astype(int).transpose(2, 0, 1)
    return pixels, np.where(pixels.max(2) < 70, 2, red > blue).astype(np.uint8)
