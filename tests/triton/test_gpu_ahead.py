"""What ``make bench-gpu`` builds before it measures: few programs for the first rows, and ahead all that is timed."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from bevel.ops import using
from bevel.ops._layout import dense_view
from bevel.ops.triton import backend, layout, plan
from bevel.ops.triton.kernel_terms import ACCURACY
from bevel.ops.triton.totals import adding
from bevel_lab.bench.gpu import ahead, check, sections
from bevel_lab.bench.gpu.shapes import AHEAD, LARGE, LAYOUTS, SWEPT, TABLE, TUNINGS, WIDTHS
from bevel_lab.bench.gpu.timing import Bench
from bevel_lab.bench.nets import NETWORKS, builder

PROCESSORS = 132


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The texts of the programs that are asked for meanwhile, of which none is launched."""
    found: set[str] = set()
    compiled = plan.compiled
    monkeypatch.setattr(plan, "compiled", lambda text: (found.add(text), compiled(text))[1])
    monkeypatch.setattr(plan, "Launcher", lambda *_arguments, **_more: lambda *_given: None)
    monkeypatch.setattr(plan, "built", lambda *_: None)
    for name in ("_written", "_seconds"):
        monkeypatch.setattr(plan, name, {})
    backend._plans.clear()
    yield found
    backend._plans.clear()


def test_the_first_rows_build_few_programs(
    texts: set[str], device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program takes a third of a second to build; all kernels' rows are 235, and a minute."""
    monkeypatch.setattr(check, "_compare", lambda *_: None)
    said = check.held_rows(device, brief=False)
    assert said == "passed: rows of the oracle for SAU (published), SAU (exact), SAU (centred), epanechnikov"
    assert 20 < len(texts) <= 30


def test_where_no_suite_runs_the_other_kernels_rows_do(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    held: list[str] = []
    monkeypatch.setattr(check, "laws", lambda spec, count, device: held.append(spec))
    monkeypatch.setattr(check, "smoothing_rows", lambda kernel, device: held.append(kernel))
    monkeypatch.setattr(check, "bend_rows", lambda kernel, device: held.append(f"bends by {kernel}"))
    said = check.held_laws(device, brief=False)
    bends = [f"bends by {kernel}" for kernel in check.BENDING]
    assert sorted([*held, check.FIRST]) == sorted([*check.SPECS * 2, *check.KERNELS, *bends])
    assert said.startswith("passed: laws of sau:n=3,learn_n=true, laws of frelu, rows of biweight, ")
    monkeypatch.setattr(check, "BEGUN", -1.0)
    assert check.held_laws(device, brief=False).startswith("passed: ; no time for laws of sau")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_size_built_ahead_is_cut_as_the_timed_ones(name: str) -> None:
    """What a program's text and its key depend on; of more programs a multiprocessor or fewer, as registers allow."""
    tunings = {layout.Tuning(), *(TUNINGS if name in dict(SWEPT) else ())}
    dtypes = (*TABLE, *([torch.float16, torch.float64] if name == "nchw 56" else []))
    for dtype, tuning in itertools.product(dtypes, tunings):
        for per in {tuning.per_processor, min(tuning.per_processor, 17)}:
            sizes = [AHEAD, "64 MB", LARGE, *["2 GB"] * (name in ("flat", "nchw 56"))]
            cuts = {size: _cut(name, size, dtype, tuning.lanes(ACCURACY[dtype]), PROCESSORS * per) for size in sizes}
            assert len(set(cuts.values())) == 1, (dtype, tuning, cuts)


def _cut(name: str, size: str, dtype: torch.dtype, tile: int, most: int) -> tuple[Any, ...]:
    of = LAYOUTS[name]
    number, unit = size.split()
    shape, memory = of.shape((int(number) << {"MB": 20, "GB": 30}[unit]) // dtype.itemsize, dry=False)
    x = torch.empty(shape, dtype=dtype, device="meta", memory_format=memory)
    view = dense_view(x.shape, x.stride(), of.dim, of.channels > 0)
    assert view is not None
    cut = layout.tiling(*view, most, tile)
    second = adding(cut.partials, view[1])
    return cut.kind, cut.rows, cut.columns, cut.divisor, second.rows, second.columns, second.warps


def test_all_that_is_timed_is_built_ahead(texts: set[str], device: torch.device) -> None:
    """In a rehearsal's sizes: the kernels, the sweep, calls in every dtype, and every kernel of smoothing."""
    bench = Bench(device, dry=True)
    with using("triton"):
        for build in ahead.PARTS.values():
            build(bench)
        built = {*texts}
        texts.clear()
        plan._written.clear()
        plan._seconds.clear()
        backend._plans.clear()
        for name in ("kernels", "kernels_rest", "eager", "small", "sweep", "eager_rest", "mollified"):
            sections.SECTIONS[name].run(bench)
    assert len(texts) > 50
    assert not texts - built


def test_every_width_of_a_network_has_its_binaries() -> None:
    """Of its text, and of what Triton specialises on: numbers that are one, or multiples of sixteen."""
    widths = {768}  # the ViT's
    for name in NETWORKS:
        with torch.device("meta"):
            model = builder(name, 224)()
        widths |= {module.num_features for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    assert len(widths) > 30
    kept = {_binary(width) for width in WIDTHS}
    assert {_binary(width) for width in widths} == kept
    assert len(kept) == len(WIDTHS)


def _binary(width: int) -> tuple[Any, ...]:
    cut = layout.tiling(128 * 49, width, 1, PROCESSORS * 24, 256)
    numbers = [(n == 1, n % 16 == 0) for n in (*cut.numbers[:2], width)]
    return cut.kind, cut.rows, cut.columns, cut.divisor, *numbers, adding(cut.partials, width).columns
