"""From a clip on disk, a file or a folder of frames, to a few of its frames: PyAV, segments, one crop for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bevel_lab.data.images.from_files import SIDE, read_image
from bevel_lab.errors import LabError
from bevel_lab.runtime.rng import seeded

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

FILES = (".avi", ".mkv", ".mov", ".mp4", ".webm")
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
SHORT = 256
"""Shorter side in pixels that a large clip is brought to before it is cropped."""
SMALL_SIDE = 64
"""Largest side of clips that keep their size."""
WHOLE = 0.9
"""A file with less than this share of the frames that its header promises is truncated; DivX counts one too many."""


def segments(count: int, frames: int, drawn: bool) -> list[int]:
    """One frame of each of ``frames`` equal parts of a clip (Wang et al. 2016), in order.

    Args:
        count: frames of the clip, at least ``frames``.
        frames: parts.
        drawn: whether a part's frame is drawn, from torch's global generator, or is the one in its middle.
    """
    edges = [k * count // frames for k in range(frames + 1)]
    spans = [after - before for before, after in pairwise(edges)]
    inner = [int(torch.randint(span, ())) if drawn else (span - 1) // 2 for span in spans]
    return [edge + place for edge, place in zip(edges, inner, strict=False)]


def frames_of(path: Path, choose: Callable[[int], Sequence[int]]) -> Tensor:
    """The frames that ``choose`` picks of a clip's number of them: uint8 T×3×H×W.

    Raises:
        LabError: naming a clip that is missing, truncated, no video or without a frame.
    """
    return _from_folder(path, choose) if path.is_dir() else _from_file(path, choose)


def looked_through(path: Path, least: int) -> tuple[int, int]:
    """(H, W) of a clip, after every frame of it has been decoded.

    Raises:
        LabError: as :func:`frames_of`, and where the clip has fewer than ``least`` frames.
    """
    if not path.is_dir():
        found = _every(path)
        _enough(path, len(found), least)
        return found[0].height, found[0].width
    names = _names(path)
    _enough(path, len(names), least)
    size = 0, 0
    for picture in _pictures(names):  # one at a time: all of them would fill the memory
        size = picture.shape[1], picture.shape[2]
    return size


def in_folder(path: Path) -> tuple[list[Path], list[Path]]:
    """The frames in a folder, in order, and what else is in it; hidden files are neither."""
    seen = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    return [p for p in seen if p.suffix.lower() in PICTURES], [p for p in seen if p.suffix.lower() not in PICTURES]


def _names(path: Path) -> list[Path]:
    names, _ = in_folder(path)
    if not names:
        raise LabError(f"{path} holds no frames ({', '.join(PICTURES)}); fill it, or delete it.")
    return names


def _from_folder(path: Path, choose: Callable[[int], Sequence[int]]) -> Tensor:
    names = _names(path)
    return torch.stack(list(_pictures([names[k] for k in choose(len(names))])))


def _pictures(names: Sequence[Path]) -> Iterator[Tensor]:
    """The frames in these files, uint8 3×H×W of one size."""
    from torchvision.transforms.v2.functional import pil_to_tensor

    size = ""
    for name in names:
        picture: Tensor = pil_to_tensor(read_image(name))
        here = _by(picture.shape)
        size = size or here
        if here != size:
            raise LabError(
                f"{name} has {here} pixels where {names[0].name} has {size}, and the frames of a clip have one size; "
                "resize it."
            )
        yield picture


def _from_file(path: Path, choose: Callable[[int], Sequence[int]]) -> Tensor:
    found = _every(path)
    chosen = [torch.from_numpy(found[k].to_ndarray(format="rgb24")) for k in choose(len(found))]
    return torch.stack(chosen).permute(0, 3, 1, 2).contiguous()


def _every(path: Path) -> list[VideoFrame]:
    """All frames of a file, at least one."""
    if path.is_file() and not path.stat().st_size:
        raise LabError(f"{path} is empty; fetch it again, or delete it.")
    found, expected = _decoded(path)
    if len(found) < WHOLE * expected:
        raise LabError(
            f"{path} is truncated: its header promises {expected:.0f} frames, {len(found)} can be read; fetch it "
            "again, or delete it."
        )
    if not found:
        raise LabError(f"{path} has no frame; fetch it again, or delete it.")
    sizes = sorted({_by((frame.height, frame.width)) for frame in found})
    if len(sizes) > 1:
        raise LabError(
            f"{path} has frames of {' and '.join(sizes)} pixels, and those of a clip have one size; delete it."
        )
    return found


def _decoded(path: Path) -> tuple[list[VideoFrame], float]:
    """All frames, the shorter side at most ``SHORT``, and how many the header promises (0: it does not say)."""
    try:
        import av
    except ImportError as error:
        raise LabError(f"clips are decoded by PyAV ({error}); pip install 'bevel[tasks]'.") from error
    frames: list[VideoFrame] = []
    try:
        with av.open(path, metadata_errors="replace") as container:  # old clips have names that are no UTF-8
            if not container.streams.video:
                raise LabError(f"{path} has no video in it; fetch it again, or delete it.")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # there are processes enough
            frames += [_smaller(frame) for frame in container.decode(stream)]
            return frames, stream.frames or _seconds(container, stream) * float(stream.average_rate or 0)
    except (OSError, ValueError) as error:  # PyAV's errors are kinds of these
        reason = getattr(error, "strerror", None) or error
        raise LabError(f"{path} cannot be decoded ({reason}); fetch it again, or delete it.") from error


def _seconds(container: InputContainer, stream: VideoStream) -> float:
    """How long the video is by the header; 0 where that says nothing of it."""
    import av

    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tags = [value for name, value in stream.metadata.items() if name.startswith("DURATION")]  # DURATION-eng, too
    if tags and re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", tags[0]):
        hours, minutes, seconds = map(float, tags[0].split(":"))
        return hours * 3600 + minutes * 60 + seconds
    # the file's own length is that of its longest stream: of the video only if there is no other, such as sound
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


def _smaller(frame: VideoFrame) -> VideoFrame:
    """All frames of a clip are held for a moment; large ones would fill the memory."""
    short = min(frame.width, frame.height)
    if short <= SHORT:
        return frame
    return frame.reformat(round(frame.width * SHORT / short), round(frame.height * SHORT / short))


@dataclass(frozen=True)
class ClipReader:
    """(path, seed) → uint8 T×3×H×W.

    Attributes:
        frames: T.
        size: (H, W). Clips of at most ``SMALL_SIDE`` pixels a side must have it; larger ones are scaled and cropped.
        drawn: whether frames and crop are drawn, from ``seed`` and nothing else, or are those in the middle.
    """

    frames: int
    size: tuple[int, int]
    drawn: bool = False

    def __call__(self, path: Path, seed: int = 0) -> Tensor:
        from torchvision.transforms import v2

        def choose(count: int) -> list[int]:
            _enough(path, count, self.frames)
            return segments(count, self.frames, self.drawn)

        small = max(self.size) <= SMALL_SIDE
        if self.drawn:
            crop = v2.RandomCrop(self.size, max(1, min(self.size) // 8)) if small else v2.RandomResizedCrop(self.size)
        else:
            crop = v2.Identity() if small else v2.Compose([v2.Resize(SHORT), v2.CenterCrop(self.size)])
        with seeded(seed):
            clip = frames_of(path, choose)
            if fault := self.fault(path, (clip.shape[2], clip.shape[3])):
                raise LabError(fault)
            cropped: Tensor = crop(clip)
            return cropped

    def fault(self, path: Path, size: tuple[int, int]) -> str:
        """Why a clip of this (H, W) cannot be read so; "" if it can."""
        if max(self.size) > SMALL_SIDE or size == self.size:
            return ""
        return (
            f"{path} has {_by(size)} pixels where the data set's clips have {_by(self.size)}; resize it, or delete it."
        )


def size_for(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of what is read of a data set of clips of this size: it where it is small, else 224×224."""
    return size if max(size) <= SMALL_SIDE else (SIDE, SIDE)


def _enough(path: Path, count: int, least: int) -> None:
    if count < least:
        raise LabError(f"{path} has {count} frames, fewer than the {least} that a clip is read by; delete it.")


def _by(shape: Sequence[int]) -> str:
    return f"{shape[-2]}×{shape[-1]}"
