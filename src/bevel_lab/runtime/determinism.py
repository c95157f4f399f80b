"""What must be set so that a trial repeats to the last bit, and set back afterwards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.utils.deterministic

_FILLING: Any = torch.utils.deterministic  # its one setting is a property of the module, which type checkers miss


@contextlib.contextmanager
def deterministic(threads: int, device: torch.device) -> Iterator[None]:
    """Deterministic algorithms, a fixed number of threads, and global generators that are nobody else's.

    Threads, because the order of a sum depends on how many share it.
    """
    # cuBLAS reads this when it starts; without it the deterministic mode refuses matrix products on a GPU
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    was_threads = torch.get_num_threads()
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    was_benchmark, was_filling = torch.backends.cudnn.benchmark, _FILLING.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        # the deterministic mode fills every new tensor, which only helps to find reads of what was never written,
        # and costs a small network a tenth of its time
        _FILLING.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_num_threads(was_threads)
            torch.use_deterministic_algorithms(was[0], warn_only=was[1])
            torch.backends.cudnn.benchmark = was_benchmark
            _FILLING.fill_uninitialized_memory = was_filling


def seed_global_generators(device: torch.device, value: int) -> None:
    """Seed the global generators that modules such as dropout draw from.

    Not ``torch.manual_seed``: where no GPU is in use, that keeps a stack trace of every call for one that may come.
    """
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
