"""Where in a module's forward a call is made, so that each call of a function finds its own activation.

In eager mode the place is the position in the bytecode of every function between the call and the forward; it tells
apart two calls on one line. ``torch.compile`` knows lines only, and so do forwards whose bytecode has changed since (it
resumed after a graph break, or was unpickled by another Python): there the line numbers count.
"""

from __future__ import annotations

import opcode
import re
import sys
from pathlib import Path
from types import CodeType, FrameType

import torch

from bevel.surgery._likeness import TORCH, VERSION, checksum

Code = tuple[tuple[int, int], ...]
"""From the call outwards to the forward: the checksum of each function, and the position in its bytecode."""

Lines = tuple[str, ...]
"""From the call outwards to the forward: the name and line number of each function, e.g. ``("forward:12",)``."""

Place = tuple[Code, Lines]

NOWHERE: Place = ((), ())
"""The place of calls that are told apart by their order and the layers before them alone."""

_LAYERS = str(Path(torch.nn.modules.__file__).parent / "_")[:-1]  # torch's own modules have forwards like anybody's
_CALL = torch.nn.modules.module.__file__  # nn.Module.__call__: a forward begins here
_HERE = str(Path(__file__).parent / "_")[:-1]
_PRECALL, _CALLED = (opcode.opmap.get(name, -1) for name in ("PRECALL", "CALL"))
BEGIN, PASS = -1, -2
"""Kinds of frames: where a forward begins; no part of a place."""

_RESUMED = re.compile(r"torch_dynamo_resume_in_(.+)_at_\d+")  # what torch.compile calls the rest of a function

_KINDS: dict[int, tuple[CodeType, int]] = {}  # by id; holding the code keeps the id its own


def kind_of(file: str, function: str) -> int:
    """Whether a forward begins in this function (BEGIN), it is passed over (PASS), or it counts (0)."""
    if file == _CALL:
        return BEGIN
    if function == "__torch_function__":  # a mode's: it stands before or after ours
        return PASS
    if file.startswith(_HERE):
        return BEGIN if file.endswith("_route.py") else PASS
    return PASS if file.startswith(TORCH) and not file.startswith(_LAYERS) else 0


def _learn(code: CodeType) -> int:
    """Like :func:`kind_of`, and for a function that counts its checksum; kept in ``_KINDS``."""
    kind = kind_of(code.co_filename, code.co_name) or checksum(code)
    _KINDS[id(code)] = (code, kind)
    return kind


def located(frame: FrameType | None, *, module: bool) -> tuple[Code, list[FrameType]]:
    """Where a call is made: its place in the code, and the frames outwards to the forward, without torch's own.

    This runs at every routed call, hence one plain loop.

    Args:
        frame: the innermost frame of the call.
        module: whether what is called is a module: its own ``__call__`` is skipped first.
    """
    code: list[tuple[int, int]] = []
    found: list[FrameType] = []
    while frame is not None:
        known = _KINDS.get(id(frame.f_code))
        kind = _learn(frame.f_code) if known is None else known[1]
        if kind >= 0:
            code.append((kind, frame.f_lasti))
            found.append(frame)
        elif kind == BEGIN and (found or not module):
            break
        frame = frame.f_back
    return tuple(code), found


def code_of(found: list[FrameType], version: int = VERSION) -> Code:
    """The place in the code of frames, by checksums of this version."""
    return tuple((checksum(f.f_code, version), f.f_lasti) for f in found)


def same_instructions(known: Code, code: Code, found: list[FrameType]) -> bool:
    """Whether a place is the one that these frames are at: the same functions, at the same instructions."""
    return len(known) == len(code) and all(
        a == b and _start(frame.f_code, at) == _start(frame.f_code, now)
        for (a, at), (b, now), frame in zip(known, code, found, strict=True)
    )


def _start(code: CodeType, position: int) -> int:
    """Where the instruction at this position begins.

    Python 3.11 and 3.12 put a running call at its instruction, or at the last of the empty units behind it where they
    call a Python function without leaving the interpreter's loop, which they do not while ``torch.compile`` watches.
    3.11 has two instructions for a call, and makes some at the first once the code has run a few times.
    """
    units = code.co_code
    while 0 < position < len(units) and units[position] == 0:
        position -= 2
    first = position - 4  # with one empty unit between them
    return first if first >= 0 and units[first] == _PRECALL and units[position] == _CALLED else position


def lines_of(found: list[FrameType]) -> Lines:
    """The line numbers of frames."""
    return tuple(line(f.f_code.co_name, f.f_lineno) for f in found)


def line(name: str, number: int | None) -> str:
    """A function's name and a line number as one word."""
    resumed = _RESUMED.fullmatch(name)
    return f"{resumed[1] if resumed else name}:{number or 0}"


def place_of_call(depth: int, *, module: bool) -> Place:
    """The place of the call that is ``depth`` frames above the caller of this function."""
    code, found = located(sys._getframe(depth + 1), module=module)
    starts = tuple((kind, _start(f.f_code, at)) for (kind, at), f in zip(code, found, strict=True))
    return starts, lines_of(found)
