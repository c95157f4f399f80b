"""A stand-in for CUDA's driver: programs are built for a GPU that need not be there, and planned up to the launch."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime import driver

from bevel.family import parameter
from bevel.functional import frelu_family, sau_family
from bevel.kernel import SHARP
from bevel.ops.triton import backend, plan
from bevel.ops.triton import launch as launcher
from bevel.ops.triton.launch import direct

PROCESSORS = 132
TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def asked(binary: bytes, flag: str) -> str:
    """Return what the assembler's own tool says of a binary."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        return subprocess.run([str(TOOL), flag, file.name], capture_output=True, text=True, check=True).stdout


def usage(binary: bytes) -> tuple[int, int]:
    """Registers and bytes of stack."""
    found = re.search(r"REG:(\d+) STACK:(\d+)", asked(binary, "-res-usage"))
    assert found
    return int(found[1]), int(found[2])


class Driver:
    """Stands in for CUDA's, which needs a GPU: device 0 and stream 7.

    Attributes:
        loaded: registers and bytes of stack of every program; a function is its number among them.
        told: of every launch two axes of the grid, those two, and the last two numbers.
    """

    def __init__(self) -> None:
        self.utils = self
        self.loaded: list[tuple[int, int]] = []
        self.told: list[list[int]] = []

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 7

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 232448}

    def load_binary(self, name: str, binary: bytes, *_: object) -> tuple[int, int, int, int, int]:
        self.loaded.append(usage(binary))
        return 1, len(self.loaded) - 1, *self.loaded[-1], 1024

    def unload_module(self, module: int) -> None:
        pass

    def launcher_cls(self, *_: object) -> Any:
        return lambda *arguments: self.told.append([*arguments[:2], *self.loaded[arguments[4]], *arguments[-2:]])


def planned() -> dict[str, Any]:
    """Run the plans of SAU and of FReLU per channel as on a GPU, up to the launch.

    Returns:
        launches, and the calls of Python of a new shape whose programs are built, forward and backward.
    """
    told = Driver()
    driver.set_active(told)
    plan.processors = lambda index: PROCESSORS
    alpha, slopes = [torch.ones(1)], [torch.ones(64), torch.ones(64)]
    sau = sau_family(parameter(0), 20000.0, "published")
    frelu = frelu_family(parameter(0), parameter(1), SHARP, 1.0)
    counts: dict[str, int] = {}
    for batch in (512, *range(1, 5)):
        x = torch.empty(batch, 3136, 64, dtype=torch.bfloat16)
        for name, family, parameters in (("sau", sau, alpha), ("frelu(C)", frelu, slopes)):
            wanted = (True,) * (1 + len(parameters))
            counts[f"{name} forward"] = _calls(backend.forward, family, 2, x, parameters)
            counts[f"{name} backward"] = _calls(backend.backward, family, 2, x, x, parameters, wanted)
    return {"launches": told.told[:6], "new shape": counts}


def _calls(run: Callable[..., object], *arguments: Any) -> int:
    """The number of functions, Python's and C's, that are called."""
    counts = [0]

    def count(frame: FrameType, event: str, _: object) -> None:
        counts[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        run(*arguments)
    finally:
        sys.setprofile(None)
    return counts[0]


def launch() -> dict[str, Any]:
    """What a launch of a built kernel passes on, and its calls of Python by Triton's own way and by bevel's."""
    told: list[list[Any]] = []
    driver.set_active(Driver())
    kernel = object.__new__(CompiledKernel)
    kernel.module, kernel.src, kernel.name, kernel.function, kernel.packed_metadata = None, None, "run", 1, (4,)
    kernel._init_handles = lambda: None
    kernel._run = lambda *arguments: told.append([*arguments])
    described, quick = kernel[(10, 1, 1)], direct(kernel, (10, 1, 1))
    described("x", "y")
    quick("x", "y")
    hooks: list[Any] = []
    triton.knobs.runtime.launch_enter_hook.add(hooks.append)
    quick("x", "y")
    told[-1][7](told[-1][6])  # as the driver calls the hook
    triton.knobs.runtime.launch_enter_hook.remove(hooks.append)
    launches = [[v if isinstance(v, (int, str, tuple, type(None))) else "described" for v in one] for one in told]
    kernel._run = lambda *arguments: None
    both = {"described": kernel[(10, 1, 1)], "direct": direct(kernel, (10, 1, 1))}
    counts = {name: _calls(call, "x", "y") for name, call in both.items()}
    return {"launches": launches, "hook": len(hooks), **counts, **_raw()}


class _Silent(Driver):
    """Keeps nothing of a launch."""

    def launcher_cls(self, *_: object) -> Any:
        return lambda *arguments: None


def _raw() -> dict[str, int]:
    """Calls of a raw forward and backward of SAU of 10,000 elements, by Triton's own way and by bevel's."""
    driver.set_active(_Silent())
    plan.processors = lambda index: PROCESSORS
    sau, alpha = sau_family(parameter(0), 20000.0, "published"), [torch.ones(1)]
    x = torch.empty(1000, 10, dtype=torch.bfloat16)
    passes = {
        "forward": lambda: backend.forward(sau, 1, x, alpha),
        "backward": lambda: backend.backward(sau, 1, x, x, alpha, (True, True)),
    }
    counts = {}
    for how, call in (("described", lambda kernel, grid: kernel[grid]), ("direct", direct)):
        launcher.direct = call
        backend._plans.clear()
        plan._seconds.clear()
        for what, run in passes.items():
            run()  # builds and plans
            counts[f"{how} {what}"] = _calls(run)
    return counts
