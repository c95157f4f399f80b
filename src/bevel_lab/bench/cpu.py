"""The benchmark: sizes, layouts, dtypes, thread counts; memory; a training step; import time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

import bevel
from bevel_lab.bench import cases, training_loop
from bevel_lab.bench.cases import Case
from bevel_lab.bench.rows import Row
from bevel_lab.bench.timing import Sample, forward_backward, interleave
from bevel_lab.runtime.memory import SavedBytes
from bevel_lab.runtime.provenance import commit, device_name, versions

SIZES = (1_000, 10_000, 100_000, 1 << 20, 1 << 23, 33_000_000)  # elements; 2²⁰ and 2²³ are 4 MB and 33 MB of float32
CHANNELS = 64
LAYOUTS = ("nchw", "channels_last", "btc")

Report = Callable[[str], None]


def _tensor(elements: int, layout: str, dtype: torch.dtype) -> tuple[Tensor, int]:
    """A normal tensor of about that many elements, and its channel axis."""
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


class Bench:
    """Collects rows.

    Args:
        seconds: time to spend on a group of interleaved cases, about.
        report: called with a line of progress before each group.
    """

    def __init__(self, seconds: float, report: Report) -> None:
        self.rows: list[Row] = []
        self.seconds = seconds
        self.report = report
        self._where = {
            "cpu": device_name(torch.device("cpu")),
            "versions": ", ".join(f"{k} {v}" for k, v in versions().items()),
            "commit": commit(),
        }

    def _add(
        self, section: str, what: str, samples: dict[str, Sample], elements: int, dtype: str, layout: str, threads: int
    ) -> None:
        medians = {name: s.median for name, s in samples.items()}

        def ratio(name: str, to: str) -> float:
            return medians[name] / medians[to] if to in medians else 0.0

        for name, sample in samples.items():
            low, high = sample.quartiles
            self.rows.append(
                Row(
                    section=section,
                    case=name,
                    what=what,
                    elements=elements,
                    dtype=dtype,
                    layout=layout,
                    threads=threads,
                    median=sample.median,
                    low=low,
                    high=high,
                    repeats=len(sample.seconds),
                    to_copy=ratio(name, "copy"),
                    to_relu=ratio(name, "relu"),
                    to_gelu=ratio(name, "gelu"),
                    **self._where,
                )
            )

    def speed(
        self, chosen: Iterable[Case], elements: int, layout: str, dtype: torch.dtype, threads: int, x: Tensor
    ) -> None:
        """One group: the cases on one tensor, forward, backward and both."""
        name = str(dtype).removeprefix("torch.")
        self.report(f"{elements:>10,} elements  {name:8}  {layout:13}  {threads} threads")
        generator = torch.Generator().manual_seed(1)
        g = torch.empty_like(x).copy_(torch.randn(x.shape, generator=generator))
        inner = max(1, 30_000 // x.numel())
        torch.set_num_threads(threads)
        calls = {c.name: forward_backward(c, x, g, inner) for c in chosen}
        begun = time.perf_counter()
        interleave(calls, 1)
        a_round = (time.perf_counter() - begun) / 3
        least = 25 if x.numel() < 1 << 22 else 9  # small ones swing more, with what malloc gives back
        rounds = min(201, max(least, int(self.seconds / a_round)))
        found = interleave(calls, rounds)
        for i, what in enumerate(("forward", "backward", "both")):
            self._add("speed", what, {k: v[i] for k, v in found.items()}, x.numel(), name, layout, threads)

    def memory(self) -> None:
        """Bytes that autograd keeps for backward, for a float32 input of 2²⁰ elements."""
        x, dim = _tensor(1 << 20, "nchw", torch.float32)
        chosen = [*cases.torchs_own(CHANNELS, dim, x.dtype), *cases.ours(CHANNELS, dim, x.dtype)]
        chosen += cases.eager_and_compiled(CHANNELS, dim, x.dim(), x.dtype, compiled=False)
        found: dict[str, Sample] = {}
        for case in chosen:
            watch = SavedBytes()
            holder = case.call if isinstance(case.call, nn.Module) else nn.Identity()
            with watch.watch(holder):
                case.call(x.detach().requires_grad_())
            found[case.name] = Sample([float(watch.total)])
        self._add("memory", "bytes", found, x.numel(), "float32", "nchw", 1)

    def step(self, threads: int, batch: int = 16) -> None:
        """A whole training step of ResNet-18 on 32×32 images with each activation in place of its ReLUs."""
        self.report(f"ResNet-18 training step, batch {batch}, {threads} threads")
        torch.set_num_threads(threads)
        specs = ("relu", "gelu", "prelu", "sau", "frelu", "smooth_frelu")
        calls = {spec: _training_step(spec, batch) for spec in specs}
        found = interleave(calls, 11)
        samples = {name: columns[0] for name, columns in found.items()}
        self._add("step", "step", samples, batch * 3 * 32 * 32, "float32", "nchw", threads)

    def loops(self) -> None:
        """A training step of the lab beside a bare loop's, data and augmentation included; the layout is the model."""
        torch.set_num_threads(1)
        for model in training_loop.MODELS:
            self.report(f"the lab's training step beside a bare loop's, {model}")
            found = interleave(training_loop.epochs(model, threads=1), 21)
            samples = {name: columns[0] for name, columns in found.items()}
            self._add("loop", "step", samples, training_loop.BATCH * 8 * 8, "float32", model, 1)

    def imports(self) -> None:
        """``import bevel`` and a first module of it after ``import torch``, as a ratio to ``import torch`` alone."""
        self.report("import time")
        calls: dict[str, Callable[[], Sequence[float]]] = {
            name: _import_time(code)
            for name, code in (("torch", "import torch"), ("bevel", "import torch, bevel; bevel.SAU"))
        }
        found = interleave(calls, 5)
        self._add("import", "import", {k: v[0] for k, v in found.items()}, 0, "", "", 1)


