"""Image files of every depth and orientation: what is read is what a person sees, or the file is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bevel_lab.data.images.image_file import read_image
from bevel_lab.errors import LabError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
"""All values of a byte."""


def _read(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("low", [0, 255])
def test_sixteen_bits_are_scaled_by_their_range(tmp_path: Path, suffix: str, low: int) -> None:
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(RAMP.astype(np.uint16) * 256 + low).save(path)
    assert np.array_equal(_read(path), np.repeat(RAMP[..., None], 3, 2))


@pytest.mark.parametrize(("kind", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_values_without_a_range_are_refused_by_name(tmp_path: Path, kind: type, mode: str) -> None:
    path = tmp_path / "values.tiff"
    Image.fromarray((RAMP / 255).astype(kind)).save(path)
    with pytest.raises(
        LabError, match=rf"values.tiff has pixels of Pillow's mode {mode}, whose range .*; write it with 8"
    ):
        read_image(path)
