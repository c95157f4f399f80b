"""Timing on a GPU's own clock, and a rehearsal on the CPU that takes the same path.

Kernels are timed as replays of a CUDA graph over rotating buffers that exceed the L2 cache, so that neither Python nor
the cache affects them. Calls are timed as a user makes them.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import bevel
from bevel_lab.bench.rows import Collector
from bevel_lab.bench.timing import Sample, Timed, compare, stopwatch

L2 = 60_000_000  # bytes of the cache; the buffers take at least four times as many
ROUNDS = 15

Call = Callable[[int], object]
"""One call on the buffers of the given turn."""


class Bench(Collector):
    """Measures on a GPU, or on tiny tensors in a rehearsal on the CPU, and collects the rows.

    Attributes:
        notes: lines for the page: the result of the check, and the sections that failed.
    """

    def __init__(self, device: torch.device, dry: bool) -> None:
        super().__init__("none (rehearsal)" if dry else torch.cuda.get_device_name(device), _versions(dry))
        self.device, self.dry = device, dry
        self.channels = 4 if dry else 64
        self.notes: list[str] = []

    @property
    def sizes(self) -> list[int]:
        """Sizes of x in bytes."""
        return [512] if self.dry else [1 << 26, 1 << 28, 1 << 31]

    @property
    def middle(self) -> int:
        """Size in bytes for rows that no target is set for."""
        return self.sizes[len(self.sizes) // 2]

    def buffers(self, size: int, dtype: torch.dtype, layout: str = "nchw") -> list[Tensor]:
        """Make as many normal tensors as exceed the cache, each of about ``size`` bytes: 64 channels of 56 x 56 (4 of
        4 x 4 in a rehearsal). Layout ``btc`` is (batch, pixels, channels)."""
        turns = 1 if self.dry else max(2, -(-4 * L2 // size))
        side = 4 if self.dry else 56
        batch = max(1, size // (dtype.itemsize * self.channels * side * side))
        shape = (batch, side * side, self.channels) if layout == "btc" else (batch, self.channels, side, side)
        memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        made = [torch.empty(shape, device=self.device, dtype=dtype, memory_format=memory) for _ in range(turns)]
        return [t.normal_() for t in made]

    def compare(
        self, cases: Mapping[str, Call], turns: int, *, graph: bool = False, calls: int = 1
    ) -> dict[str, Sample]:
        """Time the cases in turn, round by round: seconds a call."""
        made = {name: self._timed(call, turns, graph, max(turns, calls)) for name, call in cases.items()}
        return compare(made, 1 if self.dry else ROUNDS, warm_up=0 if self.dry else 3)

    def wait(self) -> None:
        if not self.dry:
            torch.cuda.synchronize(self.device)

    def peak(self, call: Callable[[], object]) -> int:
        """Return the most bytes that tensors took during a call; 0 in a rehearsal."""
        if self.dry:
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        call()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device)

    def _timed(self, call: Call, turns: int, graph: bool, calls: int) -> Timed:
        steps = turns if graph else calls

        def all_turns() -> None:
            for i in range(steps):
                call(i % turns)

        all_turns()  # compile before timing
        if self.dry:
            return stopwatch(all_turns, steps)
        return self._clocked(self._captured(all_turns) if graph else all_turns, steps)

    def _captured(self, call: Callable[[], object]) -> Callable[[], object]:
        self.wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return graph.replay

    def _clocked(self, call: Callable[[], object], steps: int) -> Timed:
        """Time a step like ``stopwatch`` does, on the device's own clock."""
        cuda: Any = torch.cuda

        def once() -> Sequence[float]:
            first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            first.record()
            call()
            last.record()
            last.synchronize()
            return (float(first.elapsed_time(last)) / 1e3 / steps,)

        return once


def _versions(dry: bool) -> dict[str, str]:
    """Versions of the driver and of all packages that take part."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = []
    if not dry:
        try:
            done = subprocess.run(query, capture_output=True, text=True, check=False)
            driver = done.stdout.strip().splitlines()
        except OSError:
            pass
    return {
        "driver": driver[0] if driver else "unknown",
        "torch": str(torch.__version__),
        "triton": importlib.metadata.version("triton"),
        "python": platform.python_version(),
        "bevel": bevel.__version__,
    }
