"""Backend ``operator``: what backend ``cpu`` computes, in fewer calls of Python; where its object comes from."""

from __future__ import annotations

import copy
import os
import pickle
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
import torch
from torch import Tensor

import bevel
from bevel.ops import _cpu, _operator, _operator_build, evaluate, using

NATIVE = Path(__file__).parent.parent / "native"

needs_operator = pytest.mark.skipif(_operator.unavailable() is not None, reason=f"operator: {_operator.unavailable()}")
needs_library = pytest.mark.skipif(_cpu.unavailable() is not None, reason=f"backend cpu: {_cpu.unavailable()}")

MODULES: dict[str, Callable[[], bevel.nn.Activation]] = {
    "sau": bevel.SAU,
    "sau, n learnt": lambda: bevel.SAU(3, n=3.0, form="centred", learn_n=True),
    "frelu, half": lambda: bevel.FReLU(3, dtype=torch.bfloat16),
    "frelu, double": lambda: bevel.FReLU(3, dtype=torch.float64),
    "smooth_frelu": lambda: bevel.SmoothFReLU(3, kernel="bump"),
    "tabulated": lambda: bevel.SmoothFReLU(3, kernel=bevel.tabulated(lambda u: (1 - u * u) ** 2, 1.0)),
    "rough table": lambda: bevel.SmoothFReLU(kernel=bevel.tabulated(lambda u: 1 / (1e-3 + u * u), 1.0)),
    "three knots": lambda: bevel.Mollified(3, "hardtanh", "triweight", 2.0, learn="knots+n"),
    "no parameters": bevel.nn.Squareplus,
}


def _inputs() -> dict[str, Tensor]:
    x = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    return {
        "dense": x,
        "channels last": x.to(memory_format=torch.channels_last),
        "transposed": x.transpose(0, 3),
        "gaps": x[:, :, ::2],
        "expanded": x[:1].expand(4, 3, 5, 6),
        "one axis": x[0, :, 0, 0].repeat(3, 1),
        "empty": x[:0],
        "offset": x[1:],
        "double": x.double(),
        "bfloat16": x.bfloat16(),
        "half": x.half(),
    }


def _all(module: bevel.nn.Activation, x: Tensor, backend: str, wanted: tuple[int, ...]) -> list[Tensor]:
    """The values, and the gradients of those of (x, *parameters) that are wanted, for a cotangent that is not dense."""
    x = x.detach().requires_grad_()
    inputs = [x, *module.values()]
    y = evaluate(x, module.family, inputs[1:], dim=module.dim, backend=backend, save="input")
    g = torch.linspace(-1, 1, x.shape[0], dtype=x.dtype).reshape(-1, *(1 for _ in x.shape[1:])).expand_as(x)
    return [y, *torch.autograd.grad(y, [inputs[i] for i in wanted if i < len(inputs)], g)]


@needs_operator
@pytest.mark.parametrize("name", MODULES)
def test_it_computes_what_ctypes_computes_to_the_last_bit(name: str) -> None:
    module = MODULES[name]()
    for kind, x in _inputs().items():
        for wanted in ((0,), (0, 2), tuple(range(1 + len(module.arguments)))):
            want = _all(module, x, "cpu", wanted)
            for backend in ("auto", "operator"):  # the short way, and the way by name
                got = _all(module, x, backend, wanted)
                for a, b in zip(got, want, strict=True):
                    assert torch.equal(a, b), (kind, backend, wanted)
                    assert (a.dtype, a.stride()) == (b.dtype, b.stride()), (kind, backend, wanted)
        with torch.no_grad():
            assert torch.equal(module(x), want[0]), kind


@needs_operator
def test_a_call_is_short() -> None:
    """Calls of bevel's Python functions, each of which may have to come from memory: 6 forward and 1 backward."""
    counts: list[str] = []

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and Path(bevel.__file__).parent in Path(frame.f_code.co_filename).parents:
            counts.append(frame.f_code.co_name)

    module, x, g = bevel.SAU(), torch.randn(8, requires_grad=True), torch.ones(8)
    module(x).backward(g)
    sys.setprofile(count)
    try:
        y = module(x)
        forward, counts[:] = list(counts), []
        y.backward(g)
    finally:
        sys.setprofile(None)
    assert len(forward) <= 6, forward
    assert counts == ["backward"]


