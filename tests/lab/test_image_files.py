"""Image files of every depth and orientation: what is read is what a person sees, or the file is refused by name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import box_data
import numpy as np
import pytest
import scene_data
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from bevel_lab.cli import main
from bevel_lab.data.images.image_file import TURNED, image_size, read_image, read_mask
from bevel_lab.data.invalid import DataNote, SkippedSamples
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


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize("place", ["end", "profile", "xmp"])
def test_an_orientation_is_found_wherever_png_files_say_it(tmp_path: Path, place: str) -> None:
    path = tmp_path / "photo.png"
    upright = _photo(path, 6)
    with Image.open(path) as image:
        image.load()
    exif, image.info = image.info["exif"], {}
    texts = PngInfo()
    if place == "xmp":
        texts.add_itxt("XML:com.adobe.xmp", XMP)
    if place == "profile":
        texts.add_text("Raw profile type exif", f"\nexif\n{len(exif) + 6:8}\n{(b'Exif' + bytes(2) + exif).hex()}\n")
    image.save(path, pnginfo=texts)
    if place == "end":
        chunk = b"eXIf" + exif.removeprefix(b"Exif\0\0")
        content = path.read_bytes()
        chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(content[:-12] + chunk + content[-12:])
    with pytest.warns(DataNote):
        found, size = _read(path), image_size(path)
    assert np.array_equal(found, upright)
    assert size == upright.shape[:2]


@pytest.mark.process
@pytest.mark.filterwarnings("default::bevel_lab.data.invalid.DataNote")
@pytest.mark.parametrize("side", [24, 240])
def test_what_was_turned_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str], side: int) -> None:
    """Of images in memory and of those that worker processes read."""
    for part in ("train", "test"):
        for kind in ("a", "b"):
            for i in range(4):
                path = tmp_path / part / kind / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                _photo(path, 6, side)
    command = ["compare", "--activations", "relu", "--dataset", f"folder:{tmp_path}", "--model", "cnn", "--epochs", "1"]
    command += ["--seeds", "2", "--validation", "0.25", "--threads", "1", "--workers", "1"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert [line for line in capfd.readouterr().err.splitlines() if "on their side" in line] == [f"note: {TURNED}."]


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


# -------------------------------------------------------------------------------------------------- masks, transparency


def _png(path: Path, bits: int, rows: list[list[int]], color_type: int = 0, transparent: Sequence[int] = ()) -> None:
    """A PNG file of so many bits a number, which Pillow does not write; one color may be transparent."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    width = len(rows[0]) // (3 if color_type == 2 else 1)
    packed = [int("".join(f"{number:0{bits}b}" for number in row), 2).to_bytes(len(row) * bits // 8) for row in rows]
    head = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    key = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in packed)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + key + data + chunk(b"IEND", b""))


NUMBERS = [[0, 1, 2, 3], [3, 2, 1, 0]]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_masks_of_few_bits_are_read_as_they_are(tmp_path: Path, bits: int) -> None:
    _png(tmp_path / "mask.png", bits, NUMBERS)
    assert np.asarray(read_mask(tmp_path / "mask.png")).tolist() == NUMBERS
    _png(tmp_path / "mask.png", bits, [[0, 2**bits - 1] * 2])
    assert np.asarray(read_mask(tmp_path / "mask.png")).tolist() == [[0, 2**bits - 1] * 2]
    assert np.asarray(read_image(tmp_path / "mask.png"))[..., 0].tolist() == [[0, 255] * 2]  # images are scaled


@pytest.mark.parametrize("most", [3, 12, 254])
def test_masks_of_another_range_are_read_as_they_are(tmp_path: Path, most: int) -> None:
    (tmp_path / "mask.pgm").write_bytes(f"P5 {most + 1} 1 {most}\n".encode() + bytes(range(most + 1)))
    assert np.asarray(read_mask(tmp_path / "mask.pgm")).tolist() == [list(range(most + 1))]


def test_a_mask_of_more_than_eight_bits_is_not_taken_for_one_of_eight(tmp_path: Path) -> None:
    numbers = np.array([[0, 1, 2, 3]], dtype=">u2")
    (tmp_path / "mask.pgm").write_bytes(b"P5 4 1 1000\n" + numbers.tobytes())
    assert read_mask(tmp_path / "mask.pgm").mode.startswith("I"), "which readers of masks refuse"


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("suffix", "more"), [("jpg", {}), ("png", {}), ("tiff", {"compression": "jpeg"})])
def test_masks_that_jpeg_compressed_are_refused(tmp_path: Path, suffix: str, more: dict[str, str], skip: bool) -> None:
    """JPEG blurs labels into others; the name of the file says nothing."""
    street = scene_data.write_parts(tmp_path / "street", {"train": (4, 0), "test": (3, 100)})
    old = street / "train" / "masks" / "001.png"
    with Image.open(old) as mask:
        mask.load()
    old.unlink()
    mask.save(old.with_suffix(f".{suffix}"), "TIFF" if suffix == "tiff" else "JPEG", quality=100, **more)
    words = rf"train/masks/001.{suffix} is compressed by JPEG, which changes the labels in a mask"
    if skip:
        with pytest.warns(SkippedSamples, match=words):
            assert len(load(f"folder_masks:{street}", Source(skip_invalid=True)).train) == 3
    else:
        with pytest.raises(LabError, match=f"{words}; write it as PNG, or skip it with --skip-invalid"):
            load(f"folder_masks:{street}", Source())


HIDDEN, SEEN = (10, 200, 30), (40, 50, 60)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_lies_on_white(tmp_path: Path, mode: str) -> None:
    """Whatever color the file has below: editors leave what was there before."""
    path = tmp_path / "cut.png"
    pixels = np.array([[HIDDEN, SEEN]], np.uint8)
    if mode in ("RGBA", "LA"):
        alpha = np.array([[[0], [255]]], np.uint8)
        Image.fromarray(np.concatenate([pixels, alpha], 2)).convert(mode).save(path)
    elif mode == "P":
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
        image.putpalette([*HIDDEN, *SEEN])
        image.save(path, transparency=0)
    else:
        Image.fromarray(pixels).save(path, transparency=HIDDEN)
    expected = Image.fromarray(pixels).convert("L").convert("RGB") if mode == "LA" else Image.fromarray(pixels)
    assert _read(path).tolist() == [[[255, 255, 255], np.asarray(expected)[0, 1].tolist()]]


@pytest.mark.parametrize(
    ("bits", "color_type", "row", "seen"),
    [
        (1, 0, [1, 0] * 4, [0, 0, 0]),
        (2, 0, [2, 1] * 2, [85, 85, 85]),
        (4, 0, [2, 1], [17, 17, 17]),
        (16, 0, [600, 258], [1, 1, 1]),
        (16, 2, [256, 512, 768, 0, 0, 0], [0, 0, 0]),
    ],
)
def test_a_transparent_color_is_that_of_the_file(
    tmp_path: Path, bits: int, color_type: int, row: list[int], seen: list[int]
) -> None:
    _png(tmp_path / "cut.png", bits, [row], color_type, row[: 3 if color_type else 1])
    assert _read(tmp_path / "cut.png")[0, :2].tolist() == [[255, 255, 255], seen]


def test_half_transparent_pixels_are_half_white(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (0, 100, 200, 128)).save(tmp_path / "glass.png")
    assert np.abs(_read(tmp_path / "glass.png")[0, 0].astype(int) - [127, 177, 227]).max() <= 1
