"""Every kernel of the catalog keeps the laws, and a kernel that breaks one is caught."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bevel import KERNELS, InvalidValue, kinked, mollify, smooth, tabulated
from bevel._tabulated import TabulatedKernel
from bevel.kernel import Kernel
from bevel.kernels.gelu_tanh import GeluTanh
from bevel.testing import check_kernel, check_mollified


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_laws(name: str) -> None:
    laws = check_kernel(KERNELS[name])
    assert "unit mass" in laws
    assert ("gap = tail(0)" in laws) == KERNELS[name].has_moment


@pytest.mark.parametrize("function", kinked.FUNCTIONS)
@pytest.mark.parametrize("name", KERNELS)
def test_mollified_laws(name: str, function: str) -> None:
    f = kinked.FUNCTIONS[function]()
    if f.has_bends and KERNELS[name].variance == math.inf:
        with pytest.raises(InvalidValue, match="finite variance"):
            mollify(f, name, 1.0)
        return
    if not KERNELS[name].has_moment and function != "step":
        with pytest.raises(InvalidValue, match="finite first moment"):
            mollify(f, name, 1.0)
        return
    for n in (0.7, 5.0):
        assert "the proven bound" in check_mollified(f, KERNELS[name], n)


GAPS = {  # tail(0) from the table of design.md, five digits
    "gaussian": 0.39894,
    "logistic": 0.69315,
    "laplace": 0.5,
    "student": 0.5,
    "box": 0.25,
    "triangle": 1 / 6,
    "epanechnikov": 3 / 16,
    "biweight": 5 / 32,
    "triweight": 35 / 256,
    "cosine": 0.14868,
    "bump": 0.16723,
    "gelu_tanh": 0.39889,  # by quadrature, 20 digits
}


def test_gaps_are_the_published_ones() -> None:
    assert {k: KERNELS[k].gap for k in GAPS} == pytest.approx(GAPS, abs=5e-6)
    assert set(KERNELS) == set(GAPS) | {"cauchy"}


def _within(mode: contextlib.AbstractContextManager[object]) -> Callable[[Callable[[], None]], object]:
    def run(make: Callable[[], None]) -> None:
        with mode:
            make()

    return run


def _beside(x: torch.Tensor, make: Callable[[], None]) -> torch.Tensor:
    make()
    return x + 1


class _Model(torch.nn.Module):
    def __init__(self, make: Callable[[], None]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _beside(x, self.make)


def _fake(make: Callable[[], None]) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        make()


def _recorded(make: Callable[[], None]) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    make_fx(lambda x: _beside(x, make))(X)


X = torch.ones(2)
AROUND: dict[str, Callable[[Callable[[], None]], object]] = {
    "a default device": _within(torch.device("meta")),
    "fake tensors": _fake,
    "inference mode": _within(torch.inference_mode()),
    "make_fx": _recorded,
    "export": lambda make: torch.export.export(_Model(make), (X,), strict=False),
    "vmap": lambda make: torch.func.vmap(lambda x: _beside(x, make))(X),
    "grad": lambda make: torch.func.grad(lambda x: _beside(x, make).sum())(X),
    "a trace": lambda make: torch.jit.trace(lambda x: _beside(x, make), (X,), check_trace=False),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning", "ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    "kernel", [GeluTanh, lambda: TabulatedKernel(lambda v: 0.75 * (1 - v * v), name="within")], ids=["gelu_tanh", "own"]
)
def test_a_table_is_made_wherever_it_is_first_asked_for(kernel: Callable[[], Kernel], around: str) -> None:
    """The catalog is filled on first use, which may be a model's export, or within ``with torch.device("meta")``."""
    made: list[Any] = []
    AROUND[around](lambda: made.append(kernel()))
    want: Any = kernel()
    (got,) = made
    assert type(got.table) is torch.Tensor
    assert not got.table.is_inference()
    assert torch.equal(got.table, want.table)
    assert (got.variance, got.gap) == (want.variance, want.gap)


class _Lopsided(Kernel):
    """The box with a density of mass 1.02; it keeps every other law."""

    name, reach, compact = "lopsided", 1.0, True

    def density(self, v: torch.Tensor) -> torch.Tensor:
        return 0.51 * (v < 1)

    def survival(self, v: torch.Tensor) -> torch.Tensor:
        return (1 - v) / 2

    def excess(self, v: torch.Tensor) -> torch.Tensor:
        return (1 - v) ** 2 / 4


def test_names_will_do() -> None:
    assert "unit mass" in check_kernel("gaussian")
    assert "the proven bound" in check_mollified("relu6", "box", 2.0)


def test_a_wrong_kernel_breaks_a_law() -> None:
    with pytest.raises(AssertionError, match="unit mass"):
        check_kernel(_Lopsided())