@needs_operator
def test_what_it_does_not_take_is_taken_or_explained_by_others() -> None:
    module = bevel.SAU(3)
    with pytest.raises(bevel.InvalidValue, match=r"got torch\.int32"):
        module(torch.ones(2, 3, dtype=torch.int32))
    with pytest.raises(bevel.InvalidValue, match="as many channels along dim=1"):
        module(torch.ones(2, 4))
    with pytest.raises(bevel.InvalidValue, match=r"with axis dim=1"):
        module(torch.ones(3))
    with pytest.raises(bevel.InvalidValue, match="one on meta"):
        bevel.SAU(device="meta")(torch.ones(2, 3))
    nine = bevel.PiecewiseLinear(knots=[float(i) for i in range(9)], jumps=[1.0] * 9)
    assert bevel.smooth(torch.ones(3), nine, "box", 1.0).shape == (3,)


@needs_operator
def test_gradients_that_are_missing_batched_or_differentiated() -> None:
    module, x = bevel.SAU(n=2.0), torch.randn(5, requires_grad=True)
    y = module(x)
    assert type(y.grad_fn).__name__ == "OperatorBackendCallBackward"
    assert y.grad_fn.apply(None) == (None, None)
    seeds = torch.eye(5)
    rows = torch.autograd.grad(y, x, seeds, is_grads_batched=True, retain_graph=True)[0]
    (slope,) = torch.autograd.grad(y, x, torch.ones(5), create_graph=True)
    torch.testing.assert_close(rows, torch.diag(slope.detach()))
    with using("reference"):
        twin = module(x)
        (want,) = torch.autograd.grad(twin, x, torch.ones(5), create_graph=True)
    torch.testing.assert_close(torch.autograd.grad(slope.sum(), x), torch.autograd.grad(want.sum(), x))


@needs_operator
@pytest.mark.parametrize("name", ["sau", "frelu, half", "three knots"])
def test_the_operators_change_nothing_that_they_are_given(name: str) -> None:
    """Their schemas say so. What opcheck could look at beside, no compiler, mode or autograd formula sees."""
    module = MODULES[name]()
    operators, packed = torch.ops.bevel_operator, _operator.prepared(module.family).packed
    for x in (_inputs()["dense"], _inputs()["gaps"]):
        tensors = [x, *(p.detach() for p in module.values())]
        torch.library.opcheck(operators.forward.default, (tensors, packed, 1), test_utils="test_schema")
        arguments = (torch.ones_like(x), tensors, packed, 1, -1)
        torch.library.opcheck(operators.backward.default, arguments, test_utils="test_schema")
        moving = [torch.ones_like(p) for p in tensors[1:]]
        arguments = (torch.ones_like(x), tensors, torch.ones_like(x), moving, packed, 1, -1, 0.0)
        torch.library.opcheck(operators.second.default, arguments, test_utils="test_schema")
        two = [x, torch.ones_like(x), *tensors[1:]]
        torch.library.opcheck(operators.pair_forward.default, (two, packed, 1, 7.0, 1.0), test_utils="test_schema")
        arguments = (torch.ones_like(x), two, packed, 1, 7.0, 1.0, -1)
        torch.library.opcheck(operators.pair_backward.default, arguments, test_utils="test_schema")
        if name == "sau":
            torch.library.opcheck(operators.forward_smooth.default, (tensors, packed, 1), test_utils="test_schema")
            y, sides, _ = operators.forward_smooth(tensors, packed, 1)
            arguments = (torch.ones_like(x), y, sides, tensors[1:], packed, 1, -1)
            torch.library.opcheck(operators.backward_smooth.default, arguments, test_utils="test_schema")
            torch.library.opcheck(operators.inverse.default, ([y, *tensors[1:]], packed, 1), test_utils="test_schema")
        if name != "frelu, half":
            continue
        torch.library.opcheck(operators.forward_sharp.default, (tensors, packed, 1), test_utils="test_schema")
        y, sides, _ = operators.forward_sharp(tensors, packed, 1)
        arguments = (torch.ones_like(x), y, sides, tensors[1:], packed, 1, -1)
        torch.library.opcheck(operators.backward_sharp.default, arguments, test_utils="test_schema")


