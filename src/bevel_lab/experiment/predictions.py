"""Predicted classes of a test part: a side file for each list of them, named by its digest, which the record holds.

A file is zlib's compression of one unsigned 16-bit number a sample, least byte first.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bevel_lab.errors import LabError
from bevel_lab.runtime import atomic_file

FOLDER = "predictions"
"""Beside a ledger, or beside a file of records."""


@dataclass(frozen=True)
class Predictions:
    """The event that a trial has predicted the classes of its test part; its record comes next.

    Example:
        >>> one = Predictions.of([3, 0, 999])
        >>> one.digest, Predictions.of([3, 0, 999]) == one
        ('d4ce541f05434ba9', True)
    """

    digest: str
    data: bytes

    @classmethod
    def of(cls, classes: Sequence[int]) -> Predictions:
        plain = _swapped(array("H", classes)).tobytes()
        return cls(hashlib.sha256(plain).hexdigest()[:16], zlib.compress(plain, 9))

    def write(self, folder: Path) -> None:
        """Write the side file for the ledger, or the file of records, in ``folder``."""
        atomic_file.write(folder / FOLDER / self.digest, self.data)


def read(folder: Path, digest: str) -> array[int] | None:
    """The classes with a digest; None where there is no such file.

    Raises:
        LabError: if the file is damaged.
    """
    path = folder / FOLDER / digest
    try:
        plain = zlib.decompress(path.read_bytes())
    except FileNotFoundError:
        return None
    except zlib.error as error:
        raise LabError(f"{path} is damaged ({error}); remove it: the report goes on without it.") from error
    if hashlib.sha256(plain).hexdigest()[:16] != digest:
        raise LabError(f"{path} is damaged: its content has another digest; remove it.")
    return _swapped(array("H", plain))


def _swapped(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
