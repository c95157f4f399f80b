"""A segmentation data set of simple scenes: sky above a road with a building on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from bevel_lab.data.images.masks import VOID

Draw = Callable[[int, tuple[int, int]], tuple[np.ndarray, np.ndarray]]
NAMES = ["sky", "building", "road"]


def draw_scene(number: int, size: tuple[int, int] = (48, 64)) -> tuple[np.ndarray, np.ndarray]:
    """Draw a noisy image of sky above a road with a building on it, void between; return image and mask."""
    draw = np.random.default_rng(number)
    mask = np.zeros(size, np.uint8)
    line = size[0] // 2 + draw.integers(-6, 6)
    mask[line:] = 2
    mask[line - 1 : line + 1] = VOID
    left = draw.integers(4, size[1] - 24)
    mask[line - 12 : line + 4, left : left + 16] = 1
    image = np.array([[90, 140, 230], [150, 90, 60], [80, 80, 80]])[mask % 3] + draw.normal(0, 12, (*size, 3))
    return image.clip(0, 255).astype(np.uint8), mask


def write_scenes(
    folder: Path,
    images: str,
    masks: str,
    count: int,
    first: int,
    size: tuple[int, int] = (48, 64),
    draw: Draw = draw_scene,
) -> None:
    """Write ``count`` scenes from number ``first`` on into the folders ``images`` and ``masks`` of ``folder``."""
    for number in range(first, first + count):
        image, mask = draw(number, size)
        for name, pixels, suffix in ((images, image, "jpg"), (masks, mask, "png")):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.{suffix}")


def write_parts(root: Path, parts: dict[str, tuple[int, int]], draw: Draw = draw_scene) -> Path:
    """Write a data set that ``folder_masks:`` reads.

    Args:
        root: its folder.
        parts: number of scenes and the first one's, by part.
        draw: (number, size) → image and mask of three classes.
    """
    for part, (count, first) in parts.items():
        write_scenes(root / part, "images", "masks", count, first, draw=draw)
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root
