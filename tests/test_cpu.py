"""Backend ``cpu``: accuracy, determinism, instruction sets, compiled graphs, and life without the library."""

import ctypes
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import bevel
from bevel import KERNELS, kinked, smooth
from bevel.functional import sau
from bevel.ops import _cpu, using
from bevel.ops._inverse import keeps_unseen
from bevel.ops._text import text_of

pytestmark = pytest.mark.skipif(_cpu.unavailable() is not None, reason=f"backend cpu: {_cpu.unavailable()}")

SMOOTH = [k for k in KERNELS if KERNELS[k].has_moment and KERNELS[k].native > 0]


def _worst(got: Tensor, want: Tensor) -> float:
    return float(((got.detach().double() - want).abs() / want.abs().clamp(min=1)).max())


@pytest.mark.parametrize("n", [1.0, 20000.0])
def test_float32_beside_torchs_gelu(n: float) -> None:
    """Values and slopes are within twice the error of torch's own gelu in float32 (relative to max(1, |value|))."""
    x = torch.cat([torch.linspace(-12, 12, 20001), torch.linspace(-3, 3, 20001) / n])
    gelu = torch.nn.functional.gelu

    def errors(f: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        single, double = x.clone().requires_grad_(), x.double().requires_grad_()
        y, want = f(single), f(double)
        (d,), (want_d,) = torch.autograd.grad(y.sum(), single), torch.autograd.grad(want.sum(), double)
        return _worst(y, want.detach()), _worst(d, want_d)

    theirs = errors(gelu)
    ours = errors(lambda x: sau(x, 0.15, n, backend="cpu" if x.dtype == torch.float32 else "reference"))
    assert ours[0] <= 2 * theirs[0]
    assert ours[1] <= 2 * theirs[1]


@pytest.mark.parametrize("kernel", SMOOTH)
def test_tails_keep_relative_accuracy(kernel: str) -> None:
    """ReLU * kernel in float32: relative error at most 2e-6 wherever the exact value is above 1e-30."""
    reach = 1.0 if KERNELS[kernel].compact else 12.0
    x = torch.linspace(-reach, 4.0, 40001).requires_grad_()
    want = KERNELS[kernel].ramp(x.detach().double())
    y = smooth(x, kinked.relu(), kernel, 1.0, backend="cpu")
    (slope,) = torch.autograd.grad(y.sum(), x)
    for got, exact in ((y, want), (slope, KERNELS[kernel].cdf(x.detach().double()))):
        error = ((got.detach().double() - exact).abs() / exact)[exact > 1e-30].max()
        assert float(error) <= 2e-6, (kernel, float(error))


@pytest.mark.parametrize("alpha", [0.15, 0.01], ids=["steep", "flat"])  # where tails drown in the line, and where not
@pytest.mark.parametrize("form", ["published", "exact", "centred"])
def test_sau_float32_value_slope_and_gradient(form: str, alpha: float) -> None:
    """Gradients are within 5e-7 of max(1, |exact|) at every x by itself, with as many slopes as elements."""
    x = torch.linspace(-9, 9, 20001) / 3.3
    g = torch.ones_like(x)
    alphas = torch.full_like(x, alpha)

    def all_three(dtype: torch.dtype, backend: str) -> list[Tensor]:
        inputs = x.to(dtype).requires_grad_(), alphas.to(dtype).requires_grad_()
        y = sau(*inputs, 3.3, form, dim=0, backend=backend)
        return [y.detach().double(), *(d.double() for d in torch.autograd.grad(y, inputs, g.to(dtype)))]

    for got, want in zip(all_three(torch.float32, "cpu"), all_three(torch.float64, "reference"), strict=True):
        assert _worst(got, want) <= 5e-7


def test_parameter_gradients_of_a_large_tensor_keep_their_digits() -> None:
    """Eight million terms in float32 would drift by 1e-4 in one running sum; blocks in float64 do not."""
    x = torch.randn(1 << 23, generator=torch.Generator().manual_seed(0))
    alpha = torch.tensor([0.15], requires_grad=True)
    (got,) = torch.autograd.grad(sau(x, alpha, 1.0, backend="cpu"), alpha, torch.ones_like(x))
    exact = torch.tensor([0.15], dtype=torch.float64, requires_grad=True)
    (want,) = torch.autograd.grad(sau(x.double(), exact, 1.0, backend="reference").sum(), exact)
    assert float((got.double() - want).abs() / want.abs()) < 1e-6


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_are_deterministic(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = torch.randn(16, 64, 32, 32, generator=torch.Generator().manual_seed(0))
        module = bevel.SmoothFReLU(64)
        runs = [torch.autograd.grad(module(x).sum(), list(module.parameters())) for _ in range(3)]
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


@pytest.mark.process
def test_it_shares_torchs_threads() -> None:
    """In a process with nothing but torch and bevel there is one OpenMP runtime, and the library uses it."""
    code = (
        "import torch, bevel; from bevel.ops import _cpu; bevel.SAU()(torch.randn(1 << 20)); "
        "print(_cpu.describe()['openmp']); "
        "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'omp' in line.split('/')[-1]})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    used, loaded = done.stdout.splitlines()
    assert loaded.split() == [used]


FORKED = """
import os, signal, torch, bevel
torch.set_num_threads(2)
x = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
g = torch.ones_like(x)
act = bevel.SAU(n=3.0)
def run():
    y = act(x)
    return y.detach().numpy().tobytes(), torch.autograd.grad(y, x, g)[0].numpy().tobytes()
want = run()
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if run() == want else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_after_a_threaded_call_computes() -> None:
    """Its parent's threads are not there; torch's own activations wait for them for ever."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True)
    assert done.stdout.strip() == "0", done.stderr


ROWS = """
import sys, pytest
from bevel.ops import _cpu
print(_cpu.describe()["isa"], flush=True)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "cpu", sys.argv[1]]))
"""


@pytest.mark.native
@pytest.mark.parametrize("isa", ["avx2", "sse2"])
def test_every_isa_computes_the_oracles_rows(isa: str) -> None:
    """Lower instruction sets than this processor's best; the native library's own test compares all else on each."""
    command = [sys.executable, "-c", ROWS, str(Path(__file__).with_name("test_oracle.py"))]
    done = subprocess.run(command, env=os.environ | {"BEVEL_ISA": isa}, capture_output=True, text=True)
    if (found := done.stdout.split()[0]) != isa:
        pytest.skip(f"this processor runs {found}, not {isa}")
    assert done.returncode == 0, done.stdout[-3000:]


MODULES = {
    "sau": lambda: bevel.SAU(8),
    "sau centred": lambda: bevel.SAU(n=3.0, form="centred", learn_n=True),
    "frelu": lambda: bevel.FReLU(8),
    "smooth_frelu": lambda: bevel.SmoothFReLU(8),
    "tabulated": lambda: bevel.SmoothFReLU(8, kernel=bevel.tabulated(lambda u: (1 - u * u) ** 2, 1.0)),
    "bump": lambda: bevel.SmoothFReLU(8, kernel="bump"),
    "three knots": lambda: bevel.Mollified(8, "hardtanh", "triweight", 2.0, learn="knots+n"),
    "no parameters": lambda: bevel.nn.Squareplus(),
}


@pytest.mark.compile
@pytest.mark.parametrize("name", MODULES)
def test_compiled_graphs_call_it_or_trace_the_formulas(name: str) -> None:
    module = MODULES[name]()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    g = torch.randn_like(x)
    inputs = [x, *module.parameters()]
    y, want = compiled(x), module(x)
    torch.testing.assert_close(y, want, rtol=1e-6, atol=1e-6)
    for a, b in zip(torch.autograd.grad(y, inputs, g), torch.autograd.grad(want, inputs, g), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.compiler.reset()


@pytest.mark.compile
def test_compiled_calls_take_a_sharpness_of_each_channel_that_is_not_learnt() -> None:
    n = torch.tensor([1.0, 2.0, 3.0])

    def smooth(x: Tensor, n: Tensor) -> Tensor:
        return bevel.smooth(x, "relu", "gaussian", n)

    x = torch.linspace(-2, 2, 12).reshape(4, 3).requires_grad_()
    y, want = torch.compile(smooth, fullgraph=True, backend="eager")(x, n), smooth(x, n)
    torch.testing.assert_close(y, want)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x), torch.autograd.grad(want.sum(), x))
    torch.compiler.reset()


# opcheck itself looks at the .grad of tensors that are not leaves
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", ["sau", "sau centred", "smooth_frelu", "no parameters"])
def test_opcheck(name: str) -> None:
    importlib.import_module("bevel.ops._custom_op")  # registers it
    module = MODULES[name]()
    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    for keep_output in (False, keeps_unseen(module.family, x.dtype, "output")):
        arguments = (x, list(module.parameters()), None, text_of(module.family), 1, keep_output)
        torch.library.opcheck(torch.ops.bevel.evaluate.default, arguments)


@pytest.mark.process
def test_without_the_library_all_but_cpu_works() -> None:
    code = (
        "import bevel, torch; print(bevel.backends()['cpu']); "
        "m = bevel.SAU(); m(torch.ones(3)).sum().backward(); print(m.alpha.grad is not None)\n"
        "try: bevel.functional.sau(torch.ones(3), backend='cpu')\n"
        "except bevel.BackendUnavailable as e: print(e)"
    )
    environment = os.environ | {"BEVEL_NATIVE": "/dev/null/none/library.so"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    reason, works, refusal = done.stdout.splitlines()
    assert "not built at installation" in reason
    assert works == "True"
    assert refusal.startswith("backend 'cpu' cannot be used here: ")


def test_what_it_cannot_take_is_said_when_asked_by_name() -> None:
    class Mine(type(KERNELS["box"])):  # type: ignore[misc]
        native = -1

    with pytest.raises(bevel.BackendUnavailable, match="no native code"):
        smooth(torch.ones(3), kinked.relu(), Mine(), 1.0, backend="cpu")
    with pytest.raises(bevel.BackendUnavailable, match="not on the CPU"):
        smooth(torch.ones(3, device="meta"), kinked.relu(), "box", 1.0, backend="cpu")
    many = bevel.PiecewiseLinear(knots=[float(i) for i in range(9)], jumps=[1.0] * 9)
    with pytest.raises(bevel.BackendUnavailable, match="at most 8 knots; got 9"):
        smooth(torch.ones(3), many, "box", 1.0, backend="cpu")
    assert smooth(torch.ones(3), many, "box", 1.0).shape == (3,)  # auto falls back


def test_using_a_backend_by_name_in_a_block() -> None:
    x = torch.randn(5, requires_grad=True)
    with using("reference"):
        assert "BackendCall" not in type(bevel.SAU()(x).grad_fn).__name__
    assert "BackendCall" in type(bevel.SAU()(x).grad_fn).__name__
    with pytest.raises(bevel.UnknownName), using("refrence"):
        pass


def test_what_another_version_left_behind_does_not_hide_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    this, opened = _cpu.library(), _cpu.opened
    old = Path(this._name).parent

    def first_is_old(path: Path) -> ctypes.CDLL | str:
        return "the native library has interface 0" if path == old else opened(path)

    monkeypatch.setattr(_cpu, "opened", first_is_old)
    monkeypatch.setattr(Path, "is_file", Path.exists)
    for candidates, want in (([old, Path(this._name)], this._name), ([old], "the native library has interface 0")):
        monkeypatch.setattr(_cpu, "candidates", lambda found=candidates: found)
        found = _cpu.load.__wrapped__()
        assert (found if isinstance(found, str) else found._name) == want


def test_no_library_is_opened_behind_the_one_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    this, opened = Path(_cpu.library()._name), _cpu.opened
    seen: list[Path] = []
    monkeypatch.setattr(_cpu, "opened", lambda path: (seen.append(path), opened(path))[1])
    monkeypatch.setattr(_cpu, "candidates", lambda: [this, this])
    assert not isinstance(_cpu.load.__wrapped__(), str)
    assert seen == [this]


def test_what_is_no_library_of_bevel_is_said() -> None:
    found = _cpu.opened(Path("libm.so.6"))
    assert isinstance(found, str)
    assert "does not load: " in found
    assert "bevel_abi" in found
