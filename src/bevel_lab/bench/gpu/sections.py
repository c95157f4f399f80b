"""The sections of ``make bench-gpu``: which cases on which tensors, and the rows that come of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

import bevel
from bevel.ops.triton import backend
from bevel.ops.triton.layout import Tuning
from bevel_lab.bench import cases
from bevel_lab.bench.gpu.cases import KINDS, LAYOUTS, Case, basic, buffers, calls, kernel_cases, neighbours, shape_of
from bevel_lab.bench.gpu.page import Sink
from bevel_lab.bench.gpu.resnet import resnet50
from bevel_lab.bench.gpu.timing import Bench, measure
from bevel_lab.runtime.memory import SavedBytes

TABLE = (torch.bfloat16, torch.float32)  # the dtypes of the targets


def _where(shape: Sequence[int], layout: str) -> str:
    return f"{'x'.join(map(str, shape))} {layout}"


def _rates(
    bench: Bench, sink: Sink, section: str, chosen: list[Case], turns: int, where: str, dtype: torch.dtype
) -> None:
    """Rows whose ratio is to the bytes per second of the first case, a copy."""
    with torch.no_grad():
        done = list(measure(bench, chosen, turns, graph=True))
    copy = done[0][0].moved / statistics.median(done[0][1])
    for case, seconds in done:
        rate = case.moved / statistics.median(seconds)
        sink.add(section, case.name, where, dtype, seconds, rate=rate, base="copy", ratio=rate / copy)


def kernels(bench: Bench, sink: Sink) -> None:
    """Bytes per second of each pass against a device copy."""
    for dtype in TABLE:
        for size in bench.sizes:
            for layout in ("nchw", "channels_last"):
                shape = shape_of(size, dtype, bench.dry)
                x, g = (buffers(shape, dtype, bench.device, bench.turns(size), layout) for _ in range(2))
                _rates(bench, sink, "kernel", kernel_cases(x, g), len(x), _where(shape, layout), dtype)
                del x, g


def _group(
    bench: Bench,
    sink: Sink,
    section: str,
    size: int,
    dtype: torch.dtype,
    layout: str,
    more: Callable[[int, int], list[cases.Case]] = lambda channels, rank: [],
) -> None:
    """The CPU's rows on one layout, and more of them: forward, and forward with backward, against relu."""
    turns, shape, dim = bench.turns(size), shape_of(size, dtype, bench.dry), LAYOUTS[layout]
    x, g = (buffers(shape, dtype, bench.device, turns, layout) for _ in range(2))
    x = [t.requires_grad_() for t in x]
    found = [*basic(shape[1], dim, dtype), *more(shape[1], x[0].dim())]
    for kind in KINDS:
        done = list(measure(bench, calls(found, x, g, kind), turns, graph=False))
        sink.against(section, done, f"relu {kind}", _where(shape, layout), dtype)


def eager(bench: Bench, sink: Sink) -> None:
    """Calls at the targets' sizes with the formulas; then the other layouts and dtypes."""
    for dtype in TABLE:
        for size in bench.sizes:

            def formulas(channels: int, rank: int, dtype: torch.dtype = dtype) -> list[cases.Case]:
                return cases.eager_and_compiled(channels, 1, rank, dtype, compiled=False)

            _group(bench, sink, "eager", size, dtype, "nchw", formulas)
        for layout in ("channels_last", "btc"):
            _group(bench, sink, "layout", bench.middle, dtype, layout)
    for dtype in (torch.float16, torch.float64):
        _group(bench, sink, "dtype", bench.middle, dtype, "nchw")


def mollified(bench: Bench, sink: Sink) -> None:
    """ReLU with every kernel."""
    _group(bench, sink, "mollified", bench.middle, torch.float32, "nchw", lambda channels, rank: cases.every_kernel())


def compiled(bench: Bench, sink: Sink) -> None:
    """The formulas through ``torch.compile``; a rehearsal leaves them out, since a CPU's compiler is another one."""
    for dtype in TABLE:

        def formulas(channels: int, rank: int, dtype: torch.dtype = dtype) -> list[cases.Case]:
            found = cases.eager_and_compiled(channels, 1, rank, dtype, compiled=not bench.dry)
            return [case for case in found if case.name.startswith("compiled")]

        _group(bench, sink, "compiled", bench.middle, dtype, "nchw", formulas)
        torch.compiler.reset()


