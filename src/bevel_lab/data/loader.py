"""Batches of samples that worker processes read from files."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from bevel_lab.data.invalid import silence_data_notes
from bevel_lab.errors import LabError
from bevel_lab.runtime.processes import exit_with_parent


def batches(
    read: Callable[[Any], Any], keys: Iterable[list[Any]], collate: Callable[[list[Any]], Any] = torch.stack,
    *, in_memory: bool = False, pin: bool = False,
) -> Iterator[Any]:  # fmt: skip
    """Read a batch for every list of keys, in order, with as many processes as torch has threads.

    The number of processes does not change the result. A daemonic process, which may have no children, reads by itself.

    Args:
        read: key → sample; raises ``LabError`` for an invalid file. It is pickled to the worker processes.
        keys: the keys of every batch.
        collate: list of samples → batch.
        in_memory: whether samples are read without files, so that worker processes would only cost time.
        pin: whether batches are put into pinned memory, for a GPU.

    Raises:
        LabError: the first error of a sample, when its batch is due.
    """
    loader: DataLoader[Any] = DataLoader(
        _Samples(read),
        batch_sampler=keys,
        num_workers=0 if in_memory or multiprocessing.current_process().daemon else torch.get_num_threads(),
        collate_fn=functools.partial(_collate, collate),
        pin_memory=pin,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # otherwise the loader draws from the global generator
    )
    for batch in loader:
        if isinstance(batch, LabError):
            raise batch
        yield batch


def _start_worker(number: int) -> None:
    silence_data_notes()
    exit_with_parent(number)


class _Samples(Dataset[Any]):
    """Returns a ``LabError`` instead of raising it: torch would wrap it in the worker's traceback."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.read(key)
        except LabError as error:
            return error


def _collate(collate: Callable[[list[Any]], Any], samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, LabError)), None) or collate(samples)
