"""Check backend ``triton`` on a device against the laws and the oracle's rows, with torch alone."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import bevel
from bevel.functional import sau
from bevel.ops import using
from bevel.testing import check_activation
from bevel_lab.errors import LabError

ROOT = Path(__file__).parents[4]
NAMES = {"abs": "absolute", "softshrink": "soft_shrink"}  # the oracle's name → bevel's name
BENT = {  # functions of the oracle's rows of bends
    "hardswish": bevel.kinked.hardswish(),
    "relu_squared": bevel.kinked.relu_squared(),
    "leaky": bevel.PiecewiseLinear(knots=[0.0], bends=[1.5], left_bend=0.5),
}
FORMS = ("published", "exact", "centred")
KERNELS = tuple(name for name, kernel in bevel.KERNELS.items() if "excess" in kernel.triton)
BENDING = tuple(name for name in KERNELS if "second" in bevel.KERNELS[name].triton)
FIRST = "epanechnikov"  # whose rows run first, as a compact kernel; SAU's are the Gaussian's
SPECS = ("sau:n=3,learn_n=true", "frelu")
PROCESSES = 12  # of the test suite
PATIENCE = 90.0  # seconds for the test suite, so that the sections have the rest of the time
BEGUN = 40.0  # seconds after which no more of the laws and of the other kernels' rows begins
LAST = 40.0  # seconds for the test beyond 2^31 elements


@functools.cache
def _oracle(name: str) -> list[dict[str, Any]]:
    path = ROOT / "tests" / "oracle" / f"{name}.json"
    if not path.is_file():
        raise LabError(f"the oracle's rows lie in bevel's source tree; {path} is not there. Run from a checkout.")
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def _column(rows: list[dict[str, Any]], key: str) -> Tensor:
    return torch.tensor([float(r[key]) for r in rows], dtype=torch.float64)


def _compare(what: str, got: Tensor, want: Tensor) -> None:
    error = float(((got.detach().cpu().double() - want).abs() / want.abs().clamp(min=1)).max())
    if not error <= 1e-13:
        raise AssertionError(f"oracle row broken: {what}: error {error:.2e} exceeds 1e-13")


def sau_rows(form: str, device: torch.device) -> None:
    """Compare SAU's value and gradients in float64 with the oracle; raises ``AssertionError``."""
    rows = [r for r in _oracle("sau") if r["form"] == form]
    x, alpha, n = (_column(rows, k).to(device).requires_grad_() for k in ("x", "alpha", "n"))
    y = sau(x, alpha, n, form, dim=0, backend="triton")
    found = y, *torch.autograd.grad(y.sum(), (x, alpha, n))
    for got, key in zip(found, ("value", "dx", "dalpha", "dn"), strict=True):
        _compare(f"{form} SAU, {key}", got, _column(rows, key))


