"""A training run's state on disk: written whole or not at all, checked before it is believed."""

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
    """A checkpoint file's content: ``state`` (tensors and plain data) behind its digest."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def decode(data: bytes, name: object) -> dict[str, Any]:
    """The state in a checkpoint file's content.

    Raises:
        LabError: if it is damaged or of another format; calls it ``name``.
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
    """Replace ``path`` by ``state``, see :func:`write`."""
    write(path, encode(state))


def load(path: Path) -> dict[str, Any] | None:
    """The state saved under ``path``, or None where there is none; raises as :func:`decode`."""
    try:
        return decode(path.read_bytes(), path)
    except FileNotFoundError:
        return None
