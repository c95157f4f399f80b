"""Whether an MP4 or MOV file says that its picture is stored mirrored; PyAV tells of turns alone."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SUFFIXES = (".mov", ".mp4")
_MATRIX = {0: 40, 1: 52}
"""Where the matrix begins in a track header, by its version (ISO/IEC 14496-12, 8.3.2)."""


def is_mirrored(path: Path) -> bool:
    """Whether the display matrix of the first video track exchanges left and right, alone or before a turn.

    What is no such file, or a damaged one, is not; whoever decodes it says so.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            (moov,) = (box for kind, box in _boxes(file, wanted=b"moov"))
            tracks = [dict(_boxes(io.BytesIO(box))) for kind, box in _boxes(io.BytesIO(moov)) if kind == b"trak"]
            videos = [track[b"tkhd"] for track in tracks if _is_video(track[b"mdia"])]
            a, b, _, c, d = struct.unpack_from(">5i", videos[0], _MATRIX[videos[0][0]])
    except (OSError, ValueError, LookupError, struct.error):
        return False
    return bool(a * d < b * c)


def _is_video(media: bytes) -> bool:
    return dict(_boxes(io.BytesIO(media)))[b"hdlr"][8:12] == b"vide"


def _boxes(file: BinaryIO, wanted: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """The boxes of a file or of a box, by kind, or those of one kind alone; the others are not read then."""
    while head := file.read(8):
        size, kind = struct.unpack(">I4s", head)
        size = struct.unpack(">Q", file.read(8))[0] - 16 if size == 1 else size - 8
        if not wanted or kind == wanted:
            yield kind, file.read(size)  # a size of 0 in the file, now negative: up to its end
        elif size < 0:
            return
        else:
            file.seek(size, io.SEEK_CUR)
