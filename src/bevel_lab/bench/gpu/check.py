"""Check backend ``triton`` on a device against the laws and the oracle's rows, with torch alone."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
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
FORMS = ("published", "exact", "centred")
KERNELS = tuple(name for name, kernel in bevel.KERNELS.items() if "excess" in kernel.triton)
SPECS = ("sau:n=3,learn_n=true", "frelu")
PROCESSES = 12  # of the test suite
PATIENCE = 90.0  # seconds for the test suite, so that the sections have the rest of the time
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


def laws(spec: str, num_parameters: int, device: torch.device) -> list[str]:
    """Return the laws that hold for an activation on this backend; raises ``AssertionError`` at one that fails."""
    module = bevel.create(spec, num_parameters=num_parameters)
    with using("triton"):
        return check_activation(module.to(device), device=device)


def held_rows(device: torch.device, brief: bool) -> str:
    """Check the oracle's rows, held with the source: ``passed``, or what failed.

    Args:
        brief: two groups of them alone, as in a rehearsal.
    """
    try:
        for form in FORMS[: 1 if brief else None]:
            sau_rows(form, device)
        for kernel in KERNELS[: 1 if brief else None]:
            smoothing_rows(kernel, device)
    except AssertionError as error:
        return f"FAILED: {error}"
    return "passed: rows of the oracle"


def held_laws(device: torch.device, brief: bool) -> str:
    """Check the laws, where no suite did: ``passed``, or what failed. A rehearsal leaves out what takes long."""
    try:
        for spec in SPECS[: 0 if brief else None]:
            for count in (1, 3):
                laws(spec, count, device)
    except AssertionError as error:
        return f"FAILED: {error}"
    return f"passed: laws of {', '.join(SPECS)}" if not brief else "passed: nothing, in a rehearsal"


def suite(device: str, beyond: bool, seconds: float, brief: bool = False) -> str:
    """Run ``tests/triton`` on the device, on many processes: ``passed``, ``FAILED``, or why there is no answer.

    Args:
        beyond: only the test beyond 2^31 elements, alone, for it takes 40 GB; else all but that.
        brief: one quick test, as in a rehearsal.
    """
    if not (ROOT / "tests" / "triton").is_dir():
        return "not run: the tests are not here"
    if importlib.util.find_spec("pytest") is None:
        return "not run: pytest is not installed"
    alone = beyond or brief or importlib.util.find_spec("xdist") is None
    chosen = "test_views" if brief else "beyond" if beyond else "not beyond"
    command = [sys.executable, "-m", "pytest", "tests/triton", "-q", "-m", "not slow", "-p", "no:cacheprovider",
               "--device", device, "-k", chosen, *([] if alone else ["-n", str(PROCESSES)])]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        stop(process)
    how = " in one process, for pytest-xdist is not installed" if alone and not beyond and not brief else ""
    if code is None:
        return f"not finished after {seconds:.0f} s{how}"
    if code == 1:
        return f"FAILED{how}, see above"
    return f"passed{how}" if code == 0 else f"not run: pytest gave up with code {code}"


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its session; one that a driver holds is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
