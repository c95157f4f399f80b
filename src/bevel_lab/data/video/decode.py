"""From a clip on disk, a video file or a folder of frames, to a few of its frames: PyAV, segments, one crop for all."""

from __future__ import annotations

import contextlib
import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from bevel_lab.data.images.from_files import SIDE
from bevel_lab.data.images.image_file import image_size, read_image
from bevel_lab.data.invalid import DataNote
from bevel_lab.data.video.mirrored import is_mirrored
from bevel_lab.errors import LabError, optional_library
from bevel_lab.runtime.rng import seeded

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

FILES = (".avi", ".mkv", ".mov", ".mp4", ".webm")
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
SHORT_SIDE = 256
"""Shorter side in pixels that a large clip is scaled to before it is cropped."""
SMALL_SIDE = 64
"""Clips of at most so many pixels a side keep their size."""
COMPLETE = 0.9
"""A file with less than this fraction of what its header promises is truncated; DivX counts one frame too many."""
TURNED = "some clips are stored on their side; they are turned upright, as their display matrix says"


def segments(count: int, frames: int, drawn: bool) -> list[int]:
    """One frame of each of ``frames`` equal segments of a clip (Wang et al. 2016), in order.

    Args:
        count: frames of the clip, at least ``frames``.
        frames: number of segments.
        drawn: whether a segment's frame is drawn from torch's global generator; otherwise it is the one in the middle.

    Example:
        >>> segments(40, 8, drawn=False)
        [2, 7, 12, 17, 22, 27, 32, 37]
    """
    edges = [k * count // frames for k in range(frames + 1)]
    spans = [after - before for before, after in pairwise(edges)]
    inner = [int(torch.randint(span, ())) if drawn else (span - 1) // 2 for span in spans]
    return [edge + place for edge, place in zip(edges, inner, strict=False)]


def frames_of(path: Path, choose: Callable[[int], Sequence[int]]) -> Tensor:
    """Some frames of a clip: uint8 T×3×H×W.

    Args:
        path: a video file or a folder of frames.
        choose: number of frames in the clip → indices of the frames to return.

    Raises:
        LabError: if the clip is missing, truncated, no video or without a frame.
    """
    return torch.stack(list(_frames(path, choose)))


def check_clip(path: Path, least: int) -> tuple[int, int]:
    """Decode every frame of a clip.

    Args:
        path: a video file or a folder of frames.
        least: least number of frames.

    Returns:
        (height, width) of the clip.

    Raises:
        LabError: as :func:`frames_of`, and if the clip has fewer than ``least`` frames.
    """

    def every(count: int) -> Sequence[int]:
        _check_count(path, count, least)
        return range(count)

    for frame in _frames(path, every):  # one at a time: all frames of a folder would fill the memory
        size = frame.shape[1], frame.shape[2]
    return size


def frames_in_folder(path: Path) -> tuple[list[Path], list[Path]]:
    """The frames in a folder, in order, and its other files; hidden files are ignored."""
    seen = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    return [p for p in seen if p.suffix.lower() in PICTURES], [p for p in seen if p.suffix.lower() not in PICTURES]


def _frames(path: Path, choose: Callable[[int], Sequence[int]]) -> Iterator[Tensor]:
    """The chosen frames, uint8 3×H×W of one size."""
    if path.is_dir():
        names, _ = frames_in_folder(path)
        if not names:
            raise LabError(f"{path} holds no frames ({', '.join(PICTURES)}); fill it, or delete it.")
        yield from _pictures([names[k] for k in choose(len(names))])
    else:
        clip = _decode_all(path)
        for k in choose(len(clip.frames)):
            upright = torch.from_numpy(clip.frames[k].to_ndarray(format="rgb24")).rot90(clip.turns)
            yield upright.permute(2, 0, 1)


def _pictures(names: Sequence[Path]) -> Iterator[Tensor]:
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


class _Decoded(NamedTuple):
    """What a file holds.

    Attributes:
        frames: all frames, their shorter side at most ``SHORT_SIDE``.
        turns: quarter turns, counterclockwise, that make them upright.
        found, promised: how much of ``unit`` can be read, and how much the header promises (0: unknown).
        unit: frames; or seconds, where the header does not count frames, each of which may be shown for any time.
    """

    frames: list[VideoFrame]
    turns: int
    found: float
    promised: float
    unit: str


def _decode_all(path: Path) -> _Decoded:
    """A whole file with at least one frame, all of one size; warns :class:`DataNote` if it lies on its side."""
    if path.is_file() and not path.stat().st_size:
        raise LabError(f"{path} is empty; fetch it again, or delete it.")
    if is_mirrored(path):
        raise LabError(
            f"{path} is stored mirrored, as its display matrix says, which is not undone here; write it again as it is "
            "to be seen, or delete it."
        )
    clip = _decode(path)
    if clip.found < COMPLETE * clip.promised:
        raise LabError(
            f"{path} is truncated: its header promises {clip.promised:.4g} {clip.unit}, {clip.found:.4g} can be read; "
            "fetch it again, or delete it."
        )
    if not clip.frames:
        raise LabError(f"{path} has no frame; fetch it again, or delete it.")
    sizes = sorted({_by((frame.height, frame.width)) for frame in clip.frames})
    if len(sizes) > 1:
        raise LabError(
            f"{path} has frames of {' and '.join(sizes)} pixels, and those of a clip have one size; delete it."
        )
    if clip.turns:
        warnings.warn(TURNED, DataNote, stacklevel=1)
    return clip


def _decode(path: Path) -> _Decoded:
    frames: list[VideoFrame] = []
    times: list[float] = []
    turns, last = 0, 0.0
    with _open(path) as (container, stream):
        for frame in container.decode(stream):
            turns = _turns(frame)
            times += [] if frame.time is None else [frame.time]
            last = float((frame.duration or 0) * (frame.time_base or 0))
            frames.append(_scaled(frame))
        if stream.frames:
            return _Decoded(frames, turns, len(frames), stream.frames, "frames")
        # the last frame is shown as long as the file says, or as any other one
        shown = max(last, *(after - before for before, after in pairwise(times)), 0.0)
        return _Decoded(frames, turns, times[-1] + shown if times else 0.0, _duration(container, stream), "s")


def warn_if_turned(path: Path) -> None:
    """Warn :class:`DataNote` if the first frame of a clip lies on its side; what cannot be read is passed over."""
    with contextlib.suppress(LabError):
        if path.is_dir():
            for name in frames_in_folder(path)[0][:1]:
                image_size(name)
            return
        with _open(path) as (container, stream):
            if any(_turns(frame) for frame in itertools.islice(container.decode(stream), 1)):
                warnings.warn(TURNED, DataNote, stacklevel=1)


def _turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and its video; raises ``LabError`` if there is none, or it cannot be decoded inside the ``with`` block."""
    with optional_library("clips are decoded by PyAV"):
        import av
    try:
        with av.open(path, metadata_errors="replace") as container:  # names in old clips may not be UTF-8
            if not container.streams.video:
                raise LabError(f"{path} has no video in it; fetch it again, or delete it.")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # the loader has worker processes enough
            yield container, stream
    except (OSError, ValueError) as error:  # PyAV's errors derive from these
        reason = getattr(error, "strerror", None) or error
        raise LabError(f"{path} cannot be decoded ({reason}); fetch it again, or delete it.") from error


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """Duration of the video in seconds by the header; 0 if it does not say."""
    import av

    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tags = [value for name, value in stream.metadata.items() if name.startswith("DURATION")]  # also DURATION-eng
    if tags and re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", tags[0]):
        hours, minutes, seconds = map(float, tags[0].split(":"))
        return hours * 3600 + minutes * 60 + seconds
    # the container's duration is that of its longest stream, which may be the sound
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


def _scaled(frame: VideoFrame) -> VideoFrame:
    """The frame, scaled down if it is large: all frames of a clip are in memory for a moment."""
    short = min(frame.width, frame.height)
    if short <= SHORT_SIDE:
        return frame
    return frame.reformat(round(frame.width * SHORT_SIDE / short), round(frame.height * SHORT_SIDE / short))


@dataclass(frozen=True)
class ClipReader:
    """(path, seed) → uint8 T×3×H×W. A value, so that worker processes can unpickle it.

    Attributes:
        frames: T.
        size: (H, W). Clips of at most ``SMALL_SIDE`` pixels a side must have it; larger ones are scaled and cropped.
        drawn: whether frames and crop are drawn from the seed; otherwise they are those in the middle.
    """

    frames: int
    size: tuple[int, int]
    drawn: bool = False

    def __call__(self, path: Path, seed: int = 0) -> Tensor:
        from torchvision.transforms import v2

        def choose(count: int) -> list[int]:
            _check_count(path, count, self.frames)
            return segments(count, self.frames, self.drawn)

        small = max(self.size) <= SMALL_SIDE
        if self.drawn:
            crop = v2.RandomCrop(self.size, max(1, min(self.size) // 8)) if small else v2.RandomResizedCrop(self.size)
        else:
            crop = v2.Identity() if small else v2.Compose([v2.Resize(SHORT_SIDE), v2.CenterCrop(self.size)])
        with seeded(seed):
            clip = frames_of(path, choose)
            self.check_size(path, (clip.shape[2], clip.shape[3]))
            cropped: Tensor = crop(clip)
            return cropped

    def check_size(self, path: Path, size: tuple[int, int]) -> None:
        """Raise ``LabError`` if this reader cannot read the clip ``path`` of (H, W) ``size``."""
        if max(self.size) <= SMALL_SIDE and size != self.size:
            raise LabError(
                f"{path} has {_by(size)} pixels where the data set's clips have {_by(self.size)}; resize it, or delete "
                "it."
            )


def size_for(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of what is read from clips of (H, W) ``size``: the same if it is small, otherwise 224×224."""
    return size if max(size) <= SMALL_SIDE else (SIDE, SIDE)


def _check_count(path: Path, count: int, least: int) -> None:
    if count < least:
        raise LabError(f"{path} has {count} frames, fewer than the {least} that a clip is read by; delete it.")


def _by(shape: Sequence[int]) -> str:
    return f"{shape[-2]}×{shape[-1]}"
