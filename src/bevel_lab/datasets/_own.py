"""What data sets that are users' own folders share: how they are written, and which part is tested on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from bevel_lab.data.images import stratified
from bevel_lab.data.invalid import DataNote
from bevel_lab.data.source import Source
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import check_folder
from bevel_lab.errors import LabError
from bevel_lab.registry import ParametricEntry
from bevel_lab.runtime.rng import SHARED, generator

TEST = 0.2
"""Fraction of a folder without a test part that is drawn to be one; the same in every trial."""


def own(
    name: str, what: str, layout: str, read: Callable[[Path, Source], Any], task: str = "classification"
) -> ParametricEntry[DataSet]:
    """The entry of ``NAME:PATH``.

    Args:
        name: its name.
        what: what lies in such a folder, such as ``"images"``.
        layout: how it lies there.
        read: reads the folder, which is there.
        task: as of :class:`DataSet`.
    """

    def of(argument: str) -> DataSet:
        def load(source: Source) -> Any:
            check_folder(Path(argument), f"{name}: takes a path from where bevel is started")
            return read(Path(argument), source)

        return DataSet(f"the {what} in {argument}", load, task)

    return ParametricEntry(f"your own {what}, {layout}", f"{name}:PATH", of, task)


def held_out(path: Path, instead: str = "") -> list[str]:
    """Which of ``test`` and ``val`` there are, the one that is tested on first; raises where there is neither."""
    found = [name for name in ("test", "val") if (path / name).is_dir()]
    if not found:
        raise LabError(f"{path} has train but neither test nor val; add one{instead}.")
    return found


def part_to_test(path: Path, instead: str = "") -> str:
    """The part beside ``train`` that is tested on; warns where another one is not read."""
    part, *unread = held_out(path, instead)
    for other in unread:
        note = f"{path} has {part} and {other}; it is tested on {part}, and {other} is not read"
        warnings.warn(note, DataNote, stacklevel=2)
    return part


def drawn(path: Path, labels: Tensor) -> tuple[Tensor, Tensor, str]:
    """Numbers of the training and test samples of a folder without a test part, stratified, and a note that says so."""
    count = max(1, round(TEST * len(labels)))
    test, train = stratified(labels, count, generator(SHARED, "folder test part"))
    note = f"a fixed test part of {count} pictures was drawn: {path} has none"
    warnings.warn(note, DataNote, stacklevel=2)
    return train, test, note
