"""Clips that stay files: worker processes decode them when a batch needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from bevel_lab.data.facts import digest, facts
from bevel_lab.data.images.from_files import IMAGENET_MEAN, IMAGENET_STD
from bevel_lab.data.invalid import InvalidSamples
from bevel_lab.data.labeled_files import LabeledFiles
from bevel_lab.data.overlap import Shared, same_files
from bevel_lab.data.video import Clips, Split
from bevel_lab.data.video.decode import ClipReader, check_clip, frames_of, size_for, warn_if_turned
from bevel_lab.errors import LabError
from bevel_lab.runtime.rng import derive

FRAMES = 8
"""Frames of a clip that the model sees, as in the paper on TSM."""
LOOKED_AT = 20
"""How many clips are opened, at most, to see whether they are stored on their side."""


class ClipFiles(Clips):
    """Clips below a folder, video files or folders of frames.

    Without ``invalid.skip`` a clip is first read when a batch needs it, and an invalid one stops the trial there; the
    first clip determines the size, see :func:`size_for`. With it, every frame of every clip is decoded once beforehand
    and invalid clips are skipped; the size is what most training clips have.

    Args:
        root: the folder.
        listed: (path below ``root``, class) of every clip of a part.
        classes: names of the classes.
        invalid: collects invalid clips; it holds those that were skipped when the clips were listed.
        note: what a reader of the results must know of the data beside its name, or empty.

    Raises:
        LabError: naming a clip that is missing or empty, or the first one if it cannot be decoded.
    """

    at_once, channels, frames = 16, 3, FRAMES
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self, root: Path, listed: Mapping[Split, Sequence[tuple[str, int]]], classes: Sequence[str],
        invalid: InvalidSamples, note: str = "",
    ) -> None:  # fmt: skip
        self.classes = classes
        if invalid.skip:
            self.size, listed = _valid(root, listed, invalid)
        else:
            height, width = frames_of(root / listed["train"][0][0], lambda count: [0]).shape[2:]
            self.size = size_for((height, width))
            for name, _ in listed["train"][:: len(listed["train"]) // LOOKED_AT + 1]:
                warn_if_turned(root / name)  # worker processes, which read the others, give no notes
        self._files = {part: _files(root, clips) for part, clips in listed.items()}
        self.labels = {part: files.labels for part, files in self._files.items()}
        train, test = self._files["train"], self._files["test"]
        content = digest(part.digest().encode() for part in (train, test))
        self.facts = facts({"train": len(train), "test": len(test)}, content, note=note, skipped=invalid.finish())

    def shared(self) -> Shared:
        """Test clips whose files are those of training clips; see :mod:`bevel_lab.data.overlap`."""
        return same_files(self._files["train"].paths(), self._files["test"].paths())

    def clips(
        self, part: Split, batches: Sequence[Tensor], device: torch.device, draw: tuple[int, int] | None = None
    ) -> Iterator[Tensor]:
        seed = derive(draw[0], "clips", draw[1]) if draw else 0
        return self._files[part].batches(batches, ClipReader(FRAMES, self.size, drawn=draw is not None), device, seed)


def _valid(
    root: Path, listed: Mapping[Split, Sequence[tuple[str, int]]], invalid: InvalidSamples
) -> tuple[tuple[int, int], dict[Split, list[tuple[str, int]]]]:
    """The size that is read of every clip, and the valid clips; the others are skipped."""
    with ThreadPoolExecutor() as pool:  # decoding releases Python's lock
        checked = {part: list(pool.map(lambda clip: _size(root / clip[0]), clips)) for part, clips in listed.items()}
    sizes = Counter(size_for(size) for size in checked["train"] if not isinstance(size, LabError))
    most = max(sizes, key=sizes.__getitem__, default=(0, 0))
    reader, valid = ClipReader(FRAMES, most), dict[Split, list[tuple[str, int]]]()
    for part, clips in listed.items():
        valid[part] = []
        for clip, size in zip(clips, checked[part], strict=True):
            try:
                if isinstance(size, LabError):
                    raise size
                reader.check_size(root / clip[0], size)
                valid[part].append(clip)
            except LabError as error:
                invalid.add_error(error)
        if not valid[part]:
            raise LabError(f"a part of the data below {root} has no valid clip; {' '.join(invalid.skipped[-1:])}")
    return most, valid


def _size(path: Path) -> tuple[int, int] | LabError:
    """(height, width) of a clip whose frames can all be decoded, or the error."""
    try:
        return check_clip(path, FRAMES)
    except LabError as error:
        return error


def _files(root: Path, clips: Sequence[tuple[str, int]]) -> LabeledFiles:
    return LabeledFiles(root, [name for name, _ in clips], torch.tensor([label for _, label in clips]))
