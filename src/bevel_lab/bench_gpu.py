"""``make bench-gpu``: what bevel's activations cost on a GPU, checked and measured in one command.

It needs torch and Triton and nothing else of the lab. Kernels are timed as replays of a CUDA graph over rotating
buffers that exceed the L2 cache, so that neither Python nor the cache enters; calls (``eager``, ``small``) are timed as
a user makes them. Candidates of a group take turns within every round, so that drift cancels in their ratios.
``--dry-run`` takes the same path on the CPU, through Triton's interpreter, on tiny tensors: its times mean nothing.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bevel
from bevel.ops import _triton
from bevel.ops.triton.layout import Tuning
from bevel_lab import gpu_page
from bevel_lab.gpu_cases import Case, call_cases, kernel_cases, shape_of, small_cases

L2 = 60_000_000  # bytes; buffers rotate over at least four times this
ROUNDS = 15


@dataclass(frozen=True)
class Bench:
    """Where and how much: a GPU, or a rehearsal on the CPU."""

    device: torch.device
    dry: bool

    @property
    def sizes(self) -> list[int]:
        """Bytes of x."""
        return [512] if self.dry else [1 << 26, 1 << 28, 1 << 31]

    def turns(self, size: int) -> int:
        return 1 if self.dry else max(2, -(-4 * L2 // size))

    def wait(self) -> None:
        if not self.dry:
            torch.cuda.synchronize(self.device)

    def once(self, call: Callable[[], object]) -> float:
        """Seconds of one call on the device's own clock."""
        if self.dry:
            begin = time.perf_counter()
            call()
            return time.perf_counter() - begin
        cuda: Any = torch.cuda
        first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        first.record()
        call()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3

    def captured(self, case: Case, turns: int) -> Callable[[], object]:
        """All turns of a case as one graph; in a rehearsal just the calls."""

        def all_turns() -> None:
            for turn in range(turns):
                case.call(turn)

        all_turns()
        if self.dry:
            return all_turns
        self.wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            all_turns()
        return graph.replay


def _repeat(case: Case, turns: int, times: int) -> None:
    for i in range(times):
        case.call(i % turns)


def measure(
    bench: Bench, cases: Sequence[Case], turns: int, *, graph: bool, calls: int = 1
) -> Iterator[tuple[Case, list[float]]]:
    """Seconds of each call of each case, round by round, the cases in turn."""
    runs: list[Callable[[], object]] = []
    for case in cases:
        if graph:
            runs.append(bench.captured(case, turns))
        else:
            runs.append(functools.partial(_repeat, case, turns, max(turns, calls)))
            runs[-1]()  # compiles
    each = turns if graph else max(turns, calls)
    samples: list[list[float]] = [[] for _ in cases]
    for turn in range(1 if bench.dry else ROUNDS + 3):
        for i, run in enumerate(runs):
            seconds = bench.once(run) / each
            if turn >= (0 if bench.dry else 3):
                samples[i].append(seconds)
    yield from zip(cases, samples, strict=True)


# ------------------------------------------------------------------------------------------------------- sections


def _buffers(shape: tuple[int, ...], dtype: torch.dtype, bench: Bench, turns: int, last: bool) -> list[Tensor]:
    layout = torch.channels_last if last else torch.contiguous_format
    made = [torch.randn(shape, device=bench.device, dtype=dtype) for _ in range(turns)]
    return [t.contiguous(memory_format=layout) for t in made]


def kernels(bench: Bench, sink: gpu_page.Sink) -> None:
    """Bytes per second of each pass against a device copy."""
    for dtype in (torch.bfloat16, torch.float32):
        for size in bench.sizes:
            for last in (False, True):
                turns = bench.turns(size)
                shape = shape_of(size, dtype, bench.dry)
                x, g = (_buffers(shape, dtype, bench, turns, last) for _ in range(2))
                with torch.no_grad():
                    done = list(measure(bench, kernel_cases(x, g), turns, graph=True))
                copy = done[0][0].moved / statistics.median(done[0][1])
                for case, seconds in done:
                    rate = case.moved / statistics.median(seconds)
                    where = f"{shape[0]}x{shape[1]}x{shape[2]}x{shape[3]} {'channels_last' if last else 'NCHW'}"
                    sink.add("kernel", case.name, where, dtype, seconds, rate=rate, base="copy", ratio=rate / copy)
                del x, g


def calls(bench: Bench, sink: gpu_page.Sink) -> None:
    """Forward + backward as called, against relu; the formulas at one size (they keep ten tensors)."""
    for dtype in (torch.bfloat16, torch.float32):
        for size in bench.sizes[:2]:
            turns = bench.turns(size)
            shape = shape_of(size, dtype, bench.dry)
            x, g = (_buffers(shape, dtype, bench, turns, last=False) for _ in range(2))
            x = [t.requires_grad_() for t in x]
            cases = call_cases(x, g, bench.dry, formulas=size == bench.sizes[:2][-1])
            done = list(measure(bench, cases, turns, graph=False))
            sink.against("eager", done, "relu forward + backward", "x".join(map(str, shape)), dtype)
    x1 = torch.randn(10_000 if not bench.dry else 100, device=bench.device, requires_grad=True)
    done = list(measure(bench, small_cases(x1, torch.ones_like(x1)), 1, graph=False, calls=2 if bench.dry else 500))
    for kind in ("forward", "forward + backward"):
        pair = [(c, s) for c, s in done if c.name.partition(" ")[2] == kind]
        sink.against("small", pair, f"gelu {kind}", str(x1.numel()), torch.float32)


