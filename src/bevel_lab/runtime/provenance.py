"""The code, versions and device that produced a record."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

import torch

import bevel
from bevel.ops import _cpu


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions by package, and the backend that computes bevel's functions on a CPU."""
    found = {
        "backend": _backend(),
        "bevel": bevel.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    with contextlib.suppress(ImportError):  # the GPU's bench and a plain install have torch alone
        import numpy

        found["numpy"] = numpy.__version__
    return dict(sorted(found.items()))


def _backend() -> str:
    """``cpu (avx512)`` for the native library and its instruction set, ``analytic`` for plain torch."""
    return "analytic" if _cpu.unavailable() is not None else f"cpu ({_cpu.describe()['isa']})"


@lru_cache(maxsize=1)
def commit() -> str:
    """The git revision of the source tree, with ``-dirty`` if it was changed; bevel's version if there is none."""
    here = Path(__file__).resolve()
    # the file must be tracked: an environment inside somebody's repository is not a checkout of bevel
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is not None:
        revision = _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
        if revision:
            return revision
    return f"bevel {bevel.__version__}"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def device_name(device: torch.device) -> str:
    """The device with the name of the processor or GPU, such as ``cuda:0 (NVIDIA H100)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({_processor()})"


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
