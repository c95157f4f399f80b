"""Interleaved timing: every case runs once a round, in rotating order, so that drift cancels in ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from bevel_lab.bench.cases import Case

Timed = Callable[[], Sequence[float]]
"""A function that makes one call and returns its times: one number, or forward, backward and both."""


@dataclass(frozen=True)
class Sample:
    """The measurements of one case: seconds, one number a round, or bytes."""

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
    """Warm up, then make each call once a round; returns one sample for every time that a call returns."""
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
    """Interleave calls that return one time each."""
    return {name: first for name, (first,) in interleave(calls, rounds, warm_up).items()}


def stopwatch(call: Callable[[], object], steps: int = 1, clock: Callable[[], float] = time.perf_counter) -> Timed:
    """Time a call that makes ``steps`` steps: seconds a step."""

    def once() -> Sequence[float]:
        start = clock()
        call()
        return ((clock() - start) / steps,)

    return once


def forward_backward(case: Case, x: Tensor, g: Tensor, inner: int) -> Timed:
    """Time (forward, backward, both): the mean of ``inner`` calls, because one call on a small tensor is too short."""
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
