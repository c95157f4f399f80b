"""The gate: GELU, SiLU, quick GELU, Swish, SMU and ACON-C are gates; it keeps its digits, its bound, and folds."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bevel
from bevel import KERNELS
from bevel._bound import largest_lag
from bevel.errors import InvalidValue
from bevel.nn import FormulaActivation, Gate
from bevel.ops import using

ENGINE = (Path(__file__).parents[1] / "docs" / "engine.md").read_text(encoding="utf-8")
BACKENDS = [name for name, reason in bevel.backends().items() if reason is None and name != "triton"]
NAMED: dict[str, tuple[str, float, Callable[[Tensor], Tensor]]] = {
    "gelu": ("gaussian", 1.0, F.gelu),
    "silu": ("logistic", 1.0, F.silu),
    "quick_gelu": ("logistic", 1.702, lambda x: x * torch.sigmoid(1.702 * x)),
    "gelu_tanh": ("gelu_tanh", 1.0, lambda x: F.gelu(x, approximate="tanh")),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name in NAMED
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
        if (name, dtype)
        != ("gelu_tanh", torch.float64)  # torch's slope has 1 − tanh² there: the next test has 150 digits
    ],
)
def test_it_is_torchs_own_function(name: str, dtype: torch.dtype, backend: str) -> None:
    """To rounding: value and slope are within two units of the last place, or as far from float64 as torch is."""
    kernel, n, function = NAMED[name]
    gate = Gate(kernel=kernel, n=n, dtype=torch.float64)
    x = torch.linspace(-9, 9, 3001, dtype=torch.float64).to(dtype).requires_grad_()
    true = x.detach().double().requires_grad_()
    results = []
    with using(backend):
        for call, at in ((gate, x), (function, x), (function, true)):
            y = call(at)
            results.append([t.detach().double() for t in (y, *torch.autograd.grad(y.sum(), at))])
    for ours, theirs, want in zip(*results, strict=True):
        rounding = 2 * torch.finfo(dtype).eps * true.detach().abs().clamp(min=1)
        assert bool(((ours - want).abs() <= torch.maximum(rounding, (theirs - want).abs())).all())


def _tanh_exponent(u: mpmath.mpf) -> mpmath.mpf:
    return 2 * mpmath.sqrt(2 / mpmath.pi) * (u + mpmath.mpf("0.044715") * u**3)


def _tanh_cdf(u: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-_tanh_exponent(u)))


def _exact(kernel: str, n: float, a: float, b: float, x: float) -> list[mpmath.mpf]:
    """Value, slope and the derivatives by a, b and n, by 150 digits, of which 1 − cdf loses most."""
    cdf, pdf = {
        "gaussian": (mpmath.ncdf, mpmath.npdf),
        "logistic": (
            lambda u: 1 / (1 + mpmath.exp(-u)),
            lambda u: 1 / (2 + mpmath.exp(u) + mpmath.exp(-u)),
        ),
        "student": (
            lambda u: (1 + u / mpmath.sqrt(1 + u * u)) / 2,
            lambda u: (1 + u * u) ** mpmath.mpf(-1.5) / 2,
        ),
        "gelu_tanh": (_tanh_cdf, lambda u: mpmath.diff(_tanh_cdf, u)),
    }[kernel]
    x, n, a, b = map(mpmath.mpf, (x, n, a, b))
    p, density = cdf(n * x), pdf(n * x)
    line = b + (a - b) * p
    return [x * line, line + (a - b) * n * x * density, x * p, x * (1 - p), (a - b) * x * x * density]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel", ["gaussian", "logistic", "student", "gelu_tanh"])
def test_it_keeps_its_digits_in_both_tails(kernel: str, backend: str) -> None:
    """Value, slope and every gradient to 13 digits of themselves where 1 − cdf or cdf alone would have none left."""
    n = 1.5
    with using(backend), mpmath.workdps(150):
        for x in (-11.0, -4.0, -0.25, 0.5, 3.0, 9.0):
            gate = Gate(positive=1.0, negative=0.0, kernel=kernel, n=n, learn_slopes=True, dtype=torch.float64)
            at = torch.tensor([x], dtype=torch.float64, requires_grad=True)
            y = gate(at)
            slope, da, db, dlog = torch.autograd.grad(y, (at, gate.positive, gate.negative, gate.log_n))
            n_now = math.exp(gate.log_n.item())
            want = _exact(kernel, n_now, 1.0, 0.0, x)
            for got, exact in zip((y, slope, da, db, dlog / n_now), want, strict=True):
                assert got.item() == pytest.approx(float(exact), rel=1e-13 * (1 + x * x), abs=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_swish_smu_and_acon_c_are_gates(backend: str) -> None:
    x = torch.linspace(-6, 6, 601, dtype=torch.float64)
    pairs: list[tuple[FormulaActivation, Gate]] = [
        (bevel.nn.Swish(beta=0.7), Gate(kernel="logistic", n=0.7)),
        (bevel.nn.SMU(alpha=0.25, mu=2.5), Gate(negative=0.25, n=math.sqrt(2) * 2.5 * 0.75)),
        (bevel.nn.SMU(alpha=-0.5, mu=0.3), Gate(negative=-0.5, n=math.sqrt(2) * 0.3 * 1.5)),
        (bevel.nn.ACONC(p1=1.2, p2=-0.4, beta=0.9), Gate(1, 1.2, -0.4, "logistic", 0.9 * 1.6)),
        (bevel.nn.ACONC(p1=-0.4, p2=1.2, beta=0.9), Gate(1, 1.2, -0.4, "logistic", 0.9 * 1.6)),  # β² (p1 − p2)² is one
    ]
    for baseline, gate in pairs:
        with using(backend):
            for twin in (baseline(x), FormulaActivation.forward(baseline, x)):
                torch.testing.assert_close(gate(x), twin, rtol=1e-6, atol=1e-7)  # parameters are float32


@pytest.mark.parametrize("kernel", [k for k in KERNELS if KERNELS[k].has_moment])
def test_it_hardens_to_frelu_within_the_stated_bound(kernel: str) -> None:
    gate = Gate(positive=-0.5, negative=1.25, kernel=kernel, n=40.0, learn_n=False)
    (row,) = bevel.harden(nn.Sequential(gate), 1.0).rows
    assert (row.new, row.bound) == ("FReLU", pytest.approx(1.75 * largest_lag(KERNELS[kernel]) / 40))
    hard = bevel.harden(nn.Sequential(gate), 1.0).model
    x = torch.linspace(-0.2, 0.2, 40001, dtype=torch.float64)
    assert (gate(x) - hard(x)).abs().max().item() == pytest.approx(row.bound, rel=3e-6)
    relu = bevel.harden(nn.Sequential(Gate(kernel=kernel, n=20000.0)), 0.28 / 20000).model[0]
    assert isinstance(relu, nn.ReLU)
    (stated,) = re.findall(rf"^\| {kernel} \|.*\| (\S+) \|[^|]*\|$", ENGINE, re.MULTILINE)
    assert float(stated) == pytest.approx(largest_lag(KERNELS[kernel]), abs=5e-5)


def test_a_kernel_without_a_moment_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidValue, match="'cauchy' has none, so x·survival\\(x\\) does not die out"):
        Gate(kernel="cauchy")
    with pytest.raises(InvalidValue, match="n must be finite and > 0"):
        Gate(n=0.0)


@pytest.mark.parametrize("channels", [1, 6])
def test_its_sharpness_goes_into_the_layer_before(channels: int) -> None:
    torch.manual_seed(0)
    gate = Gate(channels, negative=-0.2, kernel="logistic", n=7.0, learn_slopes=True)
    with torch.no_grad():
        gate.log_n.add_(torch.linspace(0.0, 0.3, channels))
    model = nn.Sequential(nn.Conv2d(3, 6, 3), gate).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    result = bevel.fold(model, x)
    assert (result.rows[0].new, result.rows[0].into) == ("Gate", "0")
    assert (result.model[1].family.n, result.model[1].family.kernel.name) == (1, "logistic")
    torch.testing.assert_close(result.model(x), model(x), rtol=1e-12, atol=1e-12)
    again = bevel.fold(result.model, x)
    assert again.rows[0].reason == "its sharpness is 1 already"
