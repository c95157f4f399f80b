"""Timing on a GPU, and a rehearsal on the CPU that takes the same path.

Kernels are timed as replays of a CUDA graph over rotating buffers that exceed the L2 cache, so that neither Python nor
the cache affects them. Calls are timed twice: on the device's clock, queued behind a sleep, so that the device never
waits for Python; and on the wall's, as they come.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import bevel
from bevel_lab.bench.gpu.shapes import SMALL, Layout
from bevel_lab.bench.rows import Collector
from bevel_lab.bench.timing import Sample, Timed, compare, stopwatch

L2 = 60_000_000  # bytes of the cache; the buffers take at least four times as many
ROUNDS = 15
SPAN = 2e-3  # seconds of work between two events, whose own resolution is half a microsecond
MARGIN = 1.1  # of that, because a card may grow faster than it was when the calls were counted
MOST = 8192  # replays, of however little work
QUEUED = 128  # calls behind one sleep: about half of the launches that a stream takes before it makes the host wait
CYCLES = 2e9  # of a sleep, a second; more than any chip's clock

Call = Callable[[int], object]
"""One call on the buffers of the given turn."""


class Bench(Collector):
    """Measures on a GPU, or on tiny tensors in a rehearsal on the CPU, and collects the rows.

    Args:
        path: CSV to which each group of rows is appended.
    """

    def __init__(self, device: torch.device, dry: bool, path: Path | None = None) -> None:
        name = "none (rehearsal)" if dry else torch.cuda.get_device_name(device)
        super().__init__(name, _versions(dry), path)
        self.device, self.dry = device, dry

    def look(self) -> None:
        """Note the card's clocks and the rate of a clone of 256 MB: every row of a section says both."""
        x = self.buffers("256 MB", torch.bfloat16, Layout(64, 56))
        with torch.no_grad():
            sample = self.replays({"copy": lambda i: x[i].clone()}, len(x))["copy"]
        self.clone = 2 * x[0].numel() * x[0].element_size() / sample.median
        found = _ask("clocks.sm,clocks.mem")
        self.clocks = " / ".join(part.strip() for part in found.split(",")) if found else "unknown"

    def buffers(self, size: str, dtype: torch.dtype, layout: Layout) -> list[Tensor]:
        """Make as many normal tensors as exceed the cache, each of about ``size``; tiny ones in a rehearsal."""
        number, unit = size.split()
        amount = 256 * dtype.itemsize if self.dry else int(number) << {"MB": 20, "GB": 30}[unit]
        turns = 1 if self.dry else max(2, math.ceil(4 * L2 / amount))
        shape, memory = layout.shape(amount // dtype.itemsize, self.dry)
        made = [torch.empty(shape, device=self.device, dtype=dtype, memory_format=memory) for _ in range(turns)]
        return [t.normal_() for t in made]

    def small(self) -> Tensor:
        """Make a tensor of 10,000 elements; of 100 in a rehearsal."""
        return torch.randn(10 if self.dry else SMALL[0], *SMALL[1:], device=self.device)

    def replays(self, cases: Mapping[str, Call], turns: int) -> dict[str, Sample]:
        """Time the cases as replays of captured graphs, in turn, round by round: seconds a call."""
        return self._compare({name: self._replayed(call, turns) for name, call in cases.items()})

    def calls(self, cases: Mapping[str, Call], turns: int, rounds: int = ROUNDS) -> dict[str, dict[str, Sample]]:
        """Time the cases as a user calls them, by both timers: seconds a call, by timer and case."""
        if self.dry:
            found = self._compare({name: stopwatch(_all(call, turns), turns) for name, call in cases.items()})
            return {"device": found, "wall": found}
        made = {name: self._called(call, turns) for name, call in cases.items()}
        return {
            timer: self._compare({name: both[i] for name, both in made.items()}, rounds)
            for i, timer in enumerate(("device", "wall"))
        }

    def wait(self) -> None:
        if not self.dry:
            torch.cuda.synchronize(self.device)

    def peak(self, call: Callable[[], object]) -> int:
        """Return the most bytes that tensors took during a call; 0 in a rehearsal."""
        if not self.dry:
            torch.cuda.reset_peak_memory_stats(self.device)
        call()
        self.wait()
        return 0 if self.dry else torch.cuda.max_memory_allocated(self.device)

    def _compare(self, made: Mapping[str, Timed], rounds: int = ROUNDS) -> dict[str, Sample]:
        return compare(made, 1 if self.dry else rounds, warm_up=0 if self.dry else 2)

    def _replayed(self, call: Call, turns: int) -> Timed:
        every = _all(call, turns)
        if self.dry:
            return stopwatch(every, turns)
        every()  # compile before the capture
        self.wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            every()
        return self._clocked(graph.replay, self._enough(graph.replay), turns)

    def _enough(self, replay: Callable[[], object]) -> int:
        """Return how many replays fill ``SPAN``: tried, and by the least of four, for the first are slower."""
        times = 1
        while times < MOST:
            single = max(min(self._clocked(replay, times)()[0] for _ in range(4)), 1e-9)
            if times * single >= SPAN * MARGIN:
                break
            times = min(MOST, max(2 * times, math.ceil(SPAN * MARGIN / single)))
        return times

    def _called(self, call: Call, turns: int) -> tuple[Timed, Timed]:
        """Return both timers of a call: as many calls as take about ``SPAN``, but no more than fit the queue."""
        every = _all(call, turns)
        every()  # compile before timing
        self.wait()
        single = min(self._walled(every, turns)()[0] for _ in range(3))
        steps = min(max(math.ceil(SPAN / single), turns), QUEUED)
        some = _all(call, turns, steps)
        wall = self._walled(some, steps)
        return self._clocked(some, 1, steps, asleep=1.5 * wall()[0] * steps), wall

    def _walled(self, some: Callable[[], object], steps: int) -> Timed:
        """Time so many steps on the wall's clock, until the device has done them."""

        def once() -> Sequence[float]:
            self.wait()
            start = time.perf_counter()
            some()
            self.wait()
            return ((time.perf_counter() - start) / steps,)

        return once

    def _clocked(self, call: Callable[[], object], times: int, steps: int = 1, asleep: float = 0.0) -> Timed:
        """Time ``times`` calls of so many steps on the device's own clock, queued behind a sleep of so many seconds."""
        cuda: Any = torch.cuda

        def once() -> Sequence[float]:
            first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            if asleep:
                cuda._sleep(int(asleep * CYCLES))
            first.record()
            for _ in range(times):
                call()
            last.record()
            last.synchronize()
            return (float(first.elapsed_time(last)) / 1e3 / times / steps,)

        return once


def _all(call: Call, turns: int, steps: int = 0) -> Callable[[], None]:
    def every() -> None:
        for i in range(steps or turns):
            call(i % turns)

    return every


def _ask(query: str) -> str:
    """Ask ``nvidia-smi``; empty where it does not answer."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]


def _versions(dry: bool) -> dict[str, str]:
    """Versions of the driver and of all packages that take part."""
    return {
        "driver": ("" if dry else _ask("driver_version")) or "unknown",
        "torch": str(torch.__version__),
        "triton": importlib.metadata.version("triton"),
        "python": platform.python_version(),
        "bevel": bevel.__version__,
    }