def sweep(bench: Bench, sink: gpu_page.Sink) -> None:
    """Other tiles and grids for SAU, so that a reader sees whether the ones in the source are the best."""
    size = bench.sizes[-1] // (1 if bench.dry else 4)
    for dtype in (torch.bfloat16, torch.float32):
        turns = bench.turns(size)
        x, g = (_buffers(shape_of(size, dtype, bench.dry), dtype, bench, turns, last=False) for _ in range(2))
        for tile, ahead, per in ((128, 1, 32), (256, 0, 32), (256, 1, 16), (256, 1, 32), (256, 2, 32), (512, 1, 32)):
            _triton.tune(Tuning(tile=tile, ahead=ahead, per_processor=per))
            with torch.no_grad():
                cases = [c for c in kernel_cases(x, g) if c.name in ("copy", "SAU forward", "SAU backward")]
                done = list(measure(bench, cases, turns, graph=True))
            copy = done[0][0].moved / statistics.median(done[0][1])
            for case, seconds in done[1:]:
                rate = case.moved / statistics.median(seconds)
                where = f"tile {tile}, ahead {ahead}, {per} a processor"
                sink.add("sweep", case.name, where, dtype, seconds, rate=rate, base="copy", ratio=rate / copy)
    _triton.tune(Tuning())


def training(bench: Bench, sink: gpu_page.Sink) -> None:
    """A ResNet-50 training step in bfloat16: time and peak memory, ReLU and SAU in turn."""
    models = importlib.import_module("torchvision.models")
    images = torch.randn(2 if bench.dry else 128, 3, *([16, 16] if bench.dry else [224, 224]), device=bench.device)
    images = images.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    target = torch.zeros(len(images), dtype=torch.int64, device=bench.device)
    cases, peaks = [], {}
    for name, factory in (("relu", None), ("SAU", bevel.SAU)):
        model = models.resnet18() if bench.dry else models.resnet50()
        if factory is not None:
            _swap(model, factory)
        model = model.to(bench.device, torch.bfloat16).to(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

        def step(i: int, model: nn.Module = model, optimiser: torch.optim.SGD = optimiser) -> object:
            optimiser.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(images), target))
            return optimiser.step()

        step(0)
        if not bench.dry:
            torch.cuda.reset_peak_memory_stats()
            step(0)
            bench.wait()
            peaks[name] = torch.cuda.max_memory_allocated()
        cases.append(Case(name, step))
    done = list(measure(bench, cases, 1, graph=False, calls=1 if bench.dry else 3))
    sink.against("training", done, "relu", f"ResNet-50, batch {len(images)}", torch.bfloat16)
    if peaks:
        sink.add(
            "memory", "SAU", "ResNet-50 peak", torch.bfloat16, [0.0], base="relu", ratio=peaks["SAU"] / peaks["relu"]
        )


def _swap(model: nn.Module, factory: Callable[[], nn.Module]) -> None:
    for child_name, child in model.named_children():
        if isinstance(child, nn.ReLU):
            setattr(model, child_name, factory())
        else:
            _swap(child, factory)


def check(bench: Bench) -> bool:
    """Whether the backend's own tests pass on this device."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pytest", str(root / "tests" / "triton"), "-q", "-m", "not slow"]
    try:
        done = subprocess.run(
            [*command, "--device", bench.device.type, "-p", "no:cacheprovider"], check=False, cwd=root, timeout=240
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def about(bench: Bench) -> dict[str, str]:
    """GPU, driver and versions."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "bevel": bevel.__version__}
    found["triton"] = importlib.metadata.version("triton")
    if bench.dry:
        return {"gpu": "none (rehearsal)", "driver": "none", **found}
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip().splitlines()
    return {"gpu": torch.cuda.get_device_name(bench.device), "driver": driver[0] if driver else "unknown", **found}


SECTIONS: dict[str, Callable[[Bench, gpu_page.Sink], None]] = {f.__name__: f for f in (kernels, calls, training, sweep)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 when the tests passed, if asked for, and every section ran."""
    parser = argparse.ArgumentParser(prog="bench-gpu", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument("--page", type=Path, help="Markdown page to write from the rows")
    parser.add_argument("--check", action="store_true", help="run tests/triton on the device first")
    parser.add_argument(
        "--dry-run", action="store_true", help="the same path on the CPU, tiny, through the interpreter"
    )
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args(arguments)
    if options.dry_run and os.environ.get("TRITON_INTERPRET") != "1":  # it counts when Triton is imported: start again
        again = [sys.executable, "-m", "bevel_lab.bench_gpu", *(sys.argv[1:] if arguments is None else arguments)]
        return subprocess.run(again, env={**os.environ, "TRITON_INTERPRET": "1"}, check=False).returncode
    if not options.dry_run and not torch.cuda.is_available():
        print("bench-gpu: no CUDA device is available; --dry-run rehearses on the CPU", file=sys.stderr)
        return 2
    bench = Bench(torch.device("cpu" if options.dry_run else "cuda"), options.dry_run)
    passed = check(bench) if options.check else True
    sink = gpu_page.Sink(about(bench))
    for name in options.only:
        begin = time.perf_counter()
        using = bevel.ops.using("triton") if options.dry_run else bevel.ops.using("auto")
        with using:
            SECTIONS[name](bench, sink)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
        if options.out:  # after every section: a run that is cut short leaves what it has
            sink.write(options.out)
    print(gpu_page.table(sink.rows))
    if options.page:
        options.page.write_text(gpu_page.page(sink.rows), encoding="utf-8")
    if not passed:
        print("bench-gpu: tests/triton FAILED on this device; the rows above are of a backend that is not right")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
