"""Compile a program's text once, and keep everything that a repeated call needs.

On a small tensor a launch is Python time alone. So a call looks up one plan by the input's layout, allocates its
outputs and calls the compiled program: no autotuner runs, no argument is bound by name, and nothing is read from the
device.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import linecache
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bevel.family import Family
from bevel.kernel import Kernel
from bevel.ops.triton import layout
from bevel.ops.triton.algebra import constants
from bevel.ops.triton.kernel_terms import ACCURACY, table
from bevel.ops.triton.layout import Tiling, Tuning
from bevel.ops.triton.program import Program, add_up_text, job

Launch = Callable[..., Any]
INTERPRETED_PROCESSORS = 1  # few programs, so that small tensors walk several trips too
_OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}  # the text itself loads ahead; a·b + c is rounded once


def interpreted() -> bool:
    """Whether Triton runs its programs as Python on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")


@functools.cache
def compiled(text: str) -> Any:
    """Return the jitted function ``run`` of a program's text. Triton reads the source back through ``linecache``."""
    triton = importlib.import_module("triton")
    name = f"<bevel triton {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "bevel.ops.triton.generated", "triton": triton}
    namespace["tl"] = importlib.import_module("triton.language")
    exec(compile(text, name, "exec"), namespace)
    return namespace["run"]


@functools.cache
def processors(index: int) -> int:
    """Return the number of multiprocessors of a device; index -1 is the interpreter."""
    if index < 0:
        return INTERPRETED_PROCESSORS
    return int(torch.cuda.get_device_properties(index).multi_processor_count)


@functools.lru_cache(maxsize=64)
def table_on(kernel: Kernel, device: torch.device, accuracy: str) -> Tensor:
    """Return a kernel's table in the dtype of arithmetic; it is kept, because a captured graph goes on reading it."""
    return table(kernel).to(device, torch.float64 if accuracy == "double" else torch.float32).contiguous()


class Launcher:
    """One program with one grid. The first call goes through Triton's launcher, later ones call the compiled kernel.

    What Triton specializes on (the numbers of the tiling, pointers at multiples of 16) is fixed in the plan's key.
    """

    def __init__(self, function: Any, programs: int, warps: int, constexprs: tuple[int, ...] = ()) -> None:
        self._function = function
        self._grid = (programs, 1, 1)
        self._warps = warps
        self._constexprs = constexprs
        self._direct: Launch | None = None

    def __call__(self, *arguments: Any) -> None:
        if self._direct is not None:
            self._direct(*arguments, *self._constexprs)
            return
        with _quiet():
            kernel = self._function[self._grid](*arguments, *self._constexprs, num_warps=self._warps, **_OPTIONS)
        if kernel is not None and hasattr(type(kernel), "__getitem__"):
            self._direct = direct(kernel, self._grid)


def direct(kernel: Any, grid: tuple[int, int, int]) -> Launch:
    """Return a call of a built kernel on the current device, which a plan's launches share.

    Triton's own call describes every launch to profilers' hooks, whether there is one or not; this one does so only
    where there is.
    """
    described = kernel[grid]
    run, function, metadata = kernel.run, kernel.function, kernel.packed_metadata
    hooks = importlib.import_module("triton.knobs").runtime
    driver = importlib.import_module("triton.runtime").driver.active
    stream, device = driver.get_current_stream, driver.get_current_device()

    def launch(*arguments: Any) -> None:
        if _hooked(hooks.launch_enter_hook) or _hooked(hooks.launch_exit_hook):
            described(*arguments)
        else:
            run(*grid, stream(device), function, metadata, None, None, None, *arguments)

    return launch


def _hooked(hook: Any) -> bool:
    """Whether a hook of Triton's has anything to call: None, a chain of functions, or one function set in its place."""
    return bool(getattr(hook, "calls", hook))


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """Silence numpy: the interpreter computes both sides of a select, and numpy warns of the side not taken."""
    if not interpreted():
        return contextlib.nullcontext()
    manager: contextlib.AbstractContextManager[Any] = importlib.import_module("numpy").errstate(all="ignore")
    return manager


