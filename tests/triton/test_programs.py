"""The programs themselves: how tensors are cut, what a GPU's compiler makes of them, and what only a GPU can show."""

import json
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
from bevel.ops.triton import backend, layout
from bevel.ops.triton.layout import Tuning
from bevel.ops.triton.program import Program, job
from bevel_lab.bench.page import NOTHING, gpu
from bevel_lab.bench.rows import read
from bevel_lab.bench.targets import GPU, OURS
from bevel_lab.bench.timing import Sample

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
    """Programs built for sm_90 (without a GPU) spill nothing, and read and write tensors 16 bytes at a time."""
    rows = json.loads(_run([str(HERE / "compile_for.py")]))
    assert len(rows) == 11
    for name, row in rows.items():
        assert row["stack"] == 0, name
        if name == "add_up":
            continue
        tensors = 3 if "backward" in name else 2
        wide = [a for a in row["accesses"] if a.endswith(".128")]
        assert len(wide) >= tensors, (name, row["accesses"])
        assert not any(a.endswith((".U16", ".S16", ".U8")) for a in row["accesses"]), (name, row["accesses"])
    for name in ("frelu long rows bf16 backward", "frelu many channels bf16 backward"):
        assert rows[name]["narrow"] == 0, name  # a product of 32 bits would wrap
    # 32 programs of one warp fill a multiprocessor's 65536 registers at 64 each; forward keeps below it
    assert rows["sau flat bf16 forward"]["registers"] <= 64
    assert rows["sau flat bf16 backward"]["registers"] <= 96


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


@pytest.mark.parametrize("view", [(1, 1, 1), (1, 1, 10**10), (2, 3, 49), (1, 64, 10**6), (8, 64, 10**6), (4096, 7, 1)])
def test_tilings_cover_every_element_once(view: tuple[int, int, int]) -> None:
    outer, channels, inner = view
    cut = layout.tiling(*view, 132, Tuning())
    numbers = dict(zip(layout.ARGUMENTS[cut.kind], cut.numbers, strict=True))
    trips, stride, blocks = numbers["trips"], numbers["stride"], cut.programs // cut.partials
    assert cut.programs == cut.partials * blocks
    assert 1 <= stride <= trips
    assert cut.rows * cut.columns <= Tuning().tile
    assert cut.divisor in (1, 2, 4, 8, 16)
    along = {"flat": inner * outer, "inner": inner, "outer": outer, "columns": outer}[cut.kind]
    step = {"flat": cut.columns, "inner": cut.columns, "outer": 1, "columns": cut.rows}[cut.kind]
    assert (trips - 1) * step < along <= trips * step
    # a walk has at least as many trips as its tile has neighbours, so partial sums stay few
    assert cut.partials * channels <= max(132 * 32, channels * outer * inner // 16 + channels)


def test_equal_families_share_their_programs() -> None:
    """``bevel.smooth`` makes a family in every call, an annealed n makes a new number; neither compiles a program."""
    texts = set()
    for n in (2.0, 3.0):
        family = sau_family(0.15, n, "published")
        cut = layout.tiling(1, 1, 1000, 132, Tuning())
        texts.add(Program(family, job(cut, "single", (), (True,), 1)).text())
    assert len(texts) == 1


def test_it_is_refused_where_it_cannot_run() -> None:
    found = json.loads(_run(["-c", "import bevel, json; print(json.dumps(bevel.backends()))"], CUDA_VISIBLE_DEVICES=""))
    assert "no CUDA device" in found["triton"]


HIDDEN = (  # all that the lab may have beside torch and Triton; Triton's interpreter needs numpy, a GPU does not
    "torchvision", "pytest", "rich", "psutil", "matplotlib", "scipy", "sklearn", "PIL", "hypothesis", "ray", "pandas",
)  # fmt: skip


@pytest.mark.slow
def test_the_gpu_bench_rehearses_with_torch_and_triton_alone(tmp_path: Path) -> None:
    rows, page = tmp_path / "rows.csv", tmp_path / "page.md"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HIDDEN}))\n"
        "from bevel_lab.bench.gpu.__main__ import main\n"
        f"sys.exit(main(['--dry-run', '--check', '--out', {str(rows)!r}, '--page', {str(page)!r}]))\n"
    )
    said = _run(["-c", code], OMP_NUM_THREADS="1", TRITON_INTERPRET="1")
    assert "check passed: rows of the oracle" in said
    found = read(rows)
    sections = {"kernel", "eager", "layout", "dtype", "small", "training", "memory", "mollified", "compiled", "sweep"}
    assert {r.section for r in found} == sections | {"fused"}
    assert {r.layout for r in found if r.section == "fused"} == {"add, sau, mul", "bias, frelu(C)"}
    assert all(r.median >= 0 and r.low <= r.high for r in found)
    assert all(r.median > 0 for r in found if r.section != "memory")
    eager = {(r.case, r.what) for r in found if r.section == "eager" and r.dtype == "bfloat16"}
    formulas = {f"formula {name}" for name in OURS}
    for name in ("copy", "relu", "leaky_relu", "gelu", "prelu(C)", *OURS, *formulas):
        assert {(name, "forward"), (name, "both")} <= eager
    kernels = {
        (r.case, r.what): r.moved // (r.elements * 2) for r in found if (r.section, r.dtype) == ("kernel", "bfloat16")
    }
    assert kernels == {("copy", "forward"): 2, ("copy", "backward"): 2, ("relu", "forward"): 2} | {
        (name, what): tensors for name in (*OURS, "frelu") for what, tensors in (("forward", 2), ("backward", 3))
    }
    unmeasured = {t.what for t in GPU if not t.measured(found)}
    assert unmeasured == {"peak"}, "what only a GPU can count"
    assert "rehearsal" in page.read_text()


def test_the_gpu_bench_imports_torch_alone() -> None:
    hidden = (*HIDDEN, "numpy", "triton")
    _run(["-c", f"import sys; sys.modules.update(dict.fromkeys({hidden})); import bevel_lab.bench.gpu.__main__"])


def test_a_section_that_stops_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bevel_lab.bench.gpu import __main__
    from bevel_lab.bench.gpu.timing import Bench

    def stops(bench: Bench) -> None:
        bench.add("kernel", "forward", {"first": Sample([1.0])})
        raise RuntimeError("no compiler\nand more")

    def goes_on(bench: Bench) -> None:
        bench.add("small", "forward", {"second": Sample([1.0])})

    for name, section in (("kernels", stops), ("small", goes_on)):
        monkeypatch.setitem(__main__.SECTIONS, name, section)
    rows, page = tmp_path / "rows.csv", tmp_path / "page.md"
    bench = Bench(torch.device("cpu"), dry=True)
    assert __main__.measure(bench, ["kernels", "small"], checked=False, out=rows, to=page) == 1
    assert [row.case for row in read(rows)] == ["first", "second"]
    assert "- kernels stopped: RuntimeError: no compiler\n" in page.read_text()


def test_a_suite_without_an_answer_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    from bevel_lab.bench.gpu import check

    device = torch.device("cpu")
    assert check.suite(device, seconds=0.01) == "not finished: tests/triton took more than 0 s"
    monkeypatch.setattr(sys, "executable", "/bin/false")  # ends with 1, as pytest does when a test fails
    assert check.suite(device).startswith("FAILED")
    monkeypatch.setattr(check, "rows_and_laws", lambda device, brief: "passed: rows of the oracle, laws")
    monkeypatch.setattr(check, "suite", lambda device: "not finished: tests/triton took more than 240 s")
    assert check.check(device).startswith("passed: rows of the oracle, laws (not finished")


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
