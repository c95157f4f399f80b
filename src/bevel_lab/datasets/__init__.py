"""Data sets: one a file, found by name. Loading gives a value that lives in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bevel_lab.data.fetch import Origin, fetch
from bevel_lab.data.overlap import Comparable, check_shared
from bevel_lab.data.source import Source
from bevel_lab.registry import ParametricEntry, Registry


@dataclass(frozen=True)
class DataSet:
    """An entry of the registry.

    Attributes:
        summary: one line for ``bevel list``.
        load: reads it whole; the value's type is an agreement between the data set and its task. Raises
            ``LabError`` that names the missing or damaged file and says what would do.
        task: name of the task it is for.
        origin: where it is fetched from; or, for one that must be had by hand, a sentence that says how; empty where
            it is a user's own, comes with a package or is made.
    """

    summary: str
    load: Callable[[Source], Any]
    task: str = "classification"
    origin: Origin | str = ""


DATASETS: Registry[DataSet] = Registry("bevel_lab.datasets", "data set")


def own(dataset: str, task: str) -> str:
    """For an error message, where ``dataset`` is a user's own folder: how one for ``task`` is written; else ""."""
    folders = {
        name: entry
        for name, entry in DATASETS.items()
        if name.startswith("folder") and isinstance(entry, ParametricEntry)
    }
    usages = [entry.usage for entry in folders.values() if entry.task == task]
    if dataset.partition(":")[0] not in folders or not usages:
        return ""
    return f"; a folder for {task} is written {' or '.join(usages)}"


@lru_cache(maxsize=1)
def load(name: str, source: Source) -> Any:
    """The data set ``name``, fetched if it is missing and ``source.download`` says so.

    Warns :class:`bevel_lab.data.overlap.SharedSamples` if its test part shares samples with the training part; if
    ``source.strict``, that is a ``LabError``.

    It is kept in memory until another one is asked for, since a worker runs many trials on one.
    """
    entry = DATASETS.item(name)
    if source.download and isinstance(entry.origin, Origin):
        fetch(entry.origin, source.root)
    data = entry.load(source)
    if isinstance(data, Comparable):
        check_shared(data, source.strict)
    return data


def check_present(names: Iterable[str], source: Source) -> None:
    """Raise ``BevelError`` for a data set that is not there. Those whose files are there are not read."""
    for name in dict.fromkeys(names):
        origin = DATASETS.item(name).origin
        if not (isinstance(origin, Origin) and origin.is_in(source.root)):
            load(name, source)
