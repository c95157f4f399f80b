"""The programs themselves: how tensors are cut, what a GPU's compiler makes of them, and what only a GPU can show."""

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import bevel
from bevel.functional import frelu_family, sau, sau_family
from bevel.ops import evaluate
from bevel.ops._layout import dense_view
from bevel.ops.triton import backend, layout, plan
from bevel.ops.triton.layout import Tuning
from bevel.ops.triton.program import Job, Program, job
from bevel.ops.triton.totals import adding
from bevel_lab.bench.gpu.shapes import LAYOUTS
from bevel_lab.bench.page import NOTHING, gpu
from bevel_lab.bench.rows import Row, read
from bevel_lab.bench.targets import GPU, OURS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
on_cuda = pytest.mark.skipif("not config.getoption('--device').startswith('cuda')", reason="needs a GPU")


def _run(arguments: list[str], **variables: str) -> str:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"PYTHONPATH": path, **variables}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_gpus_compiler_takes_them() -> None:
    """Programs built for sm_90 (without a GPU).

    They spill nothing, read and write tensors 16 bytes at a time, read two tiles before they use the first, and run in
    one wave or in three at least.
    """
    rows = json.loads(_run([str(HERE / "compile_for.py")]))
    assert len(rows) == 16
    for name, row in rows.items():
        assert row["stack"] == 0, name
        if name == "add_up":
            continue
        tensors = 3 if "backward" in name else 2
        wide = [a for a in row["accesses"] if a.endswith(".128")]
        assert len(wide) >= tensors, (name, row["accesses"])
        assert not any(a.endswith((".U16", ".S16", ".U8")) for a in row["accesses"]), (name, row["accesses"])
        assert row["under_way"] >= 2 * (tensors - 1), name
        assert row["waves"] <= 1 or row["waves"] >= 3, (name, row["waves"])
    for name in ("frelu long rows bf16 backward", "frelu many channels bf16 backward"):
        assert rows[name]["narrow"] == 0, name  # a product of 32 bits would wrap
    assert rows["frelu nchw 7 bf16 backward"]["kind"] == "packed"
    # 32 programs of one warp fill a multiprocessor's 65536 registers at 64 each; forward keeps below it
    for name in ("sau flat bf16 forward", "sau flat fp32 forward"):
        assert rows[name]["registers"] <= 64
    assert rows["sau flat bf16 backward"]["registers"] <= 96


@pytest.mark.process
def test_new_batch_sizes_build_few_binaries() -> None:
    """By Triton's own keys; with trips, strides and limits specialised on, 120 batch sizes built 12 to 17."""
    rows = json.loads(_run([str(HERE / "compile_for.py"), "count"]))
    assert len(rows) == 4
    assert all(3 <= count <= 5 for count in rows.values()), rows


@pytest.mark.process
def test_a_launch_without_a_hook_is_not_described() -> None:
    """Of Triton's own kernel, whose driver alone is a stand-in: the same launch, in less time of Python."""
    found = json.loads(_run([str(HERE / "compile_for.py"), "launch"]))
    described, direct, hooked = found["launches"]
    assert direct == [*described[:6], None, None, None, *described[9:]]
    assert described[:6] == [10, 1, 1, 7, 1, [4]]
    assert hooked[:6] + hooked[9:] == described[:6] + described[9:]
    assert hooked[6] is not None, "a profiler's hook is told of the launch"
    assert found["hook"] == 1
    assert found["direct"] < found["described"]


def test_importing_the_backend_does_not_import_triton() -> None:
    code = (
        "import sys; import bevel.ops.triton.launch, bevel.ops.triton.program\n"
        "from bevel.ops.triton import backend; backend.unavailable(); import ast, pathlib\n"
        "files = list(pathlib.Path(backend.__file__).parent.glob('*.py'))\n"
        "names = {a.name for f in files for n in ast.walk(ast.parse(f.read_text())) if isinstance(n, ast.Import)"
        " for a in n.names}\n"
        "assert len(files) > 5 and 'triton' not in names, names\n"
    )
    _run(["-c", code])