def fused(bench: Bench, sink: Sink) -> None:
    """An activation with its neighbours: what Inductor makes of all, against our kernel plus its neighbours."""
    for dtype in TABLE:
        turns, shape = bench.turns(bench.middle), shape_of(bench.middle, dtype, bench.dry)
        x, g = (buffers(shape, dtype, bench.device, turns, "nchw") for _ in range(2))
        x = [t.requires_grad_() for t in x]
        for name, pair in neighbours(shape[1], dtype, bench.dry).items():
            for kind in KINDS:
                done = list(measure(bench, calls(pair, x, g, kind), turns, graph=False))
                sink.against(f"fused: {name}", done, f"eager {kind}", _where(shape, "nchw"), dtype)
        torch.compiler.reset()


def small(bench: Bench, sink: Sink) -> None:
    """10,000 elements: what Python and the launches cost, against gelu."""
    shape = (10, 10, 1, 1) if bench.dry else (1000, 10, 1, 1)
    x = [torch.randn(shape, device=bench.device, requires_grad=True)]
    for kind in KINDS:
        chosen = calls(basic(10, 1, torch.float32), x, [torch.ones_like(x[0])], kind)
        done = list(measure(bench, chosen, 1, graph=False, calls=2 if bench.dry else 200))
        sink.against("small", done, f"gelu {kind}", _where(shape, "nchw"), torch.float32)


def kept(bench: Bench, sink: Sink) -> None:
    """Bytes that autograd keeps for backward, against relu."""
    size = bench.sizes[0]
    for dtype in TABLE:
        shape = shape_of(size, dtype, bench.dry)
        (x,) = buffers(shape, dtype, bench.device, 1, "nchw")
        found = basic(shape[1], 1, dtype) + cases.eager_and_compiled(shape[1], 1, x.dim(), dtype, compiled=False)
        total = {}
        for case in calls(found, [x.requires_grad_()], [x], "forward"):
            watch = SavedBytes()
            with watch.watch(nn.Identity()):
                case.call(0)
            total[case.name] = watch.total
        for name, count in total.items():
            ratio = count / total["relu forward"]
            sink.add("kept", name, _where(shape, "nchw"), dtype, [float(count)], base="relu forward", ratio=ratio)


def training(bench: Bench, sink: Sink) -> None:
    """A ResNet-50 training step in bfloat16: time and peak memory, ReLU and SAU in turn."""
    side = 32 if bench.dry else 224
    images = torch.randn(2 if bench.dry else 128, 3, side, side, device=bench.device, dtype=torch.bfloat16)
    images = images.contiguous(memory_format=torch.channels_last)
    where = f"ResNet-50, batch {len(images)}"
    chosen, peaks = [], {}
    for name in ("relu", "sau"):
        before = bench.allocated()
        chosen.append(Case(name, _step(name, images, 16 if bench.dry else 1)))
        chosen[-1].call(0)  # makes gradients and momentum
        peaks[name] = bench.peak(lambda: chosen[-1].call(0)) - before
    done = list(measure(bench, chosen, 1, graph=False, calls=1 if bench.dry else 3))
    sink.against("training", done, "relu", where, torch.bfloat16)
    for name, peak in peaks.items() if not bench.dry else ():
        ratio = peak / peaks["relu"]
        sink.add("memory", name, f"{where}, peak", torch.bfloat16, [float(peak)], base="relu", ratio=ratio)


def _step(name: str, images: torch.Tensor, divide: int) -> Callable[[int], object]:
    torch.manual_seed(0)
    model: nn.Module = resnet50(divide=divide)
    if name != "relu":
        bevel.swap(model, name, images[:2].float().cpu(), preserve=False)
    model = model.to(images.device, torch.bfloat16).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    target = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def step(_turn: int) -> object:
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(images), target))
        return optimiser.step()

    return step


def sweep(bench: Bench, sink: Sink) -> None:
    """Other tiles and grids for SAU, so that a reader sees whether the ones in the source are the best."""
    size = bench.sizes[-1] // (1 if bench.dry else 4)
    for dtype in TABLE:
        x, g = (
            buffers(shape_of(size, dtype, bench.dry), dtype, bench.device, bench.turns(size), "nchw") for _ in range(2)
        )
        for tile, ahead, per in ((128, 1, 32), (256, 0, 32), (256, 1, 16), (256, 1, 32), (256, 2, 32), (512, 1, 32)):
            backend.tune(Tuning(tile=tile, ahead=ahead, per_processor=per))
            try:
                chosen = [c for c in kernel_cases(x, g) if c.name in ("copy", "sau forward", "sau backward")]
                where = f"tile {tile}, ahead {ahead}, {per} a processor"
                _rates(bench, sink, "sweep", chosen, len(x), where, dtype)
            finally:
                backend.tune(Tuning())


SECTIONS: dict[str, Callable[[Bench, Sink], None]] = {
    section.__name__: section for section in (kernels, eager, small, training, kept, fused, mollified, compiled, sweep)
}
