"""The sections of ``make bench-gpu``: each times some cases on some tensors and adds their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bevel.ops.triton import backend
from bevel.ops.triton.layout import Tuning
from bevel_lab.bench import cases
from bevel_lab.bench.cases import Case, swapped, training_step
from bevel_lab.bench.gpu.cases import LAYOUTS, calls, neighbors, passes
from bevel_lab.bench.gpu.resnet import resnet50
from bevel_lab.bench.gpu.timing import Bench, Call
from bevel_lab.bench.timing import Sample

TABLE = (torch.bfloat16, torch.float32)  # the dtypes that targets are set for


def _add(
    bench: Bench, section: str, what: str, samples: dict[str, Sample], x: Tensor, layout: str, moved: dict[str, int]
) -> None:
    dtype = str(x.dtype).removeprefix("torch.")
    bench.add(section, what, samples, elements=x.numel(), dtype=dtype, layout=layout, moved=moved)


def _passes(
    bench: Bench, section: str, x: list[Tensor], g: list[Tensor], layout: str, only: Sequence[str] = ()
) -> None:
    """Time the backend's programs and a copy per byte moved: forward moves two tensors, backward three."""
    for what, tensors in (("forward", 2), ("backward", 3)):
        found = {name: call for name, call in passes(x, g, what).items() if not only or name in only}
        with torch.no_grad():
            samples = bench.compare(found, len(x), graph=True)
        size = x[0].numel() * x[0].element_size()
        moved = {name: size * (2 if name == "copy" else tensors) for name in found}
        _add(bench, section, what, samples, x[0], layout, moved)


def _calls(bench: Bench, section: str, found: Sequence[Case], x: list[Tensor], layout: str, times: int = 1) -> None:
    """Time forward, and forward with backward, as a user calls them."""
    g = [torch.randn_like(t) for t in x]
    x = [t.requires_grad_() for t in x]
    for what in ("forward", "both"):
        samples = bench.compare(calls(found, x, g, what), len(x), calls=times)
        _add(bench, section, what, samples, x[0], layout, {})


def _group(bench: Bench, section: str, size: int, dtype: torch.dtype, layout: str, more: Sequence[Case] = ()) -> None:
    """Time the CPU's cases, and more, on one layout."""
    found = [*cases.basic(bench.channels, LAYOUTS[layout], dtype), *more]
    _calls(bench, section, found, bench.buffers(size, dtype, layout), layout)


def _formulas(bench: Bench, dtype: torch.dtype) -> list[Case]:
    return cases.formulas(bench.channels, 1, 4, dtype)


def kernels(bench: Bench) -> None:
    """Time each pass against a device copy."""
    for dtype in TABLE:
        for size in bench.sizes:
            for layout in ("nchw", "channels_last"):
                x, g = bench.buffers(size, dtype, layout), bench.buffers(size, dtype, layout)
                _passes(bench, "kernel", x, g, layout)


def eager(bench: Bench) -> None:
    """Time calls and formulas at the sizes of the targets, then calls in other layouts and dtypes."""
    for dtype in TABLE:
        for size in bench.sizes:
            _group(bench, "eager", size, dtype, "nchw", _formulas(bench, dtype))
        for layout in ("channels_last", "btc"):
            _group(bench, "layout", bench.middle, dtype, layout)
    for dtype in (torch.float16, torch.float64):
        _group(bench, "dtype", bench.middle, dtype, "nchw")


def mollified(bench: Bench) -> None:
    """Time ReLU smoothed with every kernel."""
    _group(bench, "mollified", bench.middle, torch.float32, "nchw", cases.every_kernel())


def compiled(bench: Bench) -> None:
    """Time the compiled formulas; a rehearsal skips them, because torch compiles differently for a CPU."""
    for dtype in TABLE:
        made = [] if bench.dry else [cases.compiled(formula) for formula in _formulas(bench, dtype)]
        _group(bench, "compiled", bench.middle, dtype, "nchw", made)
        torch.compiler.reset()


def fused(bench: Bench) -> None:
    """Time an activation with its neighbors: one program by Inductor against bevel's program between theirs."""
    for dtype in TABLE:
        x = bench.buffers(bench.middle, dtype)
        for name, pair in neighbors(bench.channels, dtype, bench.dry).items():
            _calls(bench, "fused", pair, x, name)
        torch.compiler.reset()


def small(bench: Bench) -> None:
    """Time 10,000 elements, where Python and the launches make up the cost."""
    x = torch.randn(10 if bench.dry else 1000, 10, 1, 1, device=bench.device)
    _calls(bench, "small", cases.basic(10, 1, x.dtype), [x], "nchw", times=2 if bench.dry else 200)


def memory(bench: Bench) -> None:
    """Count the bytes that autograd keeps for backward."""
    for dtype in TABLE:
        x = bench.buffers(bench.sizes[0], dtype)[0]
        found = cases.basic(bench.channels, 1, dtype) + _formulas(bench, dtype)
        samples = {case.name: Sample([float(case.to(bench.device).saved_bytes(x))]) for case in found}
        _add(bench, "memory", "bytes", samples, x, "nchw", {})


def training(bench: Bench) -> None:
    """Measure time and peak memory of a ResNet-50 training step in bfloat16, with ReLU and with SAU."""
    side, batch = (32, 2) if bench.dry else (224, 128)
    images = torch.randn(batch, 3, side, side, device=bench.device, dtype=torch.bfloat16)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64, device=bench.device)
    steps: dict[str, Call] = {}
    peaks: dict[str, Sample] = {}
    for name in ("relu", "sau"):
        before = 0 if bench.dry else torch.cuda.memory_allocated(bench.device)
        torch.manual_seed(0)
        model = swapped(resnet50(divide=16 if bench.dry else 1), name, images[:2].float().cpu())
        model = model.to(bench.device, torch.bfloat16).to(memory_format=torch.channels_last)
        step = training_step(model, images, labels)
        step()  # allocates gradients and momentum
        peaks[name] = Sample([float(bench.peak(step) - before)])
        steps[name] = _any_turn(step)
    layout = f"ResNet-50, batch {batch}"
    _add(bench, "training", "step", bench.compare(steps, 1, calls=1 if bench.dry else 3), images, layout, {})
    if not bench.dry:
        _add(bench, "training", "peak", peaks, images, layout, {})


def _any_turn(step: Callable[[], object]) -> Call:
    return lambda turn: step()


def sweep(bench: Bench) -> None:
    """Time SAU with other tiles and grids, to show whether those in the source are the best."""
    size = bench.sizes[-1] // (1 if bench.dry else 4)
    for dtype in TABLE:
        x, g = bench.buffers(size, dtype), bench.buffers(size, dtype)
        for tile, ahead, per in ((128, 1, 32), (256, 0, 32), (256, 1, 16), (256, 1, 32), (256, 2, 32), (512, 1, 32)):
            backend.tune(Tuning(tile=tile, ahead=ahead, per_processor=per))
            try:
                _passes(bench, "sweep", x, g, f"tile {tile}, ahead {ahead}, {per} a processor", ("copy", "sau"))
            finally:
                backend.tune(Tuning())


_ALL = (kernels, eager, small, training, memory, fused, mollified, compiled, sweep)
SECTIONS: dict[str, Callable[[Bench], None]] = {section.__name__: section for section in _ALL}
