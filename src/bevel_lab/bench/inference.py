"""What a trained network costs at inference with each activation, as it is shipped: one image, one thread.

Three runtimes: torch eager, ``torch.compile`` and ONNX Runtime. The time is the processor's, which other programs of
the machine disturb less than the clock on the wall.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import bevel
from bevel_lab.bench.targets import SHIPPED
from bevel_lab.bench.timing import Sample, compare, stopwatch

RUNTIMES = ("eager", "compile", "onnxruntime")
ANY = 1e6
"""A tolerance that lets everything pass: what is timed is not trained."""


def available(compiled: bool = True) -> tuple[str, ...]:
    """Return the runtimes of this machine."""
    onnx = all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnxscript"))
    wanted = {"eager": True, "compile": compiled, "onnxruntime": onnx}
    return tuple(name for name in RUNTIMES if wanted[name])


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


def ready(model: nn.Module, x: Tensor, runtime: str) -> Callable[[], object]:
    """Return a call that runs the network once in a runtime."""
    if runtime == "onnxruntime":
        return _session(model, x)
    # a trace has code of its own; of one class's forward torch.compile keeps eight graphs and asks them in turn
    call = torch.compile(torch.fx.symbolic_trace(model)) if runtime == "compile" else model

    def run() -> object:
        with torch.inference_mode():
            return call(x)

    return run


def _session(model: nn.Module, x: Tensor) -> Callable[[], object]:
    import onnxruntime

    with contextlib.redirect_stdout(None):
        program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    assert program is not None
    program.optimize()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options)
    given = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, given)


def timed(models: Mapping[str, nn.Module], x: Tensor, runtime: str, rounds: int) -> dict[str, Sample]:
    """Time each network in one runtime, interleaved; seconds of the processor a call."""
    calls = {name: stopwatch(ready(m, x, runtime), clock=time.thread_time) for name, m in models.items()}
    return compare(calls, rounds)