def test_tabulated_reproduces_closed_forms() -> None:
    table = tabulated(lambda u: (1 - u * u) ** 3, support=1.0, name="mine")  # not normalised
    closed = KERNELS["triweight"]
    u = torch.linspace(-1.2, 1.2, 1001, dtype=torch.float64)
    for form in ("pdf", "cdf", "tail", "ramp"):
        torch.testing.assert_close(getattr(table, form)(u), getattr(closed, form)(u), atol=1e-13, rtol=0)
    assert "unit mass" in check_kernel(table)


def test_tabulated_scales_its_support() -> None:
    wide = tabulated(lambda u: 9 - u * u, support=3.0)
    u = torch.linspace(-1, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(wide.cdf(u), KERNELS["epanechnikov"].cdf(u), atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("pdf", "support", "message"),
    [
        (lambda u: torch.ones_like(u), float("inf"), "support must be finite and > 0"),
        (lambda u: u.abs() - 0.5, 1.0, ">= 0 everywhere"),
        (lambda u: 1 + 0.1 * u, 1.0, "must be even"),
        (lambda u: 1 / u.abs() ** 0 / (u.abs() - 0.5).abs().sqrt(), 1.0, "one finite number|too rough|smooth enough"),
        (lambda u: torch.zeros_like(u), 1.0, "mass > 0"),
    ],
)
def test_tabulated_refuses(pdf: object, support: float, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        tabulated(pdf, support)  # type: ignore[arg-type]


def _tanh_density(mpmath: Any, s: Any) -> Any:
    c, k = mpmath.sqrt(8 / mpmath.pi), mpmath.mpf("0.044715")
    h = c * (s + k * s**3)
    return c * (1 + 3 * k * s * s) / (2 + mpmath.exp(h) + mpmath.exp(-h))


@pytest.mark.parametrize("name", [k for k in KERNELS if k != "cauchy"])
def test_excess_keeps_relative_accuracy_in_the_tail(name: str) -> None:
    """The ramp in float64 against 40-digit quadrature of the density: it loses no digit where u·cdf + tail cancels."""
    import mpmath

    mpmath.mp.dps = 40
    mass = 2 * mpmath.quad(lambda s: mpmath.exp(-1 / (1 - s * s)) if s < 1 else mpmath.mpf(0), [0, 0.5, 0.9, 1])
    density = {
        "gaussian": lambda s: mpmath.npdf(s),
        "logistic": lambda s: mpmath.exp(-s) / (1 + mpmath.exp(-s)) ** 2,
        "laplace": lambda s: mpmath.exp(-s) / 2,
        "student": lambda s: (1 + s * s) ** mpmath.mpf(-1.5) / 2,
        "box": lambda s: mpmath.mpf(1) / 2,
        "triangle": lambda s: 1 - s,
        "epanechnikov": lambda s: mpmath.mpf(3) / 4 * (1 - s * s),
        "biweight": lambda s: mpmath.mpf(15) / 16 * (1 - s * s) ** 2,
        "triweight": lambda s: mpmath.mpf(35) / 32 * (1 - s * s) ** 3,
        "cosine": lambda s: (1 + mpmath.cos(mpmath.pi * s)) / 2,
        "gelu_tanh": lambda s: _tanh_density(mpmath, s),
        "bump": lambda s: mpmath.exp(-1 / (1 - s * s)) / mass if s < 1 else mpmath.mpf(0),
    }[name]
    kernel = KERNELS[name]
    points = (0.25, 0.9, 0.96875) if kernel.compact else (1.0, 4.0, 10.0)
    for v in points:
        end = 1 if kernel.compact else mpmath.inf
        cuts = [(v + 1) / 2 if kernel.compact else v + 2]
        if name == "gelu_tanh":  # at v = 10 it falls by e within 1/23
            cuts = [v + mpmath.mpf(2) ** i / 32 for i in range(9)]
        at = mpmath.quad(lambda s, v=v: (s - v) * (density(s) / density(v)), [v, *cuts, end])  # it errs by 1e-40
        want = at * density(v)
        got = float(kernel.excess(torch.tensor(v, dtype=torch.float64)))
        condition = 1 + v * v  # the Gaussian's own: one ulp of v is v² ulp of the value
        assert abs(got - float(want)) <= 4e-15 * condition * float(want), (v, got, want)


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k != "cauchy"])
def test_forward_modes_nest(kernel: str) -> None:
    """Twice forward is twice backward: a rule of its own for the tangents would lose those of the outer mode."""
    x = torch.tensor([0.1, 0.4], dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        return smooth(x, "relu", kernel, 2.0, backend="reference")

    def slope(x: Tensor) -> Tensor:
        return torch.func.jvp(value, (x,), (torch.ones_like(x),))[1]

    (_, twice) = torch.func.jvp(slope, (x,), (torch.ones_like(x),))
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(value(leaf).sum(), leaf, create_graph=True)
    torch.testing.assert_close(twice, torch.autograd.grad(first.sum(), leaf)[0])