def smoothing_rows(kernel: str, device: torch.device) -> None:
    """Compare a kernel's values and slopes with the oracle; raises ``AssertionError``.

    The rows of one function run as one tensor, with one n a row.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in _oracle("smoothing"):
        if row["kernel"] == kernel:
            groups.setdefault(f"{row['function']}{sorted(row['args'].items())}", []).append(row)
    for what, group in groups.items():
        name = str(group[0]["function"])
        f = bevel.kinked.FUNCTIONS[NAMES.get(name, name)](**group[0]["args"])
        x = _column(group, "x").to(device).requires_grad_()
        y = bevel.smooth(x, f, kernel, _column(group, "n").to(device), backend="triton", dim=0)
        (slope,) = torch.autograd.grad(y.sum(), x)
        _compare(f"{what} by {kernel}, value", y, _column(group, "value"))
        _compare(f"{what} by {kernel}, slope", slope, _column(group, "slope"))


def bend_rows(kernel: str, device: torch.device) -> None:
    """Compare values, slopes, second derivatives and n's gradients of functions with bends; raises ``AssertionError``.

    In a tail, where a smoothed squared ReLU has nothing to cancel with, every digit counts.
    """
    for name, f in BENT.items():
        rows = [r for r in _oracle("bends") if (r["kernel"], r["function"]) == (kernel, name)]
        x, n = (_column(rows, key).to(device).requires_grad_() for key in ("x", "n"))
        y = bevel.smooth(x, f, kernel, n, backend="triton", dim=0)
        slope, dn = torch.autograd.grad(y.sum(), (x, n), create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), x)
        for got, key in ((y, "value"), (slope, "slope"), (curvature, "curvature"), (dn, "dn")):
            want = _column(rows, key)
            _compare(f"{name} by {kernel}, {key}", got, want)
            if name == "relu_squared":
                relative = (got.detach().cpu() / want)[x.detach().cpu() < 0]
                _compare(f"tail of {name} by {kernel}, {key}", relative, torch.ones_like(relative))


def laws(spec: str, num_parameters: int, device: torch.device, fast: bool = False) -> list[str]:
    """Return the laws that hold for an activation on this backend; raises ``AssertionError`` at one that fails."""
    module = bevel.create(spec, num_parameters=num_parameters)
    with using("triton"):
        return check_activation(module.to(device), device=device, fast=fast)


def held_rows(device: torch.device, brief: bool) -> str:
    """Check the oracle's rows of SAU and of one kernel: ``passed``, or what failed.

    These are 7 and 22 programs to build, at 0.3 s each. All kernels' would be 240: they are among the tests, and in
    :func:`held_laws` where there are none.

    Args:
        brief: SAU's first form and the kernel alone, as in a rehearsal.
    """
    forms = FORMS[: 1 if brief else None]
    checks = {f"SAU ({form})": functools.partial(sau_rows, form, device) for form in forms}
    return _held("rows of the oracle for ", checks | {FIRST: functools.partial(smoothing_rows, FIRST, device)})


def held_laws(device: torch.device, brief: bool) -> str:
    """Check the laws and the other kernels' rows, where no suite did: ``passed``, or what failed.

    A rehearsal leaves out what takes long, which is all of it.
    """
    if brief:
        return "passed: nothing, in a rehearsal"
    checks = {f"laws of {spec}": functools.partial(_laws, spec, device) for spec in SPECS}
    others = (kernel for kernel in KERNELS if kernel != FIRST)
    checks |= {f"rows of {k}": functools.partial(smoothing_rows, k, device) for k in others}
    return _held("", checks | {f"bends by {k}": functools.partial(bend_rows, k, device) for k in BENDING})


def _laws(spec: str, device: torch.device) -> None:
    for count in (1, 3):
        laws(spec, count, device)


def _held(what: str, checks: Mapping[str, Callable[[], None]]) -> str:
    end, names = time.monotonic() + BEGUN, list(checks)
    for i, name in enumerate(names):
        if time.monotonic() > end:
            return f"passed: {what}{', '.join(names[:i])}; no time for {', '.join(names[i:])}"
        try:
            checks[name]()
        except AssertionError as error:
            return f"FAILED: {error}"
    return f"passed: {what}{', '.join(names)}"


def suite(device: str, beyond: bool, seconds: float, to: Path, brief: bool = False) -> str:
    """Run ``tests/triton`` on the device, on many processes, and say what came of it.

    Args:
        beyond: only the test beyond 2^31 elements, alone, for it takes 40 GB; else all but that.
        to: file for what pytest prints.
        brief: one quick test, as in a rehearsal, or that which is skipped there.

    Returns:
        ``passed``, ``rehearsed``, ``skipped`` or ``FAILED`` with the tests counted and those that failed named, or
        why there is no answer.
    """
    if not (ROOT / "tests" / "triton").is_dir():
        return "not run: the tests are not here"
    if importlib.util.find_spec("pytest") is None:
        return "not run: pytest is not installed"
    alone = beyond or brief
    if not alone and importlib.util.find_spec("xdist") is None:
        return f"not run: pytest-xdist is not installed, and one process takes longer than {PATIENCE:.0f} s"
    chosen = "beyond" if beyond else "test_views" if brief else "not beyond"
    command = [sys.executable, "-m", "pytest", "tests/triton", "-v", "--tb=short", "-m", "not slow",
               "-p", "no:cacheprovider", "--device", device, "-k", chosen,
               *([] if alone else ["-n", str(PROCESSES)])]  # fmt: skip
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}  # a run that is cut leaves what it has said
    with to.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            stop(process)
    return _verdict(code, to, seconds, brief)


_SAID = "(PASSED|SKIPPED|FAILED|ERROR)"
# of one process "tests/a.py::b PASSED [ 5%]", of many "[gw1] [ 5%] PASSED tests/a.py::b"
_LINE = re.compile(rf"^(?:(tests/\S+?::.*?) {_SAID}\b.*|\[gw\d+\] \[ *\d+%\] {_SAID} (tests/.*?) *)$", re.MULTILINE)


def _verdict(code: int | None, text: Path, seconds: float, brief: bool) -> str:
    """Say what pytest's exit code, None where it was cut, and its verbose lines come to."""
    if code in (4, 5):  # called wrongly, or no test found
        return f"not run: pytest gave up with code {code}"
    found: dict[str, list[str]] = {"PASSED": [], "SKIPPED": [], "FAILED": [], "ERROR": []}
    for of_one, said, of_many, name in _LINE.findall(text.read_text(encoding="utf-8", errors="replace")):
        found[said or of_many].append((of_one or name).rpartition("/")[2])
    names = found["FAILED"] + found["ERROR"]
    counted = ", ".join(f"{len(tests)} {word.lower()}" for word, tests in found.items() if tests) or "no test ended"
    cut = "" if code is not None else f"not finished after {seconds:.0f} s, "
    if code or names:
        which = ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)
        return f"FAILED: {cut}{counted}: {which or f'pytest ended with code {code}'}; see {text.name}"
    if cut:
        return f"{cut}{counted}"
    return f"{'rehearsed' if brief else 'passed' if found['PASSED'] else 'skipped'}: {counted}"


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its session; one that a driver holds is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
