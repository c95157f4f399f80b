"""Benchmark rows: collected, kept in a file, judged against targets, and written as pages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

import bevel
from bevel_lab.bench import cases, cpu, page, picture, rows, targets
from bevel_lab.bench.rows import Collector, Row
from bevel_lab.bench.targets import Target
from bevel_lab.bench.timing import Sample, Timed, compare, interleave
from bevel_lab.cli import bench, main

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def collected() -> list[Row]:
    """Two groups of one run: forward on two threads, and passes with the bytes that they moved."""
    bench = Collector("a machine", {"torch": "2.15", "bevel": "0.1.0"})
    samples = {"copy": Sample([1.0, 2.0, 3.0]), "relu": Sample([4.0]), "sau": Sample([6.0])}
    bench.add("speed", "both", samples, elements=1 << 20, dtype="float32", layout="nchw", threads=2)
    moved = {"copy": 2_000, "sau": 3_000}
    bench.add("kernel", "backward", {"copy": Sample([2e-9]), "sau": Sample([3.3e-9])}, moved=moved, dtype="bfloat16")
    return bench.rows


def test_ratios_are_of_medians_and_of_the_time_a_byte_moved(collected: list[Row]) -> None:
    copy, relu, sau, moved, backward = collected
    assert (copy.median, copy.low, copy.high, copy.repeats) == (2.0, 1.5, 2.5, 3)
    assert (sau.to_copy, sau.to_relu, sau.to_gelu) == (3.0, 1.5, 0.0)
    assert (relu.to_copy, relu.device, relu.versions) == (2.0, "a machine", "torch 2.15, bevel 0.1.0")
    assert (moved.cost, moved.moved) == (pytest.approx(1e-12), 2_000)
    assert backward.to_copy == pytest.approx(1.1)


def test_the_file_gives_the_rows_back(collected: list[Row], tmp_path: Path) -> None:
    rows.write(collected, tmp_path / "new" / "rows.csv")
    assert rows.read(tmp_path / "new" / "rows.csv") == collected


FIRST = """\
section,case,what,elements,dtype,layout,threads,median,low,high,repeats,to_copy,to_relu,to_gelu,cpu,versions,commit
speed,copy,forward,1048576,float32,nchw,1,0.000332703,0.000321507,0.000448275,25,1,1.11843,0.561828,cpu (AMD),torch 2,a
loop,bare,step,8192,float32,cnn,1,0.0137796,0.013474,0.0140641,21,0,0,0,cpu (AMD),torch 2,a
"""


def test_the_first_benchmarks_file_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(FIRST)
    found = rows.read(tmp_path / "rows.csv")
    assert [row.device for row in found] == ["cpu (AMD)"] * 2
    assert found[0].median == 0.000332703
    assert [row.case for row in found] == ["copy", "plain"]
    assert {row.moved for row in found} == {0}


@pytest.mark.parametrize("damage", ["speed,sau\n", "speed" + ",1" * 16 + "\n", "speed" + ",1" * 30 + "\n"])
def test_a_line_that_is_no_row_is_named(collected: list[Row], tmp_path: Path, damage: str) -> None:
    path = tmp_path / "rows.csv"
    rows.write(collected, path)
    path.write_text(path.read_text() + damage)
    with pytest.raises(bevel.InvalidValue, match=r"rows.csv:7: a row must have the columns section, case"):
        rows.read(path)
    with pytest.raises(bevel.InvalidValue, match="is none"):
        rows.read(tmp_path / "none.csv")


def test_a_target_is_judged_by_every_row_that_it_asks_for(collected: list[Row]) -> None:
    speed = Target(case="sau", other="relu", limit=1.05)
    assert [ratio for _, ratio in speed.measured(collected)] == [1.5]
    assert Target(case="sau", other="gelu", limit=1.0).measured(collected) == []
    assert Target(case="sau", other="relu", limit=1.05, elements=(1000,)).measured(collected) == []
    any_of_them = Target(case="sau", other="copy", limit=1.2, section="kernel", what="backward", elements=(), layout="",
                         dtype="")  # fmt: skip
    assert [ratio for _, ratio in any_of_them.measured(collected)] == [pytest.approx(1.1)]
    lines = list(page.target_table([speed, any_of_them], collected))[2:]
    assert lines == [
        "| sau | relu | 1.05 | 1.50 (4 MB, 2 threads) | **falls short** |",
        "| sau | copy | 1.20 | 1.10 (0 elements, bfloat16) | holds |",
    ]


def test_every_target_of_the_cpu_was_measured() -> None:
    found = rows.read(DOCS / "performance.csv")
    assert all(target.measured(found) for target in targets.CPU)


def test_the_committed_page_is_what_the_committed_rows_make(tmp_path: Path) -> None:
    argv = ["bench", "--rows", str(DOCS / "performance.csv"), "--notes", str(DOCS / "performance-notes.md")]
    assert main([*argv, "--page", str(tmp_path / "performance.md")]) == 0
    assert (tmp_path / "performance.md").read_text() == (DOCS / "performance.md").read_text()
    drawn, committed = tmp_path / "img" / "performance.png", DOCS / "img" / "performance.png"
    assert _shown(drawn) == _shown(committed)


def _shown(path: Path) -> tuple[str, tuple[int, int]]:
    """What a picture says it shows, and its size; the pixels hang on the machine's fonts."""
    with Image.open(path) as image:
        return image.info[picture.STAMP], image.size


