"""Samples of the test part that were seen before the test: whoever learns them by heart scores too high."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bevel_lab.data.invalid import DataNote
from bevel_lab.errors import LabError

if TYPE_CHECKING:  # experiments and reports know the names of data sets; torch takes 2 s
    from torch import Tensor

NAMED = 3
"""How many shared samples a message names."""
COMPARED = 2**17
"""Contents of at most so many files are compared; of more, only the paths are: reading them would take hours."""
_TAIL = 4096
"""Bytes at the end of a file, which tell nearly all files of one size apart."""

Shared = list[tuple[str, str]]
"""(name of a test sample, name of the training or validation sample that is the same), by test sample."""


class SharedSamples(DataNote):
    """Samples of the test part are in the training or validation part as well."""


@runtime_checkable
class Comparable(Protocol):
    """A data set that can tell which of its test samples are training or validation samples."""

    def shared(self) -> Shared:
        """Return test samples that are training or validation samples, by test sample."""
        ...


def check_shared(data: Comparable, strict: bool) -> None:
    """Warn :class:`SharedSamples` if test samples of ``data`` were seen before; if ``strict``, raise ``LabError``."""
    found = data.shared()
    if not found:
        return
    named = ", ".join(test if test == seen else f"{test} (the same as {seen})" for test, seen in found[:NAMED])
    more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
    count = "1 sample" if len(found) == 1 else f"{len(found)} samples"
    problem = f"the test part shares {count} with the training or validation part: {named}{more}"
    if strict:
        raise LabError(f"{problem}; delete each from one part, or run without --strict.")
    warnings.warn(problem, SharedSamples, stacklevel=2)


def same(seen: Iterable[Hashable], test: Iterable[Hashable]) -> list[tuple[int, int]]:
    """(index in ``test``, index of the first equal key in ``seen``) of every key that both have, by the former.

    Example:
        >>> same(["a", "b", "a"], ["c", "a"])
        [(1, 0)]
    """
    wanted: dict[Hashable, list[int]] = {}
    for index, key in enumerate(test):
        wanted.setdefault(key, []).append(index)
    return sorted((j, i) for i, key in enumerate(seen) for j in wanted.pop(key, ()))


def same_tensors(seen: Tensor, test: Tensor) -> list[tuple[int, int]]:
    """Compare the rows of two uint8 tensors as :func:`same` compares keys."""
    return same(*([hashlib.blake2b(row.tobytes()).digest() for row in rows.cpu().numpy()] for rows in (seen, test)))


def same_files(seen: Sequence[Path], test: Sequence[Path]) -> Shared:
    """Test samples with the content of a sample in ``seen``, by their paths below the folder that all lie in.

    A sample is a file, or a folder of files. Of more than :data:`COMPARED` samples only the paths are compared.
    """
    # from the cheapest to the surest: what differs in size is not opened
    keys: Sequence[Callable[[Path], Hashable]] = (_size, _tail, _digests)
    count = len(seen) + len(test)
    if count > COMPARED:
        keys = (Path.resolve,)
        warnings.warn(
            f"{count:,} samples are more than {COMPARED:,}: only the paths of those in test and training are compared, "
            "not their content",
            DataNote,
            stacklevel=2,
        )
    left, right = list(seen), list(test)
    for key in keys:
        ours, theirs = {path: key(path) for path in left}, {path: key(path) for path in right}
        both = {*ours.values()} & {*theirs.values()}
        left, right = ([path for path, value in found.items() if value in both] for found in (ours, theirs))
    if not right:
        return []
    root = os.path.commonpath([path.parent for path in (*seen, *test)])
    pairs = same((ours[path] for path in left), (theirs[path] for path in right))
    return [(os.path.relpath(right[j], root), os.path.relpath(left[i], root)) for j, i in pairs]


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if not p.name.startswith(".")) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _tail(path: Path) -> bytes:
    with _files(path)[-1].open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        return file.read()


def _digests(path: Path) -> tuple[bytes, ...]:
    found = []
    for file in _files(path):
        with file.open("rb") as content:
            found.append(hashlib.file_digest(content, "blake2b").digest())
    return tuple(found)
