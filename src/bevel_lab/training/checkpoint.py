"""A training run's state on disk: written whole or not at all, checked before it is believed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from bevel_lab.errors import CannotWrite, LabError

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


def write(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` atomically; a crash leaves the old file or the new one.

    Raises:
        CannotWrite: where the disk does not take it; the old file stays.
    """
    # the process id keeps a dying run's half-written file apart from its successor's
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise CannotWrite(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    sync_folder(path.parent)


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace ``path`` by ``state``, see :func:`write`."""
    write(path, encode(state))


def load(path: Path) -> dict[str, Any] | None:
    """The state saved under ``path``, or None where there is none; raises as :func:`decode`."""
    try:
        return decode(path.read_bytes(), path)
    except FileNotFoundError:
        return None


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in ``folder`` survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
