"""Image files, read as a person sees them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bevel_lab.data.invalid import DataNote
from bevel_lab.errors import LabError

TURNED = "some images are stored on their side or mirrored; they are turned upright, as their EXIF orientation says"
_ORIENTATION = 0x0112
"""The EXIF tag: 1 is upright, 5 to 8 lie on their side."""


def read_image(path: Path, mode: str | None = "RGB") -> Any:
    """The whole Pillow image in ``mode``; None: in the mode of the file, so that palettes do not become colors.

    It is upright, whatever its EXIF orientation. Of sixteen bits a channel the upper eight are taken, as Pillow does
    for color images.

    Raises:
        LabError: if the file is not a whole image, or has numbers whose range nothing says.
    """
    from PIL import Image, ImageOps

    with open_image(path) as image:
        found = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        if not mode:
            return found.copy()
        if found.mode.startswith("I;16"):
            import numpy as np  # only here: a plain install can list data sets

            found = Image.fromarray((np.asarray(found) >> 8).astype(np.uint8))
        elif found.mode in ("I", "F"):
            raise LabError(
                f"{path} has pixels of Pillow's mode {found.mode}, whose range the file does not say; write it with 8 "
                "or 16 bits."
            )
        return found.convert(mode)


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
    # what a PNG file says of itself at its end would cost decoding it
    found = image.getexif().get(_ORIENTATION, 1) if image.format != "PNG" or "exif" in image.info else 1
    if not isinstance(found, int) or not 2 <= found <= 8:
        return 1
    warnings.warn(TURNED, DataNote, stacklevel=1)
    return found


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
