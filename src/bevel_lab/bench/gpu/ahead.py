"""Build what the sections will launch, into Triton's cache on the disk, while the test suite runs.

Each part is a process of its own: one builds about two programs a second.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from bevel.ops.triton import backend, kernel_terms
from bevel.ops.triton.layout import Tuning
from bevel_lab.bench import cases
from bevel_lab.bench.cases import swapped
from bevel_lab.bench.gpu.cases import calls, passes
from bevel_lab.bench.gpu.shapes import AHEAD, LAYOUTS, SMALL, SWEPT, TABLE, WIDTHS, Layout, layouts_and_dtypes, tunings
from bevel_lab.bench.gpu.timing import Bench
from bevel_lab.bench.nets import SPECS


def kernels(dtype: torch.dtype) -> Callable[[Bench], None]:
    """Return what builds the kernels' sections in a dtype."""

    def build(bench: Bench) -> None:
        for name, of in layouts_and_dtypes(bench.dry):
            if of == dtype:
                _passes(bench, name, dtype)

    return build


def sweep(bench: Bench) -> None:
    """Build the programs of the sweep's tiles and warps."""
    for tuning, dtype in itertools.product(tunings(bench.dry), TABLE):
        with tuned(tuning):
            for name, only in SWEPT:
                _passes(bench, name, dtype, only)


def others(bench: Bench) -> None:
    """Build what is timed as calls: bevel's own in each dtype and on small tensors, and ReLU smoothed by each kernel.

    Calls of SAU are programs apart from its passes: on a GPU a module gives its n as memory.
    """
    layout = LAYOUTS["nchw 56"]
    for dtype in (*TABLE, torch.float16, torch.float64):
        _calls(cases.bevels_own(layout.width(bench.dry), 1), bench.buffers(AHEAD, dtype, layout)[0])
    _calls(cases.bevels_own(SMALL[1], 1), bench.small())
    _calls(smoothed(), bench.buffers(AHEAD, torch.float32, layout)[0])


def networks(bench: Bench) -> None:
    """Build what a training step launches: bfloat16 parameters per channel, channels last."""
    for width in WIDTHS[: 2 if bench.dry else None]:
        x = bench.buffers(AHEAD, torch.bfloat16, Layout(width, 14, "channels_last"))[0]
        for spec in SPECS:
            if spec not in ("relu", "gelu"):
                model = nn.Sequential(nn.Conv2d(3, x.shape[1], 1), nn.ReLU())
                swapped(model, spec, torch.randn(2, 3, 8, 8))
                found = model[1].to(bench.device, torch.bfloat16)
                _calls([cases.Case(spec, found, tuple(found.parameters()))], x.detach())


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
    "compile ahead, networks": networks,
    "compile ahead, sweep": sweep,
    "compile ahead, others": others,
}
