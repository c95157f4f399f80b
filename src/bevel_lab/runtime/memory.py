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
    """Counts the bytes that autograd keeps for backward while :meth:`watch` is active.

    Tensors that share a storage count once; the model's parameters and buffers do not count. What a loss with
    derivatives of its own keeps for them counts too.

    Attributes:
        total: the bytes.
    """

    total: int = 0
    _seen: dict[int, torch.UntypedStorage] = field(default_factory=dict)

    @contextlib.contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Count in the ``with`` block, which must do the forward pass of ``model``."""
        storages = (t.untyped_storage() for t in (*model.parameters(), *model.buffers()))
        self._seen = {storage.data_ptr(): storage for storage in storages}

        def pack(saved: Tensor) -> Tensor:
            storage = saved.untyped_storage()
            if storage.data_ptr() not in self._seen:
                self._seen[storage.data_ptr()] = storage  # kept alive, so that no address is used twice
                self.total += storage.nbytes()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            yield
        self._seen = {}


class PeakMemory:
    """Peak memory since construction, in bytes.

    On a GPU it is torch's own peak of allocated memory. On the CPU it is the growth of the resident set since the
    start: a lower bound where the process reuses memory that it could not return after earlier work.

    Args:
        device: whose memory to measure.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.start = device, 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        # freed memory goes back to the system where the C library can; a second trial would seem to need none otherwise
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        # Linux keeps the peak of the process's whole life; writing 5 resets it to the present size
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self.start = _resident("VmRSS:")

    def read(self) -> int:
        """The peak so far."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return max(0, _resident("VmHWM:") - self.start)


def _resident(field: str) -> int:
    """Size of the resident set by Linux (``VmRSS:`` now, ``VmHWM:`` at its peak); elsewhere the present size."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    import psutil  # here, because the bench on GPUs counts saved bytes with torch alone

    return int(psutil.Process().memory_info().rss)


def synchronize(device: torch.device) -> None:
    """Wait for all queued work of a GPU, so that a clock counts it; do nothing on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
