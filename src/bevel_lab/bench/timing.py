"""Interleaved timing: every case once a round, in rotating order, so that drift of the machine cancels in ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from bevel_lab.bench.cases import Case

Timed = Callable[[], Sequence[float]]
"""Makes one call and returns its times: one number, or forward, backward and both."""


@dataclass(frozen=True)
class Sample:
    """What was measured of one case: seconds, one number a round, or bytes."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


def interleave(calls: Mapping[str, Timed], rounds: int, warm_up: int = 2) -> dict[str, list[Sample]]:
    """Make each call once a round, after the warm-up rounds; the times of a call are kept apart by position."""
    names = list(calls)
    for name in names * warm_up:
        calls[name]()
    found: dict[str, list[Sequence[float]]] = {name: [] for name in names}
    for i in range(rounds):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            found[name].append(calls[name]())
    return {name: [Sample(column) for column in zip(*times, strict=True)] for name, times in found.items()}


def compare(calls: Mapping[str, Timed], rounds: int, warm_up: int = 2) -> dict[str, Sample]:
    """The same for calls that return one time."""
    return {name: first for name, (first,) in interleave(calls, rounds, warm_up).items()}


def stopwatch(call: Callable[[], object], steps: int = 1) -> Timed:
    """Seconds of a step, where one call makes ``steps`` of them."""

    def once() -> Sequence[float]:
        start = time.perf_counter()
        call()
        return ((time.perf_counter() - start) / steps,)

    return once


def forward_backward(case: Case, x: Tensor, g: Tensor, inner: int) -> Timed:
    """Times of (forward, backward, both) a call, the mean of ``inner`` calls: for tensors too small to time one."""
    given = x.detach().requires_grad_()

    def once() -> Sequence[float]:
        forward = backward = 0.0
        for _ in range(inner):
            start = time.perf_counter()
            y = case.call(given)
            middle = time.perf_counter()
            dx = case.gradients(y, given, g)
            end = time.perf_counter()
            forward, backward = forward + middle - start, backward + end - middle
            del y, dx
        return forward / inner, backward / inner, (forward + backward) / inner

    return once
