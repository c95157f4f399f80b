"""The sections of ``make bench-gpu`` in the order of their worth: each times some cases and adds their rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bevel_lab.bench import cases
from bevel_lab.bench.cases import Case, swapped, training_step
from bevel_lab.bench.gpu import ahead, check, faults
from bevel_lab.bench.gpu.ahead import smoothed, tuned
from bevel_lab.bench.gpu.cases import calls, neighbors, passes
from bevel_lab.bench.gpu.shapes import LARGE, LAYOUTS, SMALL, SWEPT, TABLE, Layout, layouts_and_dtypes, tunings
from bevel_lab.bench.gpu.timing import ROUNDS, Bench, Call
from bevel_lab.bench.nets import COMPILED, NETWORKS, SPECS, builder
from bevel_lab.bench.timing import Sample

FEW = 7  # rounds of 25 networks' steps, each of which takes many milliseconds
HELD, LAWS, SUITE, BEYOND = "held rows", "laws", "tests/triton", "the test beyond 2^31 elements"


@dataclass(frozen=True)
class Section:
    """A part of the run.

    Attributes:
        run: makes the rows; a check returns what it found.
        limit: seconds after which its process is stopped, or later by what is left over of the run's deadline. The
            longest way through a run, with every part as long as it may take, fits into 575 s.
        rehearsed: the same in a rehearsal.
    """

    run: Callable[[Bench], str | None]
    limit: float
    rehearsed: float = 120.0


def _add(
    bench: Bench, section: str, what: str, samples: dict[str, Sample], x: Tensor, layout: str,
    moved: dict[str, int] | None = None, size: str = "", timer: str = "device",
) -> None:  # fmt: skip
    dtype = str(x.dtype).removeprefix("torch.")
    bench.add(section, what, samples, elements=x.numel(), dtype=dtype, layout=layout, moved=moved, size=size,
              timer=timer)  # fmt: skip


def _passes(
    bench: Bench, section: str, size: str, dtype: torch.dtype, layout: Layout, said: str, only: Sequence[str] = ()
) -> None:
    """Time single passes and a clone per byte moved: forward moves two tensors, backward three."""
    x, g = bench.buffers(size, dtype, layout), bench.buffers(size, dtype, layout)
    channels = layout.width(bench.dry)
    for what, tensors in (("forward", 2), ("backward", 3)):
        found = passes(x, g, what, channels, layout.dim)
        found = {name: call for name, call in found.items() if not only or name in only}
        with torch.no_grad():
            samples = bench.replays(found, len(x))
        amount = x[0].numel() * x[0].element_size()
        moved = {name: amount * (2 if name == "copy" else tensors) for name in found}
        _add(bench, section, what, samples, x[0], said, moved, size)


def _calls(bench: Bench, section: str, found: Sequence[Case], x: list[Tensor], layout: str, size: str = "") -> None:
    """Time forward, and forward with backward, as a user calls them."""
    g = [torch.randn_like(t) for t in x]
    x = [t.requires_grad_() for t in x]
    for what in ("forward", "both"):
        for timer, samples in bench.calls(calls(found, x, g, what), len(x)).items():
            _add(bench, section, what, samples, x[0], layout, size=size, timer=timer)


def _group(bench: Bench, section: str, size: str, dtype: torch.dtype, name: str, more: Sequence[Case] = ()) -> None:
    """Time the CPU's cases, and more, on one layout."""
    layout = LAYOUTS[name]
    found = [*cases.basic(layout.width(bench.dry), -1 if layout.kind == "btc" else 1, dtype), *more]
    _calls(bench, section, found, bench.buffers(size, dtype, layout), name, size)


def _formulas(bench: Bench, dtype: torch.dtype) -> list[Case]:
    return cases.formulas(LAYOUTS["nchw 56"].width(bench.dry), 1, 4, dtype)


def kernels(bench: Bench) -> None:
    """Time each pass against a clone, at 256 MB."""
    for name, dtype in layouts_and_dtypes(bench.dry):
        _passes(bench, "kernel", LARGE, dtype, LAYOUTS[name], name)


def kernels_rest(bench: Bench) -> None:
    """Time each pass at 64 MB, then at 2 GB; a rehearsal does the first layouts alone."""
    names = ("flat", "nchw 56", "channels_last 64") if bench.dry else tuple(LAYOUTS)
    wanted = [("64 MB", name) for name in names] + [("2 GB", name) for name in ("flat", "nchw 56") if not bench.dry]
    for (size, name), dtype in itertools.product(wanted, TABLE):
        _passes(bench, "kernel", size, dtype, LAYOUTS[name], name)


def eager(bench: Bench) -> None:
    """Time calls and formulas at 256 MB."""
    for dtype in TABLE:
        _group(bench, "eager", LARGE, dtype, "nchw 56", _formulas(bench, dtype))


def eager_rest(bench: Bench) -> None:
    """Time calls and formulas at 64 MB, then calls in other layouts and dtypes."""
    for dtype in TABLE[: 1 if bench.dry else None]:
        _group(bench, "eager", "64 MB", dtype, "nchw 56", _formulas(bench, dtype))
    for name in ("channels_last 64", "btc"):
        _group(bench, "layout", LARGE, torch.bfloat16, name)
    for dtype in (torch.float16, torch.float64):
        _group(bench, "dtype", LARGE, dtype, "nchw 56")


def mollified(bench: Bench) -> None:
    """Time ReLU smoothed with each kernel."""
    _group(bench, "mollified", LARGE, torch.float32, "nchw 56", smoothed())