class Plan:
    """Everything that a family needs for one layout of x on one device."""

    def __init__(
        self, family: Family, tiling: Tiling, x: Tensor, per_channel: tuple[bool, ...], tuning: Tuning
    ) -> None:
        self.family = family
        self.tiling = tiling
        self.per_channel = per_channel
        self.tuning = tuning
        self.accuracy = ACCURACY[x.dtype]
        self.channels = max(tiling_channels(tiling), 1)
        numbers = constants(family)
        split = tuple(part for n in numbers for part in _thirds(n)) if self.accuracy == "double" else numbers
        self.numbers: tuple[float | int, ...] = (*split, *tiling.numbers)
        self.shared: tuple[Tensor, ...] = ()
        self._backward: dict[tuple[object, ...], tuple[Launcher, Launcher | None]] = {}
        program, self._forward = self._build(())
        if program.terms and program.terms.panels:
            self.shared = (table_on(family.kernel, x.device, self.accuracy),)

    def _build(self, needs: tuple[bool, ...]) -> tuple[Program, Launcher]:
        made = job(self.tiling, self.accuracy, self.per_channel, needs, self.tuning.ahead)
        program = Program(self.family, made)
        return program, Launcher(compiled(program.text()), self.tiling.programs, self.tuning.warps)

    def forward(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        y = torch.empty_like(x)
        self._forward(x, y, *self.shared, *parameters, *self.numbers)
        return y

    def backward(
        self, g: Tensor, x: Tensor, parameters: Sequence[Tensor], needs: tuple[bool, ...]
    ) -> list[Tensor | None]:
        wanted = [i for i, need in enumerate(needs[1:]) if need]
        key = (needs, g.data_ptr() % 16 == 0)
        found = self._backward.get(key)
        if found is None:
            found = self._backward[key] = (self._build(needs)[1], self._add_up(len(wanted)) if wanted else None)
        first, second = found
        dx = torch.empty_like(x) if needs[0] else None
        outputs: list[Tensor] = [x, g] if dx is None else [x, g, dx]
        if second is None:
            first(*outputs, *self.shared, *parameters, *self.numbers)
            return [dx, *(None for _ in parameters)]
        dtype = torch.float64 if self.accuracy == "double" else torch.float32
        partial = torch.empty(self.tiling.partials * len(wanted) * self.channels, dtype=dtype, device=x.device)
        first(*outputs, partial, *self.shared, *parameters, *self.numbers)
        sums = [self._gradient(parameters[i], self.per_channel[i]) for i in wanted]
        second(*sums, partial, self.tiling.partials, self.channels)
        grads: list[Tensor | None] = [dx, *(None for _ in parameters)]
        for i, total in zip(wanted, sums, strict=True):
            alone = self.per_channel[i] or self.channels == 1
            # Where other coefficients are per channel, a shared one has a sum per channel; these are added up.
            grads[1 + i] = total if alone else total.sum(0, keepdim=True).to(parameters[i].dtype)
        return grads

    def _gradient(self, parameter: Tensor, per_channel: bool) -> Tensor:
        if per_channel or self.channels == 1:
            return torch.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device)
        return torch.empty(self.channels, dtype=torch.float64, device=parameter.device)

    def _add_up(self, count: int) -> Launcher:
        columns, rows, warps = add_up_tile(self.tiling.partials, self.channels)
        return Launcher(compiled(add_up_text(count)), -(-self.channels // columns), warps, (rows, columns))


def add_up_tile(partials: int, channels: int) -> tuple[int, int, int]:
    """Return columns, rows and warps of a program that adds up partial sums: two sizes, so that few are built."""
    columns = min(layout.power_of_two(channels), 16)  # 64 bytes of a row of partial sums at a time
    few = partials * columns <= 64
    return columns, (64 if few else 1024) // columns, 1 if few else 4


def tiling_channels(tiling: Tiling) -> int:
    if tiling.kind == "flat":
        return 1
    return tiling.numbers[0] * (tiling.divisor if tiling.kind == "columns" else 1)


def _thirds(number: float) -> tuple[float, float, float]:
    """Write a double as the sum of three floats."""
    high = float(torch.tensor(number, dtype=torch.float32))
    middle = float(torch.tensor(number - high, dtype=torch.float32))
    return high, middle, number - high - middle