def test_a_picture_of_other_rows_says_so(tmp_path: Path) -> None:
    found = rows.read(DOCS / "performance.csv")
    other = [dataclasses.replace(row, to_relu=row.to_relu + 0.01) for row in found]
    assert picture.draw(other, tmp_path / "p.png")
    assert _shown(tmp_path / "p.png")[0] != _shown(DOCS / "img" / "performance.png")[0]


@pytest.mark.parametrize("section", ["memory", "network", "speed"])
def test_a_page_of_one_section_has_the_picture_that_its_rows_allow(tmp_path: Path, section: str) -> None:
    found = rows.find(rows.read(DOCS / "performance.csv"), section=section)
    rows.write(found, tmp_path / "rows.csv")
    assert main(["bench", "--rows", str(tmp_path / "rows.csv"), "--page", str(tmp_path / "page.md")]) == 0
    drawn = section != "memory"
    assert (tmp_path / "img" / "performance.png").is_file() is drawn
    assert ("img/performance.png" in (tmp_path / "page.md").read_text()) is drawn


def test_a_gpus_page_is_made_from_rows_without_a_gpu(collected: list[Row], tmp_path: Path) -> None:
    rows.write(collected, tmp_path / "rows.csv")
    argv = ["bench", "--device", "cuda", "--rows", str(tmp_path / "rows.csv"), "--page", str(tmp_path / "gpu.md")]
    assert main(argv) == 0
    text = (tmp_path / "gpu.md").read_text()
    assert "Measured on a machine; torch 2.15, bevel 0.1.0; commit " in text
    assert page.NOTHING not in text
    assert rows.table(collected) in text
    assert "1.10 × copy" in rows.table(collected)


