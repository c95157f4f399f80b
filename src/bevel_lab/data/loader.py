"""Samples that are read from files as they are needed, by processes that die with the one that wants them."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from bevel_lab.errors import LabError
from bevel_lab.runtime.processes import exit_with_parent


def batches(
    samples: Dataset[Any], keys: Iterable[list[Any]], together: Callable[[list[Any]], Any] = torch.stack,
    *, alone: bool = False, pin: bool = False,
) -> Iterator[Any]:  # fmt: skip
    """``together`` of the samples of every list of keys, in order, read by as many processes as torch has threads.

    How many processes there are changes nothing in the result. A process that may have no children (a daemon) reads
    by itself.

    Args:
        samples: key → sample; raises ``LabError`` naming a file that will not do. It travels to the processes.
        alone: whether nothing is read from files, so that processes would only cost.
        pin: whether batches are put into pinned memory, for a GPU.

    Raises:
        LabError: the first that reading a sample raised, before its batch is given.
    """
    loader: DataLoader[Any] = DataLoader(
        _Told(samples),
        batch_sampler=keys,
        num_workers=0 if alone or multiprocessing.current_process().daemon else torch.get_num_threads(),
        collate_fn=functools.partial(_together, together),
        pin_memory=pin,
        worker_init_fn=exit_with_parent,
        generator=torch.Generator(),  # or the loader takes a number from the global one
    )
    for batch in loader:
        if isinstance(batch, LabError):
            raise batch
        yield batch


class _Told(Dataset[Any]):
    """An error is a sample: raised in a process, it would arrive wrapped in that one's traceback."""

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.samples[key]
        except LabError as error:
            return error


def _together(together: Callable[[list[Any]], Any], samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, LabError)), None) or together(samples)
