"""Image files, read as a person sees them."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bevel_lab.data.invalid import DataNote
from bevel_lab.errors import LabError

TURNED = "some images are stored on their side or mirrored; they are turned upright, as their EXIF orientation says"
_ORIENTATION = 0x0112
"""The EXIF tag: 1 is upright, 5 to 8 lie on their side."""
_SAY_IT = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
"""What Pillow calls the places at the beginning of a PNG file that may hold the tag."""


def read_image(path: Path) -> Any:
    """The whole image as an RGB image of Pillow's.

    It is upright, whatever its EXIF orientation, and what is transparent in it lies on white. Of sixteen bits a channel
    the upper eight are taken, as Pillow does for color images.

    Raises:
        LabError: if the file is not a whole image, or has numbers whose range nothing says.
    """
    from PIL import Image, ImageOps

    with open_image(path) as image:
        _scale_transparent(image)
        found = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        if found.mode.startswith("I;16"):
            import numpy as np  # only here: a plain install can list data sets

            deep = np.asarray(found)
            white = deep == found.info.get("transparency", -1)
            found = Image.fromarray(np.where(white, 255, deep >> 8).astype(np.uint8))
        elif found.mode in ("I", "F"):
            raise LabError(
                f"{path} has pixels of Pillow's mode {found.mode}, whose range the file does not say; write it with 8 "
                "or 16 bits."
            )
        if found.has_transparency_data:
            colors = found.convert("RGBA")
            found = Image.alpha_composite(Image.new("RGBA", colors.size, "white"), colors)
        return found.convert("RGB")


def read_mask(path: Path) -> Any:
    """The whole image in the mode of its file: its pixels are the numbers in the file, and palettes no colors.

    It is upright, whatever its EXIF orientation.

    Raises:
        LabError: if the file is not a whole image, or compressed by JPEG.
    """
    from PIL import Image, ImageOps

    with open_image(path) as image:
        if image.format in ("JPEG", "MPO") or image.info.get("compression") == "jpeg":  # the latter in a TIFF file
            raise LabError(f"{path} is compressed by JPEG, which changes the labels in a mask; write it as PNG.")
        most = _largest_number(image)
        found = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        if most >= 255:  # of more than 8 bits: in a mode that masks do not have
            return found.copy()
        import numpy as np

        return Image.fromarray(((np.asarray(found, np.uint16) * most + 127) // 255).astype(np.uint8))


def _raw_mode(image: Any) -> tuple[str, int]:
    """How Pillow decodes a file, before it is loaded: the raw mode, and the largest number of a PGM or PPM file or 255.

    Pillow's raw modes are ``"L;4"`` for gray images of 4 bits, and so on.
    """
    if not image.tile:
        return "", 255
    codec, _, _, arguments = image.tile[0]
    raw, *rest = [arguments] if isinstance(arguments, str) else arguments
    return str(raw), int(rest[0]) if codec in ("ppm", "ppm_plain") else 255


def _largest_number(image: Any) -> int:
    """The largest number that a pixel of the file can hold, where Pillow scales it to 255; otherwise 255."""
    raw, most = _raw_mode(image)
    return {"L;2": 3, "L;4": 15}.get(raw[:3], most)


def _scale_transparent(image: Any) -> None:
    """Scale the color that the file declares transparent as Pillow scales the pixels; it leaves that undone."""
    color = image.info.get("transparency")
    if image.mode == "L" and isinstance(color, int):
        image.info["transparency"] = color * 255 // _largest_number(image)
    elif isinstance(color, tuple) and _raw_mode(image)[0].startswith("RGB;16"):
        image.info["transparency"] = tuple(value >> 8 for value in color)


def image_size(path: Path, whole: bool = False) -> tuple[int, int]:
    """(height, width) of what :func:`read_image` gives, from the file's header.

    Raises:
        LabError: if the file is not an image, or with ``whole`` if it cannot be read.
    """
    if whole:
        image = read_image(path)
        return image.height, image.width
    with open_image(path) as image:
        return (image.width, image.height) if _orientation(image) > 4 else (image.height, image.width)


def _orientation(image: Any) -> int:
    """How the image is stored, 1 … 8; warns :class:`DataNote` unless it is upright."""
    # Pillow decodes a PNG file to see what it says at its end, and most say nothing there
    said = image.format != "PNG" or not _SAY_IT.isdisjoint(image.info) or _has_late_exif(image.fp)
    found = image.getexif().get(_ORIENTATION, 1) if said else 1
    if not isinstance(found, int) or not 2 <= found <= 8:
        return 1
    warnings.warn(TURNED, DataNote, stacklevel=1)
    return found


def _has_late_exif(file: BinaryIO) -> bool:
    """Whether a PNG file has a chunk of EXIF data, by the heads of its chunks."""
    place = file.tell()
    file.seek(8)
    try:
        while len(head := file.read(8)) == 8 and head[4:] != b"eXIf":
            file.seek(int.from_bytes(head[:4]) + 4, os.SEEK_CUR)
        return head[4:] == b"eXIf"
    finally:
        file.seek(place)


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Any]:
    """The Pillow image, read up to its header.

    Raises:
        LabError: if the file is not an image, or turns out not to be a whole one inside the ``with`` block.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LabError(
            f"{path} is no whole image ({type(error).__name__}: {error}); fetch it again, or delete it."
        ) from error