def test_a_kernels_triton_text_is_in_its_own_file() -> None:
    for name, kernel in bevel.KERNELS.items():
        assert "triton" in vars(type(kernel)), name


@pytest.mark.parametrize(
    ("tensor", "dim", "view"),
    [
        (torch.empty(2, 3, 4, 5), 1, (2, 3, 20)),
        (torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last), 1, (40, 3, 1)),
        (torch.empty(2, 7, 3), 2, (14, 3, 1)),
        (torch.empty(4, 5, 3, 2).permute(3, 2, 0, 1), 1, (20, 3, 2)),
        (torch.empty(3, 1, 5), 0, (1, 3, 5)),
        (torch.empty(2, 3, 8)[..., ::2], 1, None),
        (torch.empty(1, 3).expand(4, 3), 1, None),
    ],
    ids=["nchw", "channels_last", "btc", "permuted", "channels_first", "strided", "expanded"],
)
def test_views(tensor: Tensor, dim: int, view: tuple[int, int, int] | None) -> None:
    assert dense_view(tensor.shape, tensor.stride(), dim, True) == view
    shared = dense_view(tensor.shape, tensor.stride(), dim, False)
    assert shared == (None if view is None else (1, 1, tensor.numel()))


VIEWS = [(1, 1, 1), (1, 1, 10**10), (2, 3, 49), (256, 512, 49), (1, 64, 10**6), (8, 64, 10**6), (4096, 7, 1)]
MOST, TILE = 132 * 32, Tuning().tile