def _import_time(code: str) -> Callable[[], Sequence[float]]:
    def once() -> Sequence[float]:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - start,)

    return once


def _training_step(spec: str, batch: int) -> Callable[[], Sequence[float]]:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model = resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)  # the usual stem for 32×32 pictures
    model.maxpool = nn.Identity()
    x = torch.randn(batch, 3, 32, 32)
    y = torch.randint(0, 10, (batch,))
    if spec != "relu":
        bevel.swap(model, spec, x, preserve=False)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def once() -> Sequence[float]:
        start = time.perf_counter()
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(x), y))
        optimiser.step()
        return (time.perf_counter() - start,)

    return once


def run(quick: bool, compiled: bool, report: Report) -> list[Row]:
    """The whole benchmark; ``quick`` keeps to 4 MB, one thread, no training step. Threads are restored after it."""
    before = torch.get_num_threads()
    bench = Bench(0.5 if quick else 1.5, report)
    try:
        for plan in _plans(quick, compiled):
            bench.speed(*plan)
            torch.compiler.reset()
        bench.memory()
        bench.imports()
        if not quick:
            bench.loops()
            torch.set_num_threads(before)
            for threads in _threads():
                bench.step(threads)
    finally:
        torch.set_num_threads(before)
    return bench.rows


def _threads() -> tuple[int, ...]:
    most = torch.get_num_threads()
    return (1, most) if most > 1 else (1,)


def _plans(quick: bool, compiled: bool) -> Iterator[tuple[list[Case], int, str, torch.dtype, int, Tensor]]:
    """Every group: the table of targets first, then sizes, layouts, dtypes and kernels."""
    full = torch.float32
    for threads in (1,) if quick else _threads():
        for elements in (1 << 20,) if quick else (1 << 20, 1 << 23):
            x, dim = _tensor(elements, "nchw", full)
            others: list[Case] = []
            if threads == 1:  # the formulas are slow, and compiling them takes longer than timing
                others = cases.eager_and_compiled(CHANNELS, dim, x.dim(), full, compiled)
            yield _basic(x, dim, full) + others, elements, "nchw", full, threads, x
    if quick:
        return
    for elements in SIZES:
        if elements not in (1 << 20, 1 << 23):
            x, dim = _tensor(elements, "nchw", full)
            yield _basic(x, dim, full), elements, "nchw", full, 1, x
    for layout in LAYOUTS[1:]:
        for elements in (1 << 20, 1 << 23):
            x, dim = _tensor(elements, layout, full)
            yield _basic(x, dim, full), elements, layout, full, 1, x
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        x, dim = _tensor(1 << 23, "nchw", dtype)
        yield _basic(x, dim, dtype), 1 << 23, "nchw", dtype, 1, x
    for elements in (1 << 20, 1 << 23):
        x, _ = _tensor(elements, "nchw", full)
        kernels = [cases.copy(), *cases.torchs_own(CHANNELS, 1, full)[:3], *cases.every_kernel()]
        yield kernels, elements, "kernels", full, 1, x


def _basic(x: Tensor, dim: int, dtype: torch.dtype) -> list[Case]:
    channels = x.shape[dim]
    return [cases.copy(), *cases.torchs_own(channels, dim, dtype), *cases.ours(channels, dim, dtype)]
