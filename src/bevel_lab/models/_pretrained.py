"""Pretrained weights from a local file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bevel_lab.errors import LabError


def load(model: nn.Module, path: Path) -> tuple[str, str]:
    """Copy the weights in ``path`` into ``model``, by name; a head of another shape keeps its initial values.

    The file may belong to a part of the network, such as the classifier whose layers a detector is built on: its names
    are searched in every submodule. A submodule with other names for some layers has an attribute
    ``pretrained_names``: prefixes of the file's names → prefixes of its own.

    Args:
        model: changed in place.
        path: a state dict saved by ``torch.save``, or a dict with one under ``"state_dict"`` or ``"model"``; read with
            ``weights_only=True``.

    Returns:
        A sentence on what was loaded and what was not, and sixteen hex digits of the file's SHA-256.

    Raises:
        LabError: if there is no such file, it holds no state dict, or it has less than half of the numbers of the model
            or the submodule.
    """
    own = model.state_dict()
    fits, place = _fitting(_read(path), model, own)
    new = [name for name in own if name not in fits]
    total = _numbers(own)
    covered = _numbers(fits)
    if covered * 2 < _numbers({name: value for name, value in own.items() if name.startswith(place)}):
        raise LabError(
            f"{path} fits {covered:,} of the model's {total:,} numbers (the first that does not is {new[0]!r}); give "
            "the weights of this very network."
        )
    model.load_state_dict(fits, strict=False)
    rest = f"; initial values stay for {', '.join(new[:4])}{' …' if len(new) > 4 else ''}" if new else ""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return f"{covered:,} of {total:,} numbers from {path.name}{rest}", digest


def _fitting(state: dict[str, Tensor], model: nn.Module, own: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The part of ``state`` that fits the (sub)module which most of it fits, by full name, and that one's prefix."""
    best: tuple[dict[str, Tensor], str] = {}, ""
    for place, module in model.named_modules():
        start = f"{place}." if place else ""
        other: dict[str, str] = vars(module).get("pretrained_names", {})
        named = {start + _renamed(name, other): value for name, value in state.items()}
        fits = {name: value for name, value in named.items() if name in own and own[name].shape == value.shape}
        if _numbers(fits) > _numbers(best[0]):
            best = fits, start
    return best


def _renamed(name: str, other: dict[str, str]) -> str:
    return next((new + name.removeprefix(old) for old, new in other.items() if name.startswith(old)), name)


def _numbers(state: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in state.values())


def _read(path: Path) -> dict[str, Tensor]:
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LabError(
            f"there is no weight file {path}; nothing is downloaded here: fetch it where there is a network, and give "
            "its path."
        ) from None
    except OSError as error:
        raise LabError(f"{path} cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # a damaged file makes the reader raise whatever it stumbles over
        raise LabError(f"{path} is not a file of weights alone, or is damaged; save a state dict again.") from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(map(_named, found.items())):
        raise LabError(f"{path} holds no state dict (names and tensors).")
    return found


def _named(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)
