"""Memory of a training run: bytes kept for backward, and the peak of the process or the GPU."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass
class SavedBytes:
    """Counts what autograd keeps for backward while :meth:`watch` is active.

    Tensors that share a storage count once; the model's own parameters and buffers, which are there anyway, do not.
    """

    total: int = 0
    _seen: set[int] = field(default_factory=set)

    @contextlib.contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        self._seen = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}

        def pack(saved: Tensor) -> Tensor:
            storage = saved.untyped_storage()
            if storage.data_ptr() not in self._seen:
                self._seen.add(storage.data_ptr())
                self.total += storage.nbytes()
            return saved  # kept alive until backward, so no address is used twice

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            yield


class PeakMemory:
    """Peak memory since construction, in bytes.

    On a GPU torch's own peak of allocated memory. On the CPU how far the resident set rose above its size at the
    start; a lower bound where the process reuses memory that it could not give back after earlier work.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.start = 0
        else:
            _give_back()
            _reset_high_water()
            self.start = _resident()

    def read(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return max(0, _high_water() - self.start)


def _give_back() -> None:
    """Return freed memory to the system where the C library can, or the second trial of a process would need none."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_high_water() -> None:
    # Linux keeps the high-water mark of the whole process's life; writing 5 sets it back to the present size
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _high_water() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _resident()


def _resident() -> int:
    import psutil  # only here: the GPU's bench counts saved bytes with torch alone

    return int(psutil.Process().memory_info().rss)


def synchronize(device: torch.device) -> None:
    """Wait for what a GPU has been asked to do, so that a clock counts it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
