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


def seconds(model: nn.Module, x: Tensor, runtimes: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Return by runtime the processor's seconds that a call takes on the calling thread, the median of some.

    A runtime that fails is left out, however it fails: what it lacks must not cost a trained network its record.

    Args:
        model: in evaluation mode, on the CPU.
        x: its input.
        runtimes: out of :data:`RUNTIMES`.

    Returns:
        The seconds by runtime, and by runtime that was left out the class of its error.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found, failed = {}, {}
    try:
        for runtime in runtimes:
            try:
                found[runtime] = _median(ready(model, x, runtime))
            except Exception as error:
                failed[runtime] = type(error).__name__
    finally:
        torch.set_num_threads(before)
    return found, failed


def _median(call: Callable[[], object]) -> float:
    times = []
    for _ in range(WARM_UP + CALLS):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times[WARM_UP:])
