"""What the activations cost in whole networks: bytes kept for backward, and the time of a training step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import bevel
from bevel_lab.bench.cases import swapped, training_step
from bevel_lab.bench.nets import COMPILED, NETWORKS, SPECS, builder
from bevel_lab.bench.rows import Collector
from bevel_lab.bench.timing import Sample, compare, stopwatch
from bevel_lab.runtime.memory import SavedBytes

BATCH, SIDE = 8, 64
STEPS = 10  # after which a network that was swapped from ReLU is looked at again
PER_CHANNEL = ("sau", "frelu", "smooth_frelu")


def kept(model: nn.Module, images: Tensor) -> Sample:
    """Count the bytes that autograd keeps for backward of one forward pass, parameters and buffers aside."""
    watch = SavedBytes()
    with watch.watch(model):
        model(images)
    return Sample([float(watch.total)])


def networks(bench: Collector, threads: int, compiled: bool, report: Callable[[str], None]) -> None:
    """Measure every network with every activation in the place of its ReLUs, eager, and some of them compiled.

    Args:
        bench: gets the rows. ``layout`` is the network, with ``compiled`` before it where it is.
        threads: of torch; the caller has set them.
        compiled: whether some go through ``torch.compile``, which takes minutes.
        report: called with a line of progress before each network.
    """
    torch.manual_seed(0)
    images, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.zeros(BATCH, dtype=torch.int64)
    for name in NETWORKS:
        report(f"{name}, training steps, {threads} threads")
        _network(bench, name, threads, images, labels, compile_it=False)
        if compiled and name in COMPILED:
            report(f"compiled {name}, training steps, {threads} threads")
            _network(bench, name, threads, images, labels, compile_it=True)


def _network(bench: Collector, name: str, threads: int, images: Tensor, labels: Tensor, *, compile_it: bool) -> None:
    counted: dict[str, Sample] = {}
    steps: dict[str, Callable[[], object]] = {}
    with _fresh_compiler():  # which makes at most eight programs of one function
        for spec in SPECS:
            model: nn.Module = swapped(builder(name, SIDE)(), spec, images)
            if compile_it:
                model.compile(dynamic=False)
            steps[spec] = training_step(model, images, labels)
            steps[spec]()  # compiles, and makes gradients and momentum
            counted[spec] = kept(model, images)
        if not compile_it:
            counted |= _from_relu(name, images, labels)
        found = compare({spec: stopwatch(step) for spec, step in steps.items()}, 11)
        for what, samples in (("bytes", counted), ("step", found)):
            bench.add("network", what, samples, threads=threads, elements=images.numel(), dtype="float32",
                      layout=f"{'compiled ' * compile_it}{name}",
                      size=f"{BATCH} images of {SIDE} × {SIDE}")  # fmt: skip


def _from_relu(name: str, images: Tensor, labels: Tensor) -> dict[str, Sample]:
    """Count what activations keep that start as the ReLU whose place they took, with slopes of 0, and later."""
    counted: dict[str, Sample] = {}
    for spec in PER_CHANNEL:
        model = builder(name, SIDE)()
        bevel.swap(model, spec, images)
        counted[f"{spec}, swapped from ReLU, first step"] = kept(model, images)
        step = training_step(model, images, labels)
        for _ in range(STEPS):
            step()
        counted[f"{spec}, swapped from ReLU, after {STEPS} steps"] = kept(model, images)
    return counted


@contextlib.contextmanager
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()
