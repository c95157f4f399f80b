"""Compile a program's text once, and launch it.

On a small tensor a launch is Python time alone: no autotuner runs, no argument is bound by name, and nothing is read
from the device.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import linecache
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from bevel.kernel import Kernel
from bevel.ops.triton import layout
from bevel.ops.triton.kernel_terms import table

Launch = Callable[..., Any]
Build = TypeVar("Build")
Grid = tuple[int, int, int]
INTERPRETED_PROCESSORS = 1  # few programs, so that small tensors walk several trips too
_OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}  # the text itself loads ahead; a·b + c is rounded once
_chosen: dict[Any, Any] = {}  # what a kernel is replaced by, or itself


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
    """One program with one grid. The first call goes through Triton's launcher, later ones call the built kernel.

    What Triton specializes on (the numbers of the tiling, pointers at multiples of 16) is fixed in the plan's key.

    Args:
        grid: programs along each of three axes.
        constexprs: numbers that the program was built for, its last arguments.
        kernel: what :func:`built` returned, if it was asked; then no call goes through Triton's launcher.
    """

    def __init__(
        self, function: Any, grid: Grid, warps: int, constexprs: tuple[int, ...] = (), kernel: Any = None
    ) -> None:
        self._function = function
        self._grid = grid
        self._warps = warps
        self._constexprs = constexprs
        self._direct: Launch | None = None if kernel is None else direct(kernel, grid)

    def __call__(self, *arguments: Any) -> None:
        if self._direct is not None:
            self._direct(*arguments, *self._constexprs)
            return
        with _quiet():
            kernel = self._function[self._grid](*arguments, *self._constexprs, num_warps=self._warps, **_OPTIONS)
        if kernel is not None and hasattr(type(kernel), "__getitem__"):
            self._direct = direct(kernel, self._grid)


def built(function: Any, warps: int, arguments: Sequence[Any]) -> Any:
    """Return the kernel to launch, loaded and not launched; None in the interpreter.

    It is built for fewer registers where more programs then fit a multiprocessor and nothing is spilled.
    """
    if interpreted():
        return None
    kernel = _loaded(function, warps, arguments)
    found = _chosen.get(kernel)
    if found is None:
        others = (_loaded(function, warps, arguments, maxnreg=cap) for cap in layout.caps(kernel.n_regs))
        found = _chosen[kernel] = chosen(kernel, others, lambda one: one.n_spills)
    return found


def chosen(first: Build, others: Iterable[Build], spilled: Callable[[Build], int]) -> Build:
    """Return the first of a program's other builds, for fewer registers, that spills nothing, or the one it has."""
    return next((other for other in others if not spilled(other)), first)


def _loaded(function: Any, warps: int, arguments: Sequence[Any], **options: int) -> Any:
    kernel = function.warmup(*arguments, grid=(1,), num_warps=warps, **_OPTIONS, **options)
    kernel.run  # noqa: B018 # reading it loads the kernel, after which it knows its registers
    return kernel


def direct(kernel: Any, grid: Grid) -> Launch:
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
