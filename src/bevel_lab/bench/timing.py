"""Interleaved timing: every case once a round, in rotating order, so that drift of the machine cancels in ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bevel_lab.bench.cases import Case


@dataclass(frozen=True)
class Sample:
    """Seconds of one case, one number a round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def interleave(calls: dict[str, Callable[[], Sequence[float]]], rounds: int) -> dict[str, list[Sample]]:
    """Run each call once a round after two warm-up rounds; each returns its times, kept apart by position."""
    names = list(calls)
    for name in names * 2:
        calls[name]()
    found: dict[str, list[Sequence[float]]] = {name: [] for name in names}
    for i in range(rounds):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            found[name].append(calls[name]())
    return {name: [Sample(list(column)) for column in zip(*times, strict=True)] for name, times in found.items()}


def forward_backward(case: Case, x: Tensor, g: Tensor, inner: int) -> Callable[[], Sequence[float]]:
    """Times of (forward, backward, both) per call, the mean of ``inner`` calls: for tensors too small to time once."""
    given = x.detach().requires_grad_()
    inputs = (given, *case.parameters)

    def once() -> Sequence[float]:
        forward = backward = 0.0
        for _ in range(inner):
            start = time.perf_counter()
            y = case.call(given)
            middle = time.perf_counter()
            dx = [g.clone()] if case.name == "copy" else list(torch.autograd.grad(y, inputs, g))
            end = time.perf_counter()
            forward, backward = forward + middle - start, backward + end - middle
            del y, dx
        return forward / inner, backward / inner, (forward + backward) / inner

    return once
