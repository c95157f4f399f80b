"""A network's inference in the runtimes of this machine: torch eager, ``torch.compile`` and ONNX Runtime."""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

RUNTIMES = ("eager", "compile", "onnxruntime")
CALLS, WARM_UP = 21, 3
"""Calls that are timed, and calls before them."""


def available(compiled: bool = True) -> tuple[str, ...]:
    """Return the runtimes of this machine."""
    onnx = all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnxscript"))
    wanted = {"eager": True, "compile": compiled, "onnxruntime": onnx}
    return tuple(name for name in RUNTIMES if wanted[name])


def ready(model: nn.Module, x: Tensor, runtime: str) -> Callable[[], object]:
    """Return a call that runs the network once in a runtime."""
    if runtime == "onnxruntime":
        return _session(model, x)
    call = torch.compile(model) if runtime == "compile" else model

    def run() -> object:
        with torch.inference_mode():
            return call(x)

    return run


def _session(model: nn.Module, x: Tensor) -> Callable[[], object]:
    import onnxruntime

    with contextlib.redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    assert program is not None
    program.optimize()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options)
    given = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, given)


def seconds(model: nn.Module, x: Tensor, runtimes: Sequence[str]) -> dict[str, float]:
    """Return by runtime the processor's seconds that a call takes on the calling thread, the median of some.

    Args:
        model: in evaluation mode, on the CPU.
        x: its input.
        runtimes: out of :data:`RUNTIMES`; one that cannot take the network is left out.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    try:
        for runtime in runtimes:
            with contextlib.suppress(torch.onnx.OnnxExporterError):  # what a runtime lacks costs no trained network
                found[runtime] = _median(ready(model, x, runtime))
    finally:
        torch.set_num_threads(before)
    return found


def _median(call: Callable[[], object]) -> float:
    times = []
    for _ in range(WARM_UP + CALLS):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times[WARM_UP:])
