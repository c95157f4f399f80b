"""What data sets that are files share: the checksum of a file, a quiet download, small pictures read whole."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bevel_lab.data.images.from_files import read_image
from bevel_lab.errors import LabError


@contextlib.contextmanager
def downloading(name: str, root: Path, instead: str) -> Iterator[None]:
    """Around torchvision's download of ``name`` to ``root``: quiet, and one sentence where it fails."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except (RuntimeError, OSError) as error:
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise LabError(f"could not download {name} to {root} ({last}); when offline, {instead}.") from error


def check(path: Path, md5: str, instead: str) -> None:
    """Raise ``LabError`` where ``path`` is not there or is another file than the one of that checksum."""
    from torchvision.datasets.utils import calculate_md5

    if not path.is_file():
        raise LabError(f"{path} does not exist; {instead}.")
    found = calculate_md5(path)
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
