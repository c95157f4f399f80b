"""Settings of torch that make a trial repeat to the last bit, restored afterwards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.utils.deterministic

_SETTINGS: Any = torch.utils.deterministic  # its one setting is a property of the module, which type checkers miss


@contextlib.contextmanager
def deterministic(threads: int, device: torch.device) -> Iterator[None]:
    """Deterministic algorithms, a fixed number of threads, and global generators of our own in the ``with`` block.

    Args:
        threads: torch threads; the order of a sum depends on their number.
        device: device whose generator is restored afterwards, beside the CPU's.
    """
    # cuBLAS reads this when it starts; without it the deterministic mode refuses matrix products on a GPU
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    was_threads, was_benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    was_filling = _SETTINGS.fill_uninitialized_memory
    with torch.random.fork_rng([device] if device.type == "cuda" else []), deterministic_algorithms(True):
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = False
        # the deterministic mode fills every new tensor, which only helps to find reads of unwritten memory and costs a
        # small network a tenth of its time
        _SETTINGS.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_num_threads(was_threads)
            torch.backends.cudnn.benchmark = was_benchmark
            _SETTINGS.fill_uninitialized_memory = was_filling


@contextlib.contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Switch torch's deterministic mode on or off in the ``with`` block."""
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(enabled)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])


def seed_global_generators(device: torch.device, value: int) -> None:
    """Seed the global generators that modules such as dropout draw from.

    ``torch.manual_seed`` is not used: where no GPU is in use it keeps a stack trace of every call for a later one.
    """
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
