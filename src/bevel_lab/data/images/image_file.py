"""Image files, read as a person sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bevel_lab.errors import LabError


def read_image(path: Path, mode: str | None = "RGB") -> Any:
    """The whole Pillow image in ``mode``; None: in the mode of the file, so that palettes do not become colors.

    Of sixteen bits a channel the upper eight are taken, as Pillow does for color images.

    Raises:
        LabError: if the file is not a whole image, or has numbers whose range nothing says.
    """
    with open_image(path) as image:
        if not mode:
            return image.copy()
        if image.mode.startswith("I;16"):
            from PIL import Image

            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise LabError(
                f"{path} has pixels of Pillow's mode {image.mode}, whose range the file does not say; write it with 8 "
                "or 16 bits."
            )
        return image.convert(mode)


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
