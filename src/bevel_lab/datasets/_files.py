"""What data sets that are files share: folders, counts and checksums that must be right, and lists and images read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bevel_lab.data.images.image_file import read_image
from bevel_lab.errors import LabError

FETCH = "pass --data-root with the folder that holds it, or --download to fetch it"


def check_folder(path: Path, instead: str = FETCH) -> None:
    """Raise ``LabError`` where ``path`` is no folder; ``instead`` says what would do."""
    if not path.is_dir():
        raise LabError(f"there is no folder {path}; {instead}.")


def check_md5(path: Path, md5: str, instead: str = FETCH) -> None:
    """Raise ``LabError`` where ``path`` is not there or is another file than the one of that checksum."""
    if not path.is_file():
        raise LabError(f"{path} does not exist; {instead}.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise LabError(f"{path} is not the original file: its MD5 is {found}, not {md5}; {instead}.")


def check_counts(where: object, found: Mapping[str, int], wanted: Sequence[int], instead: str) -> None:
    """Raise ``LabError`` where a data set has other numbers than the whole of it; nothing else tells a part from it.

    Args:
        where: folder or file.
        found: what there is, in the plural → how many.
        wanted: how many there must be, in the same order.
        instead: what would do, beside completing it.
    """
    if [*found.values()] != [*wanted]:
        there = ", ".join(f"{count:,} {what}" for what, count in found.items())
        whole = ", ".join(f"{count:,}" for count in wanted)
        raise LabError(f"{where} has {there}, where the whole has {whole}; complete it, or {instead}.")


def read_lines(path: Path, remedy: str) -> list[str]:
    """The lines of a text file without its byte order mark; raises ``LabError`` with ``remedy`` where it is none."""
    try:
        # splitlines would also split at characters inside names, such as U+2028
        return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path} cannot be read ({error}); {remedy}.") from error


def read_json(path: Path, remedy: str) -> Any:
    """What a JSON file holds; raises ``LabError`` with ``remedy`` naming the file, and the line where it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise LabError(f"{path}:{error.lineno} is no JSON ({error.msg}); {remedy}.") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise LabError(f"{path} cannot be read ({error}); {remedy}.") from error


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