@needs_operator
def test_a_table_is_packed_once_for_every_family_that_has_it() -> None:
    kernel = bevel.tabulated(lambda u: 1 - u * u, 1.0)
    first, second = (bevel.SmoothFReLU(kernel=kernel, n=n, learn_n=False).family for n in (2.0, 3.0))
    before = _operator.packed_tables.cache_info()
    assert _operator.prepared(first) is not _operator.prepared(second)
    after = _operator.packed_tables.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)


@needs_operator
def test_a_family_keeps_its_call_which_copies_share_and_a_pickle_does_not_have() -> None:
    module = bevel.SAU(n=2.5)
    module(torch.ones(3))
    assert list(module.family.calls) == [(1, "auto")]
    assert copy.deepcopy(module).family is module.family
    other = pickle.loads(pickle.dumps(module.family))
    assert other == module.family
    assert not other.calls
    twin = pickle.loads(pickle.dumps(module))
    assert twin.family is module.family  # in the process that has it
    assert torch.equal(twin(torch.ones(3)), module(torch.ones(3)))


# -------------------------------------------------------------------------------------------- where it comes from


@pytest.mark.process
@needs_library
def test_without_it_ctypes_serves_and_backends_says_why() -> None:
    code = (
        "import bevel, torch; found = bevel.backends(); print(found['operator']); print(found['cpu']); "
        "print(type(bevel.SAU()(torch.ones(3, requires_grad=True)).grad_fn).__name__)"
    )
    environment = os.environ | {"BEVEL_OPERATOR": "/dev/null/none.so"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    reason, cpu, call = done.stdout.splitlines()
    assert reason == (
        "BEVEL_OPERATOR must name a file; got '/dev/null/none.so'; backend cpu calls the library through ctypes"
    )
    assert (cpu, call) == ("None", "_BackendCallBackward")


@needs_operator
def test_an_object_without_one_of_the_operators_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(namespace: str, name: str) -> Callable[..., object]:
        raise AttributeError(f"'{namespace}' has no attribute '{name}'")

    monkeypatch.setattr(_operator, "operator_function", missing)
    assert _operator.load.__wrapped__() == (
        "the operator does not load: 'bevel_operator' has no attribute 'forward'; "
        "backend cpu calls the library through ctypes"
    )


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder as an isolated build leaves it: the operator's sources, and no object."""
    folder = tmp_path / "operator"
    folder.mkdir()
    for source in (*NATIVE.glob("torch/*"), NATIVE / "include" / "bevel_native.h"):
        shutil.copy(source, folder)
    return tmp_path


@pytest.mark.native
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@needs_library
def test_it_is_built_once_at_first_use(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes at a time build one object between them, and it works."""
    shutil.copy(_cpu.library()._name, sources / "libbevel_native.so")
    environment = os.environ | {"BEVEL_NATIVE": str(sources / "libbevel_native.so"), "BEVEL_CACHE": str(sources / "c")}
    environment.pop("BEVEL_OPERATOR", None)
    code = "import bevel, torch; assert bevel.backends()['operator'] is None; print(bevel.SAU()(torch.ones(2)).sum())"
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert said == [b"tensor(2., grad_fn=<SumBackward0>)\n"] * 2
    monkeypatch.setenv("BEVEL_CACHE", str(sources / "c"))
    monkeypatch.delenv("BEVEL_OPERATOR", raising=False)
    (built,) = (sources / "c").glob("*.so")
    before = built.stat().st_mtime_ns
    assert _operator_build.find(sources) == built
    assert built.stat().st_mtime_ns == before
    assert not list((sources / "c").glob("*.part"))


def test_why_it_cannot_be_built_is_said_and_not_tried_again(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEVEL_CACHE", str(sources / "cache"))
    monkeypatch.delenv("BEVEL_OPERATOR", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    with monkeypatch.context() as without:
        without.setenv("PATH", "")
        with pytest.raises(_operator_build.NoOperator, match=r"needs a C\+\+17 compiler; there is none"):
            _operator_build.find(sources)
    tried = sources / "tried"
    compiler = sources / "compiler"
    compiler.write_text(f"#!/bin/sh\necho once >> {tried}\necho no such header >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    for _ in range(2):
        with pytest.raises(_operator_build.NoOperator, match=r"did not compile, see [^:]*: no such header"):
            _operator_build.find(sources)
    assert tried.read_text() == "once\n"
    (sources / "operator" / "layout.h").unlink()
    with pytest.raises(_operator_build.NoOperator, match="source was not installed"):
        _operator_build.find(sources)
    monkeypatch.setenv("BEVEL_CACHE", str(compiler))  # a file
    shutil.copy(NATIVE / "torch" / "layout.h", sources / "operator")
    with pytest.raises(_operator_build.NoOperator, match="cannot be built: "):
        _operator_build.find(sources)


@pytest.fixture
def fake_compiler(sources: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that writes a file in place of an object, and a cache of its own."""
    monkeypatch.setenv("BEVEL_CACHE", str(sources / "cache"))
    monkeypatch.delenv("BEVEL_OPERATOR", raising=False)
    compiler = sources / "compiler"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho object > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return compiler


def test_what_another_user_may_write_is_not_loaded(sources: Path, fake_compiler: Path) -> None:
    old = os.umask(0o002)  # as where every user has a group
    try:
        built = _operator_build.find(sources)
    finally:
        os.umask(old)
    for path in (built, built.parent):
        mode = path.stat().st_mode
        path.chmod(0o777)
        with pytest.raises(_operator_build.NoOperator, match=f"belong to this user .*; got {path}. Set BEVEL_CACHE"):
            _operator_build.find(sources)
        path.chmod(mode)
        assert _operator_build.find(sources) == built
    built.unlink()
    built.parent.chmod(0o777)  # nor is anything built there
    with pytest.raises(_operator_build.NoOperator, match="belong to this user"):
        _operator_build.find(sources)
    assert not built.exists()


def test_what_another_user_owns_is_not_loaded(
    sources: Path, fake_compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _operator_build.find(sources)
    monkeypatch.setattr(os, "getuid", lambda: sources.stat().st_uid + 1)
    with pytest.raises(_operator_build.NoOperator, match="belong to this user"):
        _operator_build.find(sources)


def test_the_compiler_may_have_words_and_the_object_is_for_one_machine(
    sources: Path, fake_compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", f"env {fake_compiler}")
    first = _operator_build.find(sources)
    with monkeypatch.context() as other:
        other.setattr(platform, "libc_ver", lambda: ("glibc", "2.0"))
        second = _operator_build.find(sources)
    monkeypatch.setattr(_operator_build, "FLAGS", (*_operator_build.FLAGS, "-g"))
    assert len({first, second, _operator_build.find(sources)}) == 3
    monkeypatch.setattr(_operator_build, "FLAGS", ("-g",))
    monkeypatch.setenv("CXX", "'c++")
    with pytest.raises(_operator_build.NoOperator, match="cannot be built: No closing quotation"):
        _operator_build.find(sources)


def test_a_failure_that_may_pass_is_tried_again(sources: Path, fake_compiler: Path) -> None:
    works = fake_compiler.read_text()
    fake_compiler.write_text("#!/bin/sh\nkill -KILL $$\n")
    with pytest.raises(_operator_build.NoOperator, match="signal 9 ended the compiler"):
        _operator_build.find(sources)
    fake_compiler.write_text("#!/bin/sh\necho No space left on device >&2\nexit 1\n")
    with pytest.raises(_operator_build.NoOperator, match=r"did not compile.*No space left"):
        _operator_build.find(sources)
    fake_compiler.write_text(works)
    with pytest.raises(_operator_build.NoOperator, match="did not compile"):
        _operator_build.find(sources)
    (failed,) = (sources / "cache").glob("*.txt")
    os.utime(failed, (0, 0))
    assert _operator_build.find(sources).is_file()


def test_one_target_version_is_named() -> None:
    assert f"TORCH_TARGET_VERSION={_operator_build.TARGET}" in (NATIVE / "CMakeLists.txt").read_text()