def compiled(bench: Bench) -> None:
    """Time the compiled formulas; a rehearsal skips them, because torch compiles differently for a CPU."""
    for dtype in TABLE[: 1 if bench.dry else None]:
        made = [] if bench.dry else [cases.compiled(formula) for formula in _formulas(bench, dtype)]
        _group(bench, "compiled", LARGE, dtype, "nchw 56", made)
        torch.compiler.reset()


def fused(bench: Bench) -> None:
    """Time an activation with its neighbors: one program by Inductor against bevel's program between theirs."""
    layout = LAYOUTS["nchw 56"]
    for dtype in TABLE:
        x = bench.buffers(LARGE, dtype, layout)
        for name, pair in neighbors(layout.width(bench.dry), dtype, bench.dry).items():
            _calls(bench, "fused", pair, x, name, LARGE)
        torch.compiler.reset()


def small(bench: Bench) -> None:
    """Time 10,000 elements, where Python and the launches make up the cost."""
    x = bench.small()
    _calls(bench, "small", cases.basic(SMALL[1], 1, x.dtype), [x], "nchw")


def memory(bench: Bench) -> None:
    """Count the bytes that autograd keeps for backward."""
    layout = LAYOUTS["nchw 56"]
    for dtype in TABLE:
        x = bench.buffers("64 MB", dtype, layout)[0]
        found = cases.basic(layout.width(bench.dry), 1, dtype) + _formulas(bench, dtype)
        samples = {case.name: Sample([float(case.to(bench.device).saved_bytes(x))]) for case in found}
        _add(bench, "memory", "bytes", samples, x, "nchw 56", size="64 MB", timer="")


def training(bench: Bench) -> None:
    """Measure time and peak memory of a ResNet-50 training step in bfloat16, with ReLU and with SAU."""
    _network(bench, "training", "ResNet-50", ("relu", "sau"))


def networks(bench: Bench) -> None:
    """The same for every network and every activation in the place of its ReLUs; a rehearsal has ReLU alone."""
    for name in NETWORKS:
        _network(bench, "network", name, SPECS[: 1 if bench.dry else None], rounds=FEW)


def networks_compiled(bench: Bench) -> None:
    """The same of two networks through ``torch.compile``, which a rehearsal leaves out, as with the formulas."""
    for name in COMPILED:
        _network(bench, "network", name, SPECS[: 1 if bench.dry else None], rounds=FEW, compile_it=not bench.dry)


def _network(
    bench: Bench, section: str, name: str, specs: Sequence[str], *, rounds: int = ROUNDS, compile_it: bool = False
) -> None:
    side, batch = (32, 2) if bench.dry else (224, 128)
    images = torch.randn(batch, 3, side, side, device=bench.device, dtype=torch.bfloat16)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.int64, device=bench.device)
    steps: dict[str, Call] = {}
    peaks: dict[str, Sample] = {}
    for spec in specs:
        before = 0 if bench.dry else torch.cuda.memory_allocated(bench.device)
        torch.manual_seed(0)
        model = swapped(builder(name, side, 16 if bench.dry else 1)(), spec, images[:2].float().cpu())
        model = model.to(bench.device, torch.bfloat16).to(memory_format=torch.channels_last)
        if compile_it:
            model.compile(dynamic=False)
        step = training_step(model, images, labels)
        if not bench.dry:
            step()  # compile, and allocate gradients and momentum
            peaks[spec] = Sample([float(bench.peak(step) - before)])
        steps[spec] = _any_turn(step)
    layout, size = f"{'compiled ' * compile_it}{name}", f"{batch} images of {side} × {side}"
    for timer, samples in bench.calls(steps, 1, rounds).items():
        _add(bench, section, "step", samples, images, layout, size=size, timer=timer)
    if not bench.dry:
        _add(bench, section, "peak", peaks, images, layout, size=size, timer="")
    torch.compiler.reset()


def _any_turn(step: Callable[[], object]) -> Call:
    return lambda turn: step()


def sweep(bench: Bench) -> None:
    """Time other tiles, warps and programs a processor, to show whether those in the source are the best."""
    for dtype, tuning in itertools.product(TABLE, tunings(bench.dry)):
        with tuned(tuning):
            for name, only in SWEPT:
                warps = f"{tuning.warps} warp{'s' * (tuning.warps > 1)}"
                said = f"{name}, tile {tuning.tile}, {warps}, {tuning.per_processor} a processor"
                _passes(bench, "sweep", LARGE, dtype, LAYOUTS[name], said, only)


CHECKS = {
    HELD: Section(lambda bench: check.held_rows(bench.device, bench.dry), 25),
    LAWS: Section(lambda bench: check.held_laws(bench.device, bench.dry), 60),  # where the suite cannot run
    **{name: Section(build, 30) for name, build in ahead.PARTS.items()},  # at once, and for as long as the suite runs
}
SECTIONS = {
    "kernels": Section(kernels, 60),
    "kernels_rest": Section(kernels_rest, 55),
    "eager": Section(eager, 25),
    "small": Section(small, 12),
    "training": Section(training, 30),
    "networks": Section(networks, 60),
    "sweep": Section(sweep, 30),
    "eager_rest": Section(eager_rest, 28),
    "memory": Section(memory, 10),
    "fused": Section(fused, 20),
    "compiled": Section(compiled, 30),
    "mollified": Section(mollified, 12),
    "networks_compiled": Section(networks_compiled, 35),
}
FAULTS = {
    "raises": Section(faults.raises, 5, 5),
    "hangs": Section(faults.hangs, 1, 1),
    "dies": Section(faults.dies, 5, 5),
}
BY_NAME = CHECKS | SECTIONS | FAULTS