def test_a_part_of_the_bench_leaves_the_other_rows_and_prints_its_own(
    collected: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.csv"
    old = Collector("a machine", {"torch": "2.15"})
    old.add("memory", "bytes", {"relu": Sample([1.0])})
    rows.write([*collected, *old.rows], out)
    assert main(["bench", "--only", "memory", "--out", str(out)]) == 0
    assert re.search(r"frelu\(C\) .*memory +bytes", capsys.readouterr().out)
    found = rows.read(out)
    assert found[: len(collected)] == collected
    assert {row.section for row in found[len(collected) :]} == {"memory"}
    assert "a machine" not in {row.device for row in found[len(collected) :]}


def test_a_bench_broken_off_keeps_the_sections_that_are_whole(
    collected: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: cpu.Bench) -> None:
        self.add("import", "import", {"torch": Sample([1.0])})  # half a section
        raise KeyboardInterrupt

    monkeypatch.setattr(cpu.Bench, "imports", interrupted)
    out = tmp_path / "rows.csv"
    old = Collector("a machine", {"torch": "2.15"})
    old.add("import", "import", {"torch": Sample([2.0])})
    rows.write([*collected, *old.rows], out)
    command = ["bench", "--only", "memory", "import", "loop", "--out", str(out)]
    assert main(command) == 130
    said = capsys.readouterr()
    assert f"the rows of memory stand in {out}; those of import, loop are missing." in said.err
    assert "frelu(C)" in said.out
    found = rows.read(out)
    assert found[: len(collected)] == collected
    assert [(row.section, row.device) for row in found if row.section == "import"] == [("import", "a machine")]
    assert {row.section for row in found[len(collected) :]} == {"memory", "import"}
    assert main(["bench", "--only", "import", "--out", str(out)]) == 130
    assert "no section is measured whole" in capsys.readouterr().err
    assert rows.read(out) == found


def test_a_bench_that_fails_keeps_the_sections_that_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: cpu.Bench) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cpu.Bench, "imports", failing)
    out = tmp_path / "rows.csv"
    out.write_text("no rows")
    assert main(["bench", "--only", "memory", "import", "--out", str(out)]) == 2, "nothing is measured for such a file"
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(bench, "SECTIONS", ("memory", "import"))  # the whole bench writes the file anew
    with pytest.raises(ZeroDivisionError):
        main(["bench", "--out", str(out)])
    assert f"the rows of memory stand in {out}; those of import are missing." in capsys.readouterr().err
    assert {row.section for row in rows.read(out)} == {"memory"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--quick", "--only", "memory", "network", "--out", "{}"],
            "--quick measures speed, memory; got --only",
        ),
        (["--quick", "--only", "memory", "--out", "{}"], "whole sections, of which --quick would leave a part"),
        (["--no-compile", "--only", "inference", "--out", "{}"], "of which --no-compile would leave a part"),
        (["--rows", "{}", "--only", "memory"], "--rows measures nothing; leave --only out"),
        (["--rows", "{}", "--quick", "--no-compile"], "--rows measures nothing; leave --quick, --no-compile out"),
    ],
)
def test_flags_that_would_lose_rows_or_be_passed_over_are_refused(
    collected: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    out = tmp_path / "rows.csv"
    rows.write(collected, out)
    assert main(["bench", *(flag.format(out) for flag in flags)]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert rows.read(out) == collected


def _untimed(calls: Mapping[str, Timed], rounds: int) -> dict[str, list[Sample]]:
    """A bench that makes no call: the first case takes a second each way, the second two, and so on."""
    return {name: [Sample([place]), Sample([place]), Sample([2.0 * place])] for place, name in enumerate(calls, 1)}


def test_every_activation_of_the_catalog_has_a_row_and_a_place_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "interleave", _untimed)
    out, written = tmp_path / "rows.csv", tmp_path / "page.md"
    assert main(["bench", "--only", "catalog", "--out", str(out), "--page", str(written), "--quiet"]) == 0
    found = rows.read(out)
    assert {(r.section, r.elements, r.dtype, r.layout, r.threads) for r in found} == {
        ("catalog", targets.MB4, "float32", "nchw", 1)
    }
    both = {row.case: row for row in rows.find(found, what="both")}
    assert set(both) == {"copy", *bevel.ACTIVATIONS}
    for row in both.values():  # one run: each has its ratio to the three
        assert row.to_relu == pytest.approx(row.median / both["relu"].median, rel=1e-5)
        assert row.to_copy * row.to_gelu > 0
    text = written.read_text()
    assert "## Every activation of the catalog" in text
    assert text.count("\n## ") == 3, "targets, the catalog and whole networks; no title without rows"
    assert all(f"\n| {name} | " in text for name in both)


def test_the_cases_of_the_catalog_run_both_ways() -> None:
    x, g = torch.randn(2, 4, 3, 3, requires_grad=True), torch.ones(2, 4, 3, 3)
    for case in cases.catalog():
        gradients = case.gradients(case.call(x), x, g)
        assert [dx.shape for dx in gradients] == [x.shape, *(p.shape for p in case.parameters)]


def test_texts_have_the_measured_figures() -> None:
    """The README's bytes of eager and compiled networks, and a step of ResNet-18 that finds x."""
    network = rows.find(rows.read(DOCS / "performance.csv"), section="network", what="bytes")
    ours = [row for row in network if row.case in ("sau", "frelu", "smooth_frelu")]
    assert {f"{row.to_relu:.2f}" for row in ours if not row.layout.startswith("compiled")} == {"1.00"}
    said = {name: [row.to_relu for row in ours if row.layout == f"compiled {name}"] for name in ("ResNet-18", "ViT")}
    spans = [f"{min(found):.2f} to {max(found):.2f}" for found in said.values()]
    (vit,) = (row.to_relu for row in rows.find(network, case="gelu", layout="compiled ViT"))
    readme, notes, engine = (
        " ".join((DOCS / name).read_text(encoding="utf-8").split())
        for name in ("../README.md", "performance-notes.md", "engine.md")
    )
    assert f"{spans[0]} times ReLU's bytes in ResNet-18, {spans[1]} in the ViT (GELU: {vit:.2f})" in readme
    large = re.findall(r"\| S[^|]*, n = 5[^|]*\| [^|]+ \| ([\d.]+), [\d.]+, ([\d.]+) \|", notes)
    assert len(large) == 2
    assert all(1.75 <= float(output) / float(kept) <= 2.25 for kept, output in large)
    assert "tensor by itself takes twice as long" in notes
    assert "a large tensor by itself takes about twice" in engine


def test_calls_take_turns_and_warm_up_first() -> None:
    order: list[str] = []

    def call(name: str) -> tuple[float, float]:
        order.append(name)
        return len(order), -len(order)

    found = interleave({name: lambda name=name: call(name) for name in "abc"}, rounds=3, warm_up=1)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert [sample.values for sample in found["a"]] == [(4, 9, 11), (-4, -9, -11)]
    assert compare({"a": lambda: (2.0,)}, rounds=2)["a"].median == 2.0
