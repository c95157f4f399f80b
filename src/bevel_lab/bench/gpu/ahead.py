"""Build what the sections will launch, into Triton's cache on the disk, while the test suite runs.

Each part is a process of its own: one builds about two programs a second.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from bevel.ops.triton import backend, kernel_terms
from bevel.ops.triton.layout import Tuning
from bevel_lab.bench import cases
from bevel_lab.bench.gpu.cases import calls, passes
from bevel_lab.bench.gpu.shapes import AHEAD, LAYOUTS, SMALL, SWEPT, TABLE, TUNINGS, layouts_and_dtypes
from bevel_lab.bench.gpu.timing import Bench


def kernels(dtype: torch.dtype) -> Callable[[Bench], None]:
    """Return what builds the kernels' sections in a dtype."""

    def build(bench: Bench) -> None:
        for name, of in layouts_and_dtypes(bench.dry):
            if of == dtype:
                _passes(bench, name, dtype)

    return build


def sweep(bench: Bench) -> None:
    """Build the programs of other tiles and warps."""
    for tuning, dtype in itertools.product(TUNINGS, TABLE):
        with tuned(tuning):
            for name, only in SWEPT:
                _passes(bench, name, dtype, only)


def others(bench: Bench) -> None:
    """Build what is timed as calls alone: small tensors, ReLU smoothed with every kernel, and two more dtypes."""
    layout = LAYOUTS["nchw 56"]
    _calls(cases.bevels_own(SMALL[1], 1), torch.randn(SMALL, device=bench.device))
    _calls(smoothed(), bench.buffers(AHEAD, torch.float32, layout)[0])
    for dtype in (torch.float16, torch.float64):
        _calls(cases.bevels_own(layout.width(bench.dry), 1), bench.buffers(AHEAD, dtype, layout)[0])


def smoothed() -> list[cases.Case]:
    """Return ReLU smoothed with every kernel that has an excess in Triton; GELU's by tanh serves gates."""
    return cases.every_kernel(lambda kernel: kernel_terms.why_not(kernel, True) is None)


@contextlib.contextmanager
def tuned(tuning: Tuning) -> Iterator[None]:
    """Use another tile and grid meanwhile."""
    backend.tune(tuning)
    try:
        yield
    finally:
        backend.tune(Tuning())


def _passes(bench: Bench, name: str, dtype: torch.dtype, only: Sequence[str] = ()) -> None:
    layout = LAYOUTS[name]
    x, g = (bench.buffers(AHEAD, dtype, layout)[:1] for _ in range(2))
    for what in ("forward", "backward"):
        for case, call in passes(x, g, what, layout.width(bench.dry), layout.dim).items():
            if case in only or not only:
                call(0)


def _calls(found: Sequence[cases.Case], x: Tensor) -> None:
    for call in calls(found, [x.requires_grad_()], [torch.randn_like(x)], "both").values():
        call(0)


PARTS: dict[str, Callable[[Bench], None]] = {
    "compile ahead, kernels in bfloat16": kernels(torch.bfloat16),
    "compile ahead, kernels in float32": kernels(torch.float32),
    "compile ahead, sweep": sweep,
    "compile ahead, others": others,
}
