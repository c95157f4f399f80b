"""The programs themselves: what a GPU's compiler makes of them, without a GPU, and what Python does about them."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from apart import HERE, run

import bevel
from bevel.functional import sau, sau_family
from bevel.ops.triton import backend, layout, plan
from bevel.ops.triton.program import Job, Program, job


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([str(HERE / "compile_for.py")]))
    return found


@pytest.mark.slow
def test_a_grid_is_sized_by_the_built_programs_registers(built: dict[str, Any]) -> None:
    """Plans run as on a GPU, up to the launch, whose driver is a stand-in that knows each binary's registers."""
    forward, backward, adding, forward_c, backward_c, adding_c = built["plans"]["launches"]
    for one in (forward, backward, forward_c, backward_c):
        programs, _, registers, stack, trips, stride = one
        most = layout.MOST_PARTIALS // (8 if one in (forward_c, backward_c) else 1)
        assert programs == stride == min(most, 132 * min(32, layout.resident(registers, 1))) < trips
        assert stack == 0
    assert adding[:2] == [1, 1]
    assert adding_c[:2] == [8, 2], "eight of 64 channels a program, for either slope"
    assert backward_c[2] <= 72, "capped, for without it the assembler takes a few registers more"
    assert len(built["plans"]["new shape"]) == 4
    assert max(built["plans"]["new shape"].values()) < 300, "calls of a new shape; a text takes 77,000"


FLOATS = {  # instructions on floats an element, near and far from the knot; the page has them
    "sau n=1 flat bf16 forward": 30.8,
    "sau n=1 flat bf16 backward": 41.4,
    "smooth_frelu nchw bf16 forward": 29.6,
    "smooth_frelu nchw bf16 backward": 46.8,
    "relu_squared sharp flat bf16 forward": 15.1,
    "relu_squared sharp flat bf16 backward": 14.8,
    "hardswish flat bf16 forward": 125.9,
    "hardswish nchw bf16 backward": 184.3,
}


@pytest.mark.slow
def test_a_gpus_compiler_takes_them(built: dict[str, Any]) -> None:
    """Programs built for sm_90 (without a GPU).

    They spill nothing, read and write tensors 16 bytes at a time, read two tiles before they use the first, and run in
    one wave or in three at least.
    """
    rows = built["programs"]
    assert len(rows) == 32
    for name, row in rows.items():
        assert row["stack"] == 0, name
        if name == "add_up":
            continue
        tensors = 2 if "forward" in name else 3
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
    for name, most in FLOATS.items():
        assert round(rows[name]["floats"], 1) <= most, name


@pytest.fixture(scope="module")
def host() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run([str(HERE / "compile_for.py"), "host"]))
    return found


@pytest.mark.process
def test_new_batch_sizes_build_few_binaries(host: dict[str, Any]) -> None:
    """By Triton's own keys; with trips, strides and limits specialised on, 120 batch sizes built 12 to 17."""
    assert len(host["binaries"]) == 4
    assert all(3 <= count <= 5 for count in host["binaries"].values()), host["binaries"]


@pytest.mark.process
def test_a_launch_without_a_hook_is_not_described(host: dict[str, Any]) -> None:
    """Of Triton's own kernel, whose driver alone is a stand-in: the same launch, with fewer calls of Python.

    So is a raw pass of SAU, whose launches are one forward and two backward.
    """
    found = host["launch"]
    described, direct, hooked = found["launches"]
    assert direct == [*described[:6], None, None, None, *described[9:]]
    assert described[:6] == [10, 1, 1, 7, 1, [4]]
    assert hooked[:6] + hooked[9:] == described[:6] + described[9:]
    assert hooked[6] is not None, "a profiler's hook is told of the launch"
    assert found["hook"] == 1
    assert found["direct"] < found["described"]
    for what in ("forward", "backward"):
        assert found[f"direct {what}"] < found[f"described {what}"], what


def test_the_backend_has_no_import_statement_of_triton() -> None:
    files = list(Path(backend.__file__).parent.glob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert len(files) > 5
    assert "triton" not in names


def test_a_kernels_triton_text_is_in_its_own_file() -> None:
    for name, kernel in bevel.KERNELS.items():
        assert "triton" in vars(type(kernel)), name


def test_equal_families_share_their_programs() -> None:
    """``bevel.smooth`` makes a family in every call, an annealed n makes a new number; neither compiles a program."""
    texts = set()
    for n in (2.0, 3.0):
        family = sau_family(0.15, n, "published")
        cut = layout.tiling(1, 1, 1000, 132 * 32, 256)
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


def test_it_is_refused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in str(backend.unavailable())
