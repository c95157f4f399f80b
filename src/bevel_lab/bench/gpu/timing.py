"""Timing on a GPU's own clock, with a rehearsal on the CPU that takes the same path.

Kernels are timed as replays of a CUDA graph over rotating buffers that exceed the L2 cache, so that neither Python nor
the cache enters; calls are timed as a user makes them. Candidates of a group take turns within every round, so that
drift cancels in their ratios.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bevel_lab.bench.gpu.cases import Case

L2 = 60_000_000  # bytes; buffers rotate over at least four times this
ROUNDS = 15


@dataclass(frozen=True)
class Bench:
    """Where and how much: a GPU, or a rehearsal on the CPU."""

    device: torch.device
    dry: bool

    @property
    def sizes(self) -> list[int]:
        """Bytes of x."""
        return [512] if self.dry else [1 << 26, 1 << 28, 1 << 31]

    @property
    def middle(self) -> int:
        """The size of rows that no target is set for."""
        return self.sizes[len(self.sizes) // 2]

    def turns(self, size: int) -> int:
        return 1 if self.dry else max(2, -(-4 * L2 // size))

    def wait(self) -> None:
        if not self.dry:
            torch.cuda.synchronize(self.device)

    def allocated(self) -> int:
        """Bytes of the device that tensors take now; 0 in a rehearsal."""
        return 0 if self.dry else torch.cuda.memory_allocated(self.device)

    def peak(self, call: Callable[[], object]) -> int:
        """The most bytes that tensors took during a call; 0 in a rehearsal."""
        if self.dry:
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        call()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device)

    def once(self, call: Callable[[], object]) -> float:
        """Seconds of one call on the device's own clock."""
        if self.dry:
            begin = time.perf_counter()
            call()
            return time.perf_counter() - begin
        cuda: Any = torch.cuda
        first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        first.record()
        call()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3

    def captured(self, case: Case, turns: int) -> Callable[[], object]:
        """All turns of a case as one graph; in a rehearsal just the calls."""

        def all_turns() -> None:
            for turn in range(turns):
                case.call(turn)

        all_turns()
        if self.dry:
            return all_turns
        self.wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            all_turns()
        return graph.replay


def _repeat(case: Case, turns: int, times: int) -> None:
    for i in range(times):
        case.call(i % turns)


def measure(
    bench: Bench, cases: Sequence[Case], turns: int, *, graph: bool, calls: int = 1
) -> Iterator[tuple[Case, list[float]]]:
    """Seconds of each call of each case, round by round, the cases in turn."""
    runs: list[Callable[[], object]] = []
    for case in cases:
        if graph:
            runs.append(bench.captured(case, turns))
        else:
            runs.append(functools.partial(_repeat, case, turns, max(turns, calls)))
            runs[-1]()  # compiles
    each = turns if graph else max(turns, calls)
    samples: list[list[float]] = [[] for _ in cases]
    for turn in range(1 if bench.dry else ROUNDS + 3):
        for i, run in enumerate(runs):
            seconds = bench.once(run) / each
            if turn >= (0 if bench.dry else 3):
                samples[i].append(seconds)
    yield from zip(cases, samples, strict=True)
