"""Image files of every depth and orientation: what is read is what a person sees, or the file is refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import box_data
import numpy as np
import pytest
import scene_data
import torch
from PIL import Image, ImageOps

from bevel_lab.data.images.image_file import TURNED, image_size, read_image
from bevel_lab.data.source import Source
from bevel_lab.datasets import load
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


ORIENTATIONS = range(1, 9)
"""Values of the EXIF tag: 1 is upright, those from 5 on lie on their side."""


def _photo(path: Path, orientation: int, side: int = 24) -> np.ndarray:
    """A picture that a camera stored in this orientation, wider than high; returns what a person sees of it."""
    pixels = np.zeros((side * 2 // 3, side, 3), np.uint8)
    pixels[: side // 3, : side // 2] = 250
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    with Image.open(path) as stored:
        return np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.filterwarnings("ignore::bevel_lab.data.invalid.DataNote")
def test_photos_are_upright_and_so_is_their_size(tmp_path: Path, orientation: int) -> None:
    seen = _photo(tmp_path / "photo.png", orientation)
    assert np.array_equal(_read(tmp_path / "photo.png"), seen)
    for whole in (True, False):
        assert (
            image_size(tmp_path / "photo.png", whole) == seen.shape[:2] == ((24, 16) if orientation > 4 else (16, 24))
        )


@pytest.mark.process
@pytest.mark.parametrize("side", [24, 240])
def test_what_was_turned_is_said_once(tmp_path: Path, side: int) -> None:
    """Of images in memory and of those that worker processes read."""
    for part in ("train", "test"):
        for kind in ("a", "b"):
            for i in range(4):
                path = tmp_path / part / kind / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                _photo(path, 6, side)
    command = ["compare", "--activations", "relu", "--dataset", f"folder:{tmp_path}", "--model", "cnn"]
    command += [
        "--epochs",
        "1",
        "--seeds",
        "2",
        "--validation",
        "0.25",
        "--threads",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run([sys.executable, "-m", "bevel_lab", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "side" in line] == [f"note: {TURNED}."]


@pytest.mark.filterwarnings("ignore::bevel_lab.data.invalid.DataNote")
def test_boxes_and_masks_fit_the_upright_image(tmp_path: Path) -> None:
    folder = box_data.write_voc(tmp_path / "boxes")
    for path in (folder / "JPEGImages").iterdir():
        with Image.open(path) as image:
            image.load()
        turned, exif = image.transpose(Image.Transpose.ROTATE_90), image.getexif()  # a camera held sideways
        exif[0x0112] = 6
        turned.save(path, exif=exif, quality=95)
    data = load(f"folder_voc:{folder}", Source())
    assert data.train[0].size == (box_data.HIGH, box_data.WIDE)
    street = scene_data.write_parts(tmp_path / "street", {"train": (4, 0), "test": (3, 100)})
    before = load(f"folder_masks:{street}", Source())
    for path in street.rglob("images/*.jpg"):
        with Image.open(path) as image:
            image.load()
        turned, exif = image.transpose(Image.Transpose.ROTATE_90), image.getexif()
        exif[0x0112] = 6
        turned.save(path.with_suffix(".png"), exif=exif)
        path.unlink()
    after = load(f"folder_masks:{street}", Source())
    assert torch.equal(after.train.in_memory, before.train.in_memory)
