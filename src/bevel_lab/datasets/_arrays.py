"""Reads the arrays in a Python pickle without running any of it.

CIFAR's files are pickles, and a pickle can name any function to be called. This reader knows three names, those by
which numpy writes an array, and stands something harmless in for each; a file with any other is refused. No numpy
code is called by the file either: what it says of an array is kept, checked, and read as bytes.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bevel_lab.errors import LabError


class _Array:
    """Stands in for ``numpy.ndarray``: keeps what its pickle says of it."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def tensor(self) -> Tensor:
        """uint8; raises ``ValueError`` where it is no whole array of bytes."""
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _DType) or dtype.name != "u1":
            raise ValueError("its array is not of unsigned bytes")
        content = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote text
        if len(content) != math.prod(shape):
            raise ValueError(f"its array has {len(content)} bytes, not {'×'.join(map(str, shape))}")
        if not content:
            raise ValueError("its array is empty")
        flat = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return flat.view(*shape[::-1]).permute(*range(len(shape))[::-1]) if fortran else flat.view(*shape)


class _DType:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Byte order and fields; bytes have none."""


def _latin(text: str, _: str) -> bytes:
    """Stands in for ``_codecs.encode``, by which Python 3 writes bytes in an old protocol."""
    return text.encode("latin1")


_NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("_codecs", "encode"): _latin,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise ValueError(f"it asks for {module}.{name}, which is not admitted") from None


def read(path: Path, array: str, labels: str) -> tuple[Tensor, list[int]]:
    """The bytes under the key ``array`` (uint8) and the whole numbers under ``labels`` of a pickled dictionary.

    Raises:
        LabError: naming ``path``, where it holds anything else, is damaged, or is missing.
    """
    try:
        content = _Reader(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        pixels, numbers = content[array], content[labels]
        if not isinstance(pixels, _Array) or not isinstance(numbers, list) or any(type(n) is not int for n in numbers):
            raise ValueError(f"{array!r} is not an array, or {labels!r} not a list of whole numbers")
        return pixels.tensor(), numbers
    except OSError as error:
        raise LabError(f"{path} cannot be read ({error.strerror}); unpack or fetch it again.") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise LabError(f"{path} is not a batch of images ({reason}); unpack or fetch it again.") from error
