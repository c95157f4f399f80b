"""Checkpoint files of a trial: written whole or not at all, and verified when they are read."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from bevel_lab.errors import LabError
from bevel_lab.runtime.atomic_file import write

_MAGIC = b"bevel checkpoint 1\n"


def encode(state: dict[str, Any]) -> bytes:
    """The content of a checkpoint file: a digest, then ``state`` (tensors and plain data)."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def decode(data: bytes, name: object) -> dict[str, Any]:
    """The state in the content of a checkpoint file.

    Args:
        data: the content.
        name: what to call the checkpoint in messages.

    Raises:
        LabError: if it is damaged or of another format.
    """
    digest, payload = data[len(_MAGIC) :][:32], data[len(_MAGIC) + 32 :]
    if not data.startswith(_MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise LabError(f"checkpoint {name} is damaged")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise LabError(f"checkpoint {name} cannot be read by this torch") from error
    return state


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace the file ``path`` atomically by ``state``; raises ``CannotWrite``."""
    write(path, encode(state))


def load(path: Path) -> dict[str, Any] | None:
    """The state in the file ``path``, or None if there is no file; raises as :func:`decode`."""
    try:
        return decode(path.read_bytes(), path)
    except FileNotFoundError:
        return None
