"""What a trained network costs at inference with each activation, as it is shipped: one image, one thread.

Three runtimes: torch eager, ``torch.compile`` and ONNX Runtime. The time is the processor's, which other programs of
the machine disturb less than the clock on the wall.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

import bevel
from bevel_lab.bench.targets import SHIPPED
from bevel_lab.bench.timing import Sample, compare, stopwatch
from bevel_lab.runtime.inference import ready

ANY = 1e6
"""A tolerance that lets everything pass: what is timed is not trained."""


def networks(build: Callable[[], nn.Module], x: Tensor) -> dict[str, nn.Module]:
    """Return a network with each activation as it would be shipped, in evaluation mode.

    Slopes are set as training leaves them: different in every channel.

    Args:
        build: makes the network with ReLUs, the same each time.
        x: an example.
    """

    def swapped(spec: str) -> nn.Module:
        model = build().eval()
        bevel.swap(model, spec, x, preserve=False)
        _spread(model)
        return model

    def hardened(spec: str, merge: float | None = None) -> nn.Module:
        return bevel.fold(bevel.harden(swapped(spec), ANY, x, merge=merge).model, x).model

    gates = build().eval()
    bevel.swap(gates, "gate", x, preserve=False)
    gate, merged, one = SHIPPED
    return {
        "relu": build().eval(),
        "gelu": swapped("gelu"),
        "silu": swapped("silu"),
        gate: bevel.fold(bevel.harden(gates, ANY).model, x).model,
        "sau as exported": swapped("sau"),
        "sau, hardened and folded": hardened("sau"),
        merged: hardened("sau", merge=ANY),
        one: hardened("sau:num_parameters=1"),
        "frelu as exported": swapped("frelu"),
        "frelu, folded": bevel.fold(swapped("frelu"), x).model,
    }


@torch.no_grad()
def _spread(model: nn.Module) -> None:
    """Set the slopes of SAU and FReLU."""
    for parameter in bevel.training.activation_parameters(model).values():
        middle = float(parameter.mean().round())  # 1 for positive slopes, 0 for negative ones
        parameter.copy_(torch.linspace(middle + 0.05, middle + 0.25, parameter.numel()))


def timed(models: Mapping[str, nn.Module], x: Tensor, runtime: str, rounds: int) -> dict[str, Sample]:
    """Time each network in one runtime, interleaved; seconds of the processor a call."""
    # a trace has code of its own; of one forward torch.compile keeps eight graphs, which are asked in turn
    if runtime == "compile":
        models = {name: torch.fx.symbolic_trace(model) for name, model in models.items()}
    calls = {name: stopwatch(ready(m, x, runtime), clock=time.thread_time) for name, m in models.items()}
    return compare(calls, rounds)
