"""What data sets of images and masks share: files of one name matched, read and checked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bevel_lab.data.images.image_file import image_size, read_image, read_mask
from bevel_lab.data.images.masks import IN_MEMORY_BYTES, VOID, SegmentationDataset
from bevel_lab.data.invalid import InvalidSamples, problem_and_remedy
from bevel_lab.datasets._listing import check_forms, inside
from bevel_lab.errors import LabError

MODES = {"L": "grey", "P": "palette", "1": "black and white"}
"""Pillow's names of files with one small number a pixel."""


@dataclass(frozen=True)
class Pair:
    """An image file and the file of its mask."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Labels:
    """What the numbers in a mask file stand for.

    Attributes:
        classes: number in the file → class (0 …) or ``VOID``.
        text: the same for an error message, e.g. ``"0 … 10, and 11 for void"``.
    """

    classes: Mapping[int, int]
    text: str

    def table(self) -> Tensor:
        """int16, 256: class, ``VOID``, or −1 for what stands for nothing."""
        found = torch.full((256,), -1, dtype=torch.int16)
        for number, label in self.classes.items():
            found[number] = label
        return found


def numbered(count: int, void: int = VOID) -> Labels:
    """Classes that are written as their own numbers."""
    return Labels({**{k: k for k in range(count)}, void: VOID}, f"0 … {count - 1}, and {void} for void")


def paired(images: Path, masks: Path, invalid: InvalidSamples) -> list[Pair]:
    """The pairs of files in two folders that have one name but for their suffixes, by name.

    Files without a partner, and whatever else lies there and is not hidden, are invalid.

    Raises:
        LabError: if a folder is missing, two files of a folder have one name, or there is no pair.
    """
    left, right = _by_stem(images, invalid), _by_stem(masks, invalid)
    check_forms(images.parent, left.keys() ^ right.keys())
    for stem in sorted(left.keys() ^ right.keys()):
        here, other = (left[stem], masks) if stem in left else (right[stem], images)
        invalid.add(f"{here} has no partner {stem}.* in {other}", "put it there")
    found = [Pair(left[stem], right[stem]) for stem in sorted(left.keys() & right.keys())]
    if not found:
        raise LabError(f"{images} and {masks} have no pair of image files of one name; put them there.")
    return found


def _by_stem(folder: Path, invalid: InvalidSamples) -> dict[str, Path]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    if not folder.is_dir():
        raise LabError(f"there is no folder {folder}; images and masks lie in two folders, under the same names.")
    found: dict[str, Path] = {}
    for path in inside(folder):
        if path.suffix.lower() in IMG_EXTENSIONS:
            if path.stem in found:
                raise LabError(f"{found[path.stem]} and {path} have one name; delete one of them.")
            found[path.stem] = path
        else:
            invalid.add(f"{path} is no image file ({', '.join(IMG_EXTENSIONS)})", "move it away")
    return found


def scenes(
    parts: Sequence[Sequence[Pair]], labels: Labels, size: tuple[int, int] | None, invalid: InvalidSamples
) -> list[SegmentationDataset]:
    """The parts of a data set, in memory if all of them together are small.

    Pairs that stay files are checked when they are read, or all at once if invalid pairs are skipped.

    Args:
        parts: the pairs of each part.
        labels: what the numbers in the masks stand for.
        size: (height, width) of all images; by default that of most of them.
        invalid: collects invalid pairs.

    Raises:
        LabError: naming the first invalid pair, or a part that has no valid one.
    """
    size = size or _size([pair for part in parts for pair in part])
    in_memory = sum(map(len, parts)) * 4 * size[0] * size[1] <= IN_MEMORY_BYTES
    return [_part(part, labels.table(), labels.text, size, in_memory, invalid) for part in parts]


def _size(pairs: Sequence[Pair]) -> tuple[int, int]:
    """(height, width) of most images, by their headers."""
    sizes: Counter[tuple[int, int]] = Counter()
    first: LabError | None = None
    for pair in pairs:
        try:
            sizes[image_size(pair.image)] += 1
        except LabError as error:
            first = first or error
    if not sizes:
        raise first or LabError("a data set has at least one image; got none.")
    return sizes.most_common(1)[0][0]


def _part(
    pairs: Sequence[Pair], table: Tensor, text: str, size: tuple[int, int], in_memory: bool, invalid: InvalidSamples
) -> SegmentationDataset:  # fmt: skip
    pixels: list[Tensor] = []
    if in_memory or invalid.skip:
        kept: list[Pair] = []
        for pair in pairs:
            found = _read(pair, table, text, size)
            if isinstance(found, Tensor):
                kept.append(pair)
                pixels += [found] if in_memory else []
            else:
                invalid.add(*found)
        if not kept:
            raise LabError(f"{pairs[0].image.parent} has no valid pair of image and mask; correct them.")
        pairs = kept
    images = [pair.image for pair in pairs]
    if in_memory:
        whole = torch.stack(pixels)
        content = hashlib.sha256(repr(tuple(whole.shape)).encode())
        content.update(whole.numpy().data)
        return SegmentationDataset(images, content.hexdigest(), whole.__getitem__, whole)
    return SegmentationDataset(images, _digest(pairs), partial(_reread, pairs, table, text, size))


def _digest(pairs: Sequence[Pair]) -> str:
    """Return the digest of the files' names and sizes; their pixels are not read for it."""
    total = hashlib.sha256()
    for path in (path for pair in pairs for path in (pair.image, pair.mask)):
        total.update(f"{path.name}\0{path.stat().st_size}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _reread(pairs: Sequence[Pair], table: Tensor, text: str, size: tuple[int, int], number: int) -> Tensor:
    found = _read(pairs[number], table, text, size)
    if not isinstance(found, Tensor):
        raise LabError(f"{found[0]}; {found[1]}, or skip it with --skip-invalid.")
    return found


def _read(pair: Pair, table: Tensor, text: str, size: tuple[int, int]) -> Tensor | tuple[str, str]:
    """Read a pair: uint8 4×H×W, with the mask as classes; if it is invalid, the problem and the remedy instead."""
    import numpy as np

    try:
        image, mask = np.array(read_image(pair.image)), read_mask(pair.mask)
    except LabError as error:
        return problem_and_remedy(error)
    if mask.mode not in MODES:
        return (
            f"{pair.mask} has pixels of Pillow's mode {mask.mode}; a mask is {', '.join(MODES.values())}, a class a "
            "pixel"
        ), "write it so"
    numbers = np.array(mask, dtype=np.uint8)
    if numbers.shape != image.shape[:2]:
        return f"{pair.mask} has {_by(numbers.shape)} pixels and its image {_by(image.shape)}", "give them one size"
    if numbers.shape != size:
        return f"{pair.image} has {_by(image.shape)} pixels where the data set's have {_by(size)}", "resize both"
    classes = table[torch.from_numpy(numbers).int()]
    if bool((classes < 0).any()):
        row, column = (classes < 0).nonzero()[0].tolist()
        where = f"in row {row}, column {column}"
        return f"{pair.mask} has label {numbers[row, column]} {where}, where labels are {text}", "correct it"
    if bool((classes == VOID).all()):
        return f"{pair.mask} is void everywhere", "label something in it"
    return torch.cat([torch.from_numpy(image).permute(2, 0, 1), classes[None].to(torch.uint8)])


def _by(shape: Sequence[int]) -> str:
    return f"{shape[0]}×{shape[1]}"