@pytest.mark.parametrize("view", VIEWS)
def test_tilings_cover_every_element_once(view: tuple[int, int, int]) -> None:
    outer, channels, inner = view
    cut = layout.tiling(*view, MOST, TILE)
    numbers = dict(zip(layout.ARGUMENTS[cut.kind], cut.numbers, strict=True))
    trips, stride, walks = numbers["trips"], numbers["stride"], cut.programs // numbers["stride"]
    assert cut.programs == walks * stride
    assert 1 <= stride <= trips
    assert cut.rows * cut.columns <= TILE
    assert cut.divisor in (1, 2, 4, 8, 16)
    along = {"flat": inner * outer, "inner": inner, "columns": outer}.get(cut.kind, outer)
    step = {"flat": cut.columns, "inner": cut.columns, "columns": cut.rows}.get(cut.kind, 1)
    assert (trips - 1) * step < along <= trips * step
    # a walk has at least as many trips as its tile has neighbours, so partial sums stay few
    assert cut.partials * channels <= max(3 * MOST, channels * outer * inner // 16 + channels)


def test_the_second_stage_takes_four_trips_at_most() -> None:
    """In any layout that a GPU's memory holds, on chips of few and of many processors."""
    lengths = (1, 2, 3, 7, 8, 49, 64, 196, 768, 3136, 4096, 10**5, 10**6, 10**8)
    held = [v for v in itertools.product(lengths, lengths, lengths) if math.prod(v) <= 3 << 34]
    assert len(held) > 1000
    for view, processors, per in itertools.product(held, (1, 16, 132, 148), (4, 32)):
        channels = view[1]
        cut = layout.tiling(*view, processors * per, TILE)
        second = adding(cut.partials, channels)
        assert second.trips <= 4, (view, cut)
        assert (second.trips - 1) * second.rows < cut.partials <= second.trips * second.rows
        assert (second.blocks - 1) * second.columns < channels <= second.blocks * second.columns


def test_a_grid_is_one_wave_or_three() -> None:
    """Whatever a program's registers leave, but where a walk has too few trips to be shared."""
    for view, registers in itertools.product([*VIEWS, (64, 4096, 64), (9, 8000, 100)], (40, 64, 72, 96, 135, 255)):
        most = 132 * min(32, layout.resident(registers, 1))
        cut = layout.tiling(*view, most, TILE)
        trips, stride = cut.numbers[-2:]
        assert cut.programs <= most or cut.programs >= 3 * most or stride == trips, (view, registers)
    assert [layout.resident(r, 1) for r in (32, 64, 72, 96, 168)] == [64, 32, 28, 20, 12]
    assert layout.resident(72, 4) == 7


def test_equal_families_share_their_programs() -> None:
    """``bevel.smooth`` makes a family in every call, an annealed n makes a new number; neither compiles a program."""
    texts = set()
    for n in (2.0, 3.0):
        family = sau_family(0.15, n, "published")
        cut = layout.tiling(1, 1, 1000, MOST, TILE)
        texts.add(Program(family, job(cut, "single", (), (True,))).text())
    assert len(texts) == 1


def test_a_new_shape_writes_no_text(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing a pass's text takes half a millisecond, which is more than a small network's layer takes on a GPU."""
    written: list[Job] = []
    text = Program.text
    monkeypatch.setattr(Program, "text", lambda self: (written.append(self.job), text(self))[1])
    monkeypatch.setattr(plan, "_written", {})
    backend._plans.clear()
    for batch in range(1, 5):
        x = torch.randn(batch, 512, device=device, requires_grad=True)
        alpha = torch.tensor([0.3], device=device, requires_grad=True)
        sau(x, alpha, 3.0, backend="triton").sum().backward()
    assert [bool(job.needs) for job in written] == [False, True]


def test_it_is_refused_where_it_cannot_run() -> None:
    found = json.loads(_run(["-c", "import bevel, json; print(json.dumps(bevel.backends()))"], CUDA_VISIBLE_DEVICES=""))
    assert "no CUDA device" in found["triton"]


HIDDEN = (  # all that the lab may have beside torch and Triton; Triton's interpreter needs numpy, a GPU does not
    "torchvision", "pytest", "rich", "psutil", "matplotlib", "scipy", "sklearn", "PIL", "hypothesis", "ray", "pandas",
)  # fmt: skip


@pytest.mark.process
@pytest.mark.slow
def test_the_gpu_bench_rehearses_with_torch_and_triton_alone(tmp_path: Path) -> None:
    """One command, in which a section raises, one hangs and one dies: no row of the others is lost."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(f"import sys; sys.modules.update(dict.fromkeys({HIDDEN}))\n")
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    command = ["-m", "bevel_lab.bench.gpu", "--dry-run", "--deadline", "300", "--out-dir", str(tmp_path / "out")]
    said = _run(command, OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join([str(ROOT / "src"), path]))
    found, text = read(tmp_path / "out" / "performance-gpu.csv"), (tmp_path / "out" / "performance-gpu.md").read_text()
    _all_rows_are_there(found)
    told = [
        "held rows: passed: rows of the oracle",
        "tests/triton: not run: pytest is not installed",
        "raises stopped: RuntimeError: a section of the rehearsal raises",
        "hangs stopped: it passed its time and was stopped",
        "dies stopped: its process died with code -9",
        "laws: passed: nothing, in a rehearsal",
        "the test beyond 2^31 elements: not run: pytest is not installed",
    ]
    assert "\n".join(f"- {line}" for line in told) in text
    assert said.endswith("\n".join(f"bench-gpu: {line}" for line in told) + "\n"), (
        "a terminal's tail says what was found"
    )
    assert "## Rows" in text
    assert "## Rows" not in said
    assert said.count("GB/s") == 0


def _all_rows_are_there(found: list[Row]) -> None:
    sections = {"kernel", "eager", "layout", "dtype", "small", "training", "network", "memory", "mollified", "compiled"}
    assert {r.section for r in found} == sections | {"fused", "sweep", "fault"}
    assert [r.case for r in found if r.section == "fault"] == ["raises", "hangs", "dies"]
    assert {r.layout for r in found if r.section == "fused"} == {"add, sau, mul", "bias, frelu(C)"}
    assert all(r.median >= 0 and r.low <= r.high for r in found)
    assert all(r.median > 0 for r in found if r.section != "memory")
    assert {r.timer for r in found if r.section == "small"} == {"device", "wall"}
    eager = {(r.case, r.what) for r in found if r.section == "eager" and r.dtype == "bfloat16"}
    formulas = {f"formula {name}" for name in OURS}
    for name in ("copy", "relu", "leaky_relu", "gelu", "prelu(C)", *OURS, *formulas):
        assert {(name, "forward"), (name, "both")} <= eager
    kernels = [r for r in found if (r.section, r.dtype, r.size) == ("kernel", "bfloat16", "256 MB")]
    arms = {layout: {r.case for r in kernels if r.layout == layout and r.what == "backward"} for layout in LAYOUTS}
    torchs = {"copy", "relu", "gelu", "leaky_relu", "prelu"}
    assert arms.pop("flat") == torchs | {"sau", "sau:n=1", "frelu", "plain frelu"}
    assert arms.pop("btc") == {"copy", "frelu(C)", "smooth_frelu(C)"}
    assert all(cases == {"copy", "prelu(C)", "frelu(C)", "smooth_frelu(C)"} for cases in arms.values())
    assert {r.moved // (r.elements * 2) for r in kernels if r.case != "copy" and r.what == "backward"} == {3}
    assert {r.moved // (r.elements * 2) for r in kernels if r.case == "copy" or r.what == "forward"} == {2}
    unmeasured = {t.what for t in GPU["H200"] if not t.measured(found)}
    assert unmeasured == {"peak"}, "what only a GPU can count"


def test_the_gpu_bench_imports_torch_alone() -> None:
    hidden = (*HIDDEN, "numpy", "triton")
    _run(["-c", f"import sys; sys.modules.update(dict.fromkeys({hidden})); import bevel_lab.bench.gpu.__main__"])


def test_the_plain_kernel_is_frelu(device: torch.device) -> None:
    from bevel_lab.bench.gpu.plain import PlainFrelu

    x, g = torch.randn(2500, device=device), torch.randn(2500, device=device)
    given = [t.detach().requires_grad_() for t in (x, torch.full((1,), 1.5), torch.full((1,), 0.1))]
    want = torch.where(given[0] > 0, given[1].to(device) * given[0], given[2].to(device) * given[0])
    dx, da, db = torch.autograd.grad(want, given, g)
    plain = PlainFrelu(2500, *(p.detach().to(device) for p in given[1:]))
    torch.testing.assert_close(plain.forward(x), want.detach())
    got, sums = plain.backward(g, x)
    torch.testing.assert_close(got, dx)
    torch.testing.assert_close(sums.cpu(), torch.cat([da, db]), rtol=1e-4, atol=1e-4)


def test_nothing_begins_when_the_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bevel_lab.bench.gpu.parent import measure

    page = tmp_path / "page.md"
    assert measure(["kernels", "small"], checked=True, out=None, to=page, deadline=0.0, dry=True) == 1
    assert "- not begun, for the time was up: kernels, small, laws\n" in page.read_text()
    assert "0 rows" in capsys.readouterr().out


def test_a_suite_without_an_answer_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    from bevel_lab.bench.gpu import check

    assert check.suite("cpu", False, 0.01).startswith("not finished after 0 s")
    monkeypatch.setattr(sys, "executable", "/bin/false")  # ends with 1, as pytest does when a test fails
    assert check.suite("cpu", False, 10.0).startswith("FAILED")
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None)
    assert check.suite("cpu", True, 10.0) == "not run: pytest is not installed"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_command_line_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    from bevel_lab.cli import main

    for flags, said in (([], "needs a CUDA device"), (["--quick"], "--quick is for the CPU's bench")):
        assert main(["bench", "--device", "cuda", *flags]) != 0
        assert said in capsys.readouterr().err


def test_its_resnet_is_the_usual_one() -> None:
    from bevel_lab.bench.gpu.resnet import resnet50

    model = resnet50()
    assert sum(p.numel() for p in model.parameters()) == 25_557_032
    small = resnet50(divide=16)
    result = bevel.swap(small, "sau", torch.randn(2, 3, 32, 32), preserve=False)
    assert len(result.activations) == 49  # one a site: 16 blocks of three, and the stem


def test_the_page_is_written_from_the_rows() -> None:
    docs = ROOT / "docs"
    committed, notes = ((docs / name).read_text() for name in ("performance-gpu.md", "performance-gpu-notes.md"))
    if not (docs / "performance-gpu.csv").exists():
        assert committed == gpu([], notes)
        assert NOTHING in committed


# ------------------------------------------------------------------------------------------------------- GPU only


def _frelu(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return evaluate(x, FAMILY, (a, b), dim=1, backend="triton")


FAMILY = frelu_family(bevel.family.parameter(0), bevel.family.parameter(1), bevel.kernel.SHARP, 1.0)


@on_cuda
def test_auto_takes_it_and_compile_does_not(device: torch.device) -> None:
    x = torch.randn(100, device=device)
    backend._plans.clear()
    want = bevel.SAU().to(device)(x)
    assert len(backend._plans) == 1
    got = torch.compile(bevel.SAU().to(device))(x)
    torch.testing.assert_close(got, want)
    assert len(backend._plans) == 1


@on_cuda
def test_a_graph_captures_it(device: torch.device) -> None:
    x = torch.randn(4, 8, 100, device=device, requires_grad=True)
    a, b = (torch.rand(8, device=device, requires_grad=True) for _ in range(2))

    def step() -> tuple[Tensor, ...]:
        return torch.autograd.grad(_frelu(x, a, b).sum(), (x, a, b))

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
        a.add_(1)
    graph.replay()
    torch.cuda.synchronize()
    for got, want in zip(captured, step(), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@on_cuda
def test_it_follows_the_stream(device: torch.device) -> None:
    x = torch.zeros(1 << 22, device=device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        x.fill_(2.0)
        y = sau(x, 0.15, 3.0, backend="triton")  # on another stream it would read zeros
    side.synchronize()
    torch.testing.assert_close(y, torch.full_like(y, float(sau(x[:1], 0.15, 3.0, backend="reference"))))


@on_cuda
def test_the_second_gpu(device: torch.device) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    x = torch.randn(1000, device="cuda:1")
    torch.testing.assert_close(sau(x, backend="triton"), sau(x, backend="reference"))
    assert torch.cuda.current_device() == 0


@on_cuda
@pytest.mark.parametrize(
    "shape",
    [((1 << 31) + 1026,), (3, ((1 << 31) + 1026) // 3), (2, (1 << 31) + 16)],
    ids=["flat", "per channel", "long rows"],
)
def test_beyond_two_to_the_31(shape: tuple[int, ...], device: torch.device) -> None:
    if torch.cuda.mem_get_info()[0] < 40 << 30:
        pytest.skip("needs 40 GB")
    x = torch.randn(shape, device=device, dtype=torch.bfloat16)
    slopes = [torch.tensor([2.0, 0.5, 1.0][: shape[0] if len(shape) > 1 else 1], device=device) for _ in range(2)]
    y = evaluate(x, FAMILY, slopes, dim=0, backend="triton")
    end = x.flatten()[-4096:].float()
    torch.testing.assert_close(y.flatten()[-4096:].float(), end * float(slopes[0][-1]), rtol=1e-2, atol=0)
    dx, da, _db = backend.backward(FAMILY, 0, x, x, slopes, (True, True, True))
    assert dx is not None
    assert da is not None
    del y, dx
    positive = sum(torch.relu(part.float()).square().sum(dtype=torch.float64) for part in x.flatten().chunk(64))
    torch.testing.assert_close(da.double().sum(), positive, rtol=1e-4, atol=0)
