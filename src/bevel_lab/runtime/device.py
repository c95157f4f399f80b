"""Torch devices by name."""

from __future__ import annotations

import torch

from bevel.errors import InvalidValue


def as_device(name: str) -> torch.device:
    """The torch device called ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        InvalidValue: for another name, or a GPU that does not exist.

    Example:
        >>> as_device("cpu")
        device(type='cpu')
    """
    kind, _, index = name.partition(":")
    if name == "cpu" or (kind == "cuda" and (index.isdecimal() or name == "cuda")):
        if kind == "cpu" or int(index or 0) < torch.cuda.device_count():
            return torch.device(name)
        raise InvalidValue(f"there is no {name!r} here; torch finds {torch.cuda.device_count()} GPUs. Use 'cpu'.")
    raise InvalidValue(f"device must be 'cpu', 'cuda' or 'cuda:NUMBER'; got {name!r}.")
