"""``make bench-gpu`` on the CPU: its rehearsal, its limits, and the page that it writes."""

import inspect
import os
import time
from pathlib import Path

import pytest
import torch
from apart import ROOT, run

import bevel
from bevel_lab.bench.gpu.shapes import LAYOUTS
from bevel_lab.bench.page import ELSEWHERE, NOTHING, gpu
from bevel_lab.bench.rows import Collector, Row, read
from bevel_lab.bench.targets import GPU, OURS
from bevel_lab.bench.timing import Sample

PER_CHANNEL = ("frelu(C)", "smooth_frelu(C)")
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
    start = time.monotonic()
    said = run(command, OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join([str(ROOT / "src"), path]))
    assert time.monotonic() - start < 300 + 30, "the deadline, and the processes' start and end"
    found, text = read(tmp_path / "out" / "performance-gpu.csv"), (tmp_path / "out" / "performance-gpu.md").read_text()
    _all_rows_are_there(found)
    told = [
        "held rows: passed: rows of the oracle for SAU (published), epanechnikov",
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
    assert said.index("## Targets on an H100, which this is not") > said.index("networks_compiled: ")
    assert "holds" not in said
    assert "falls short" not in said


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
    flat, each = ({*own, *(f"{name} from y" for name in own)} for own in (("sau", "sau:n=1", "frelu"), PER_CHANNEL))
    assert arms.pop("flat") == torchs | flat | {"plain frelu"}
    assert arms.pop("btc") == {"copy", *each}
    assert all(cases == {"copy", "prelu(C)", *each} for cases in arms.values())
    assert {r.moved // (r.elements * 2) for r in kernels if r.case != "copy" and r.what == "backward"} == {3}
    assert {r.moved // (r.elements * 2) for r in kernels if r.case == "copy" or r.what == "forward"} == {2}
    unmeasured = {t.what for t in GPU["H200"] if not t.measured(found)}
    assert unmeasured == {"peak"}, "what only a GPU can count"


@pytest.mark.process
def test_the_gpu_bench_and_the_backend_import_torch_alone() -> None:
    hidden = (*HIDDEN, "numpy", "triton")
    run(["-c", f"import sys; sys.modules.update(dict.fromkeys({hidden})); import bevel_lab.bench.gpu.__main__"])


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


def test_the_order_is_by_worth() -> None:
    """What a run that is cut must have comes first: each pass at the sizes that targets are set for, then calls."""
    from bevel_lab.bench.gpu.sections import SECTIONS

    assert list(SECTIONS) == [
        "kernels", "kernels_rest", "eager", "small", "training", "networks", "sweep",
        "eager_rest", "memory", "fused", "compiled", "mollified", "networks_compiled",
    ]  # fmt: skip


@pytest.mark.parametrize(("card", "tables"), [("NVIDIA H100 80GB HBM3", 1), ("NVIDIA H200", 1), ("NVIDIA A100", 0)])
def test_only_a_card_with_targets_is_judged(card: str, tables: int) -> None:
    kept = Collector(card, {"torch": "2.15"})
    kept.add("eager", "both", {"sau": Sample([2.0]), "relu": Sample([1.0])}, size="64 MB", timer="device")
    text = gpu(kept.rows, "notes")
    assert text.count("## Targets on an ") == 1
    assert text.count("**falls short**") == tables
    assert text.count("not judged") == 1 - tables
    assert ELSEWHERE in text


def test_the_limits_fit_the_deadline() -> None:
    """The longest way through a run, each part as long as it may take: then none is left out.

    Programs are built ahead while the suite runs; where it cannot, they have their own time, and the laws run.
    """
    from bevel_lab.bench.gpu import ahead, check, parent
    from bevel_lab.bench.gpu.sections import CHECKS, HELD, LAWS, SECTIONS

    deadline = inspect.signature(parent.measure).parameters["deadline"].default
    assert set(CHECKS) == {HELD, LAWS, *ahead.PARTS}
    instead = max(CHECKS[name].limit for name in ahead.PARTS) + CHECKS[LAWS].limit
    limits = [CHECKS[HELD].limit, max(check.PATIENCE, instead), *(s.limit for s in SECTIONS.values()), check.LAST]
    starts = 2 * 5  # of the children for the held rows and for the sections
    assert sum(limits) + starts <= deadline
    assert CHECKS[LAWS].limit > check.BEGUN


def test_a_section_may_take_what_others_leave_over(tmp_path: Path) -> None:
    from bevel_lab.bench.gpu import check
    from bevel_lab.bench.gpu.parent import Run
    from bevel_lab.bench.gpu.sections import HELD, SECTIONS

    begun = Run(tmp_path / "rows.csv", None, "", 575.0, dry=False)
    names = list(SECTIONS)
    after = sum(SECTIONS[name].limit for name in names[1:])
    assert begun._limit(names) == pytest.approx(575 - check.LAST - after, abs=5)
    assert Run(tmp_path / "rows.csv", None, "", 100.0, dry=False)._limit(names) == SECTIONS[names[0]].limit
    assert begun._limit([HELD]) == 25, "a check has its own limit, for sections come after it"


def test_nothing_begins_when_the_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bevel_lab.bench.gpu.parent import measure

    page = tmp_path / "page.md"
    assert measure(["kernels", "small"], checked=True, out=None, to=page, deadline=0.0, dry=True) == 1
    assert "- not begun, for the time was up: kernels, small, laws\n" in page.read_text()
    assert "0 rows" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_command_line_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    from bevel_lab.cli import main

    for flags, said in (([], "needs a CUDA device"), (["--quick"], "--quick is for the CPU's bench")):
        assert main(["bench", "--device", "cuda", *flags]) != 0
        assert said in capsys.readouterr().err


def test_its_networks_are_the_usual_ones() -> None:
    """Their parameters are as many as torchvision's have; a swap finds every ReLU."""
    from bevel_lab.bench.nets import NETWORKS, builder

    sizes = {"ResNet-18": 11_689_512, "ResNet-50": 25_557_032, "DenseNet-121": 7_978_856, "ShuffleNet V2": 2_278_604}
    sites = {
        "ResNet-18": 17,
        "ResNet-50": 49,
        "DenseNet-121": 2 * 58 + 3 + 1 + 1,
        "ShuffleNet V2": 2 + 3 * 3 + 13 * 2,
        "ViT": 6,
    }
    for name in NETWORKS:
        with torch.device("meta"):
            model = builder(name, 64)()
        assert name == "ViT" or sum(p.numel() for p in model.parameters()) == sizes[name]
        result = bevel.swap(builder(name, 32, 16)(), "sau", torch.randn(2, 3, 32, 32), preserve=False)
        assert len(result.activations) == sites[name], name
    said = " ".join((ROOT / "docs" / "performance-notes.md").read_text().split())
    assert f"there are {sites['DenseNet-121']} and {sites['ShuffleNet V2']} activations on small tensors" in said


def test_the_page_is_written_from_the_rows(tmp_path: Path) -> None:
    docs = ROOT / "docs"
    committed, notes = ((docs / name).read_text() for name in ("performance-gpu.md", "performance-gpu-notes.md"))
    assert committed == _written_again(committed, docs / "performance-gpu.csv", notes)
    assert (NOTHING in committed) is not (docs / "performance-gpu.csv").exists()
    kept = Collector("NVIDIA H200", {"torch": "2.15"}, tmp_path / "rows.csv")
    kept.add("eager", "both", {"sau": Sample([2.0]), "relu": Sample([1.0])}, size="64 MB", timer="device")
    measured = gpu(read(tmp_path / "rows.csv"), notes, ["held rows: passed", "small stopped: - it died"])
    assert measured == _written_again(measured, tmp_path / "rows.csv", notes)


def _written_again(page: str, csv: Path, notes: str) -> str:
    """Write a page from its rows and from what it says of its run, which stands above the targets."""
    said = [line[2:] for line in page.partition("\n## ")[0].splitlines() if line.startswith("- ")]
    return gpu(read(csv) if csv.exists() else [], notes, said)
