"""The benchmark on a CPU: speed, the catalog, memory, import time, training steps, whole networks, and inference."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from bevel_lab.bench import SECTIONS, cases, inference, training_loop
from bevel_lab.bench.cases import Case
from bevel_lab.bench.nets.resnet import resnet
from bevel_lab.bench.networks import networks
from bevel_lab.bench.rows import Collector, Row
from bevel_lab.bench.targets import MB4, MB33
from bevel_lab.bench.timing import Sample, compare, forward_backward, interleave, stopwatch
from bevel_lab.runtime.inference import available
from bevel_lab.runtime.provenance import device_name, versions

SIZES = (1_000, 10_000, 100_000, 33_000_000)  # elements, in addition to tensors of 4 MB and 33 MB
CHANNELS = 64
LAYOUTS = ("channels_last", "btc")  # in addition to nchw

Report = Callable[[str], None]


def _tensor(elements: int, layout: str, dtype: torch.dtype) -> tuple[Tensor, int]:
    """Make a normal tensor of about that many elements; return it with its channel axis."""
    generator = torch.Generator().manual_seed(0)
    if elements < 100_000:
        shape: tuple[int, ...] = (elements // 10, 10, 1, 1)
    else:
        shape = (max(1, elements // (CHANNELS * 1024)), CHANNELS, 32, 32)
    x = torch.randn(shape, generator=generator).to(dtype)
    if layout == "channels_last":
        return x.to(memory_format=torch.channels_last), 1
    if layout == "btc":
        return x.permute(0, 2, 3, 1).reshape(shape[0], -1, shape[1]).contiguous(), -1
    return x, 1


class Bench(Collector):
    """Measures on a CPU and collects the rows.

    Args:
        seconds: about how long to measure a group of interleaved cases.
        report: called with a line of progress before each group.
    """

    def __init__(self, seconds: float, report: Report) -> None:
        super().__init__(device_name(torch.device("cpu")), versions())
        self.seconds = seconds
        self.report = report

    def speed(self, chosen: Sequence[Case], layout: str, threads: int, x: Tensor, section: str = "speed") -> None:
        """Time one group of cases on one tensor: forward, backward, and both."""
        dtype = str(x.dtype).removeprefix("torch.")
        self.report(f"{x.numel():>10,} elements  {dtype:8}  {layout:13}  {threads} threads")
        generator = torch.Generator().manual_seed(1)
        g = torch.empty_like(x).copy_(torch.randn(x.shape, generator=generator))
        inner = max(1, 30_000 // x.numel())
        torch.set_num_threads(threads)
        calls = {c.name: forward_backward(c, x, g, inner) for c in chosen}
        begun = time.perf_counter()
        interleave(calls, 1)
        a_round = (time.perf_counter() - begun) / 3
        # times of small tensors vary more: malloc returns some blocks to the system and not others; all of the catalog
        # takes seconds a round
        least = 15 if section == "catalog" else 25 if x.numel() < 1 << 22 else 9
        found = interleave(calls, min(201, max(least, int(self.seconds / a_round))))
        for i, what in enumerate(("forward", "backward", "both")):
            samples = {name: columns[i] for name, columns in found.items()}
            self.add(section, what, samples, elements=x.numel(), dtype=dtype, layout=layout, threads=threads)

    def memory(self) -> None:
        """Count the bytes that autograd keeps for backward, for a float32 input of 2²⁰ elements."""
        x, dim = _tensor(1 << 20, "nchw", torch.float32)
        chosen = [*cases.basic(CHANNELS, dim, x.dtype)[1:], *cases.formulas(CHANNELS, dim, x.dim(), x.dtype)]
        found = {case.name: Sample([float(case.saved_bytes(x))]) for case in chosen}
        self.add("memory", "bytes", found, elements=x.numel(), dtype="float32", layout="nchw", threads=1)

    def inference(self, compiled: bool) -> None:
        """Time ResNet-18 on one 32×32 image with each activation as it is shipped. Layout is the runtime."""
        torch.set_num_threads(1)
        x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        models = inference.networks(resnet18, x)
        for runtime in available(compiled):
            self.report(f"ResNet-18 inference, one image, 1 thread, {runtime}")
            found = inference.timed(models, x, runtime, 51)
            self.add("inference", "call", found, elements=x.numel(), dtype="float32", layout=runtime, threads=1,
                     timer="processor")  # fmt: skip
            torch.compiler.reset()

    def loops(self) -> None:
        """Time a training step of the lab and of a plain loop, data and augmentation included. Layout is the model."""
        torch.set_num_threads(1)
        for model in training_loop.MODELS:
            self.report(f"the lab's training step beside a plain loop's, {model}")
            found = compare(training_loop.epochs(model, threads=1), 21)
            elements = training_loop.BATCH * 8 * 8
            self.add("loop", "step", found, elements=elements, dtype="float32", layout=model, threads=1)

    def imports(self) -> None:
        """Time ``import torch`` with and without ``import bevel`` and a first module of it after it."""
        self.report("import time")
        codes = {"torch": "import torch", "bevel": "import torch, bevel; bevel.SAU"}
        calls = {
            name: stopwatch(partial(subprocess.run, [sys.executable, "-c", code], check=True))
            for name, code in codes.items()
        }
        self.add("import", "import", compare(calls, 5), threads=1)


def resnet18() -> nn.Module:
    """The ResNet-18 of whole networks, with ten classes and the usual stem for 32×32 pictures."""
    torch.manual_seed(0)
    model = resnet(18, classes=10)
    model[0], model[3] = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return model


def measure(quick: bool, compiled: bool, report: Report, only: Sequence[str] = SECTIONS) -> Iterator[list[Row]]:
    """Run the benchmark; yield the rows of one section after the other. Torch's number of threads is restored.

    Args:
        quick: with tensors of 4 MB on one thread, in the sections of ``QUICK``.
        compiled: whether the formulas and some networks run through ``torch.compile``, too.
        report: called with a line of progress before each group.
        only: sections to run, in the order of ``SECTIONS``.
    """
    before = torch.get_num_threads()
    bench = Bench(0.5 if quick else 1.5, report)
    for section in SECTIONS:
        if section not in only:
            continue
        done = len(bench.rows)
        try:
            _measure_section(bench, section, quick, compiled)
        finally:
            torch.set_num_threads(before)
        yield bench.rows[done:]


def _measure_section(bench: Bench, section: str, quick: bool, compiled: bool) -> None:
    if section == "speed":
        for plan in _plans(quick, compiled):
            bench.speed(*plan)
            torch.compiler.reset()
    elif section == "catalog":
        bench.speed(cases.catalog(), "nchw", 1, _tensor(MB4, "nchw", torch.float32)[0], "catalog")
    elif section == "memory":
        bench.memory()
    elif section == "import":
        bench.imports()
    elif section == "loop":
        bench.loops()
    elif section == "network":
        for threads in _threads():
            torch.set_num_threads(threads)
            networks(bench, threads, compiled and threads == 1, bench.report)
    elif section == "inference":
        bench.inference(compiled)


def _threads() -> tuple[int, ...]:
    most = torch.get_num_threads()
    return (1, most) if most > 1 else (1,)


def _plans(quick: bool, compiled: bool) -> Iterator[tuple[list[Case], str, int, Tensor]]:
    """Yield the arguments of ``speed`` for every group, those that targets are set for first."""
    full = torch.float32
    for threads in (1,) if quick else _threads():
        for elements in (MB4,) if quick else (MB4, MB33):
            x, dim = _tensor(elements, "nchw", full)
            chosen = cases.basic(x.shape[dim], dim, full)
            if threads == 1:  # the formulas are slow, and compiling them takes longer than timing them
                for formula in cases.formulas(x.shape[dim], dim, x.dim(), full):
                    chosen += [formula, cases.compiled(formula)] if compiled else [formula]
            yield chosen, "nchw", threads, x
    if quick:
        return
    others = [(elements, "nchw", full) for elements in SIZES]
    others += [(elements, layout, full) for layout in LAYOUTS for elements in (MB4, MB33)]
    others += [(MB33, "nchw", dtype) for dtype in (torch.bfloat16, torch.float16, torch.float64)]
    for elements, layout, dtype in others:
        x, dim = _tensor(elements, layout, dtype)
        yield cases.basic(x.shape[dim], dim, dtype), layout, 1, x
    for elements in (MB4, MB33):
        x, dim = _tensor(elements, "nchw", full)
        yield [*cases.basic(CHANNELS, dim, full)[:4], *cases.every_kernel()], "kernels", 1, x
