"""What data sets that are files share: the checksum of a file, small pictures read whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bevel_lab.data.images.from_files import read_image
from bevel_lab.errors import LabError


def check(path: Path, md5: str, instead: str) -> None:
    """Raise ``LabError`` where ``path`` is not there or is another file than the one of that checksum."""
    if not path.is_file():
        raise LabError(f"{path} does not exist; {instead}.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise LabError(f"{path} is not the original file: its MD5 is {found}, not {md5}; {instead}.")


def pictures(paths: Sequence[Path], size: tuple[int, int] | None = None) -> Tensor:
    """Read image files of one size: uint8 N×3×H×W.

    Args:
        paths: at least one.
        size: (height, width) of all; that of the first by default.

    Raises:
        LabError: naming the first file that is no whole image, or of another size.
    """
    from torchvision.transforms.v2.functional import pil_to_tensor

    found: list[Tensor] = []
    for path in paths:
        pixels: Tensor = pil_to_tensor(read_image(path))
        height, width = size = size or (pixels.shape[1], pixels.shape[2])
        if pixels.shape[1:] != size:
            raise LabError(
                f"{path} has {pixels.shape[1]}×{pixels.shape[2]} pixels where the data set's have {height}×{width}; "
                "resize it, or delete it."
            )
        found.append(pixels)
    return torch.stack(found)
