"""``mollify`` by the backends: value, slope and curvature in four dtypes, held to the formulas in float64."""

import pytest
import torch
from torch import Tensor

import bevel
from bevel import KERNELS, PiecewiseLinear
from bevel.formulas import Formulas
from bevel.ops import using

BACKENDS = [name for name, reason in bevel.backends().items() if reason is None and name != "triton"]
DTYPES = {torch.float64: 1e-12, torch.float32: 3e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}
"""How far from the formulas in float64, beside the largest value: arithmetic is float32, then one rounding."""
PURE_STEPS = PiecewiseLinear(0.0, 0.5, (-1.0, 0.25), (0.0, 0.0), (1.0, -2.0))
FUNCTIONS = {
    "relu": bevel.kinked.relu(),
    "kinks": PiecewiseLinear(-0.5, 0.25, (-1.0, 0.25, 1.5), (1.5, -2.0, 1.0)),
    "kinks and steps": PiecewiseLinear(-0.5, 0.25, (-1.0, 0.25), (1.5, -2.0), (0.5, -1.0)),
    "channels": PiecewiseLinear(torch.tensor([0.5, -1.0, 0.0]), 0.0, (0.25,), (torch.tensor([1.0, 1.0, -2.0]),)),
}


class _Linear(bevel.Kernel):
    """A user's kernel, without native code."""

    name, formula, reach, compact = "linear", "1 - |u| on (-1, 1)", 1.0, True

    def density(self, v: Tensor) -> Tensor:
        return 1 - v

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) ** 2 / 2

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 3 / 6


USERS = {"linear": _Linear(), "tabulated": bevel.tabulated(lambda u: 315 / 256 * (1 - u * u) ** 4, 1.0, name="own")}
CASES = [(k, f) for k in [*KERNELS, *USERS] for f in FUNCTIONS if k != "cauchy"]


def _found(f: bevel.Mollification, x: Tensor) -> list[Tensor]:
    return [f(x), f.slope(x), f.curvature(x)]


def _true(f: bevel.Mollification, x: Tensor) -> list[Tensor]:
    at = Formulas(x.double(), f.f.terms, f.kernel, f.n, f.dim)
    return [at.value(), at.slope(), at.curvature()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "function"), [*CASES, ("cauchy", "steps")])
def test_each_dtype_is_near_the_formulas(kernel: str, function: str, dtype: torch.dtype) -> None:
    f = bevel.mollify(FUNCTIONS.get(function, PURE_STEPS), USERS.get(kernel, kernel), 2.5)
    x = torch.linspace(-4, 4, 3 * 97).reshape(-1, 3).to(dtype)
    for got, want in zip(_found(f, x), _true(f, x), strict=True):
        assert got.dtype == dtype
        assert got.shape == x.shape
        assert float((got.double() - want).abs().max()) <= DTYPES[dtype] * (1 + float(want.abs().max()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_block_chooses_the_backend(function: str, backend: str) -> None:
    f = bevel.mollify(FUNCTIONS[function], "gaussian", 2.5)
    x = torch.tensor([[-1.0, 0.25, float("nan")], [float("inf"), -float("inf"), 3.0]], dtype=torch.float64)
    with using(backend):
        found = _found(f, x)
    for got, want in zip(found, _true(f, x), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13, equal_nan=True)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_is_the_derivative_of_the_last(function: str) -> None:
    """By x and by the coefficients, with and without what records gradients."""
    n = torch.tensor([2.5], dtype=torch.float64, requires_grad=True)
    f = bevel.mollify(FUNCTIONS[function], "gaussian", n)
    x = torch.linspace(-3, 3, 99, dtype=torch.float64).reshape(33, 3).requires_grad_()
    value, slope, curvature = _found(f, x)
    torch.testing.assert_close(torch.autograd.grad(value.sum(), x, retain_graph=True)[0], slope)
    torch.testing.assert_close(torch.autograd.grad(slope.sum(), x, retain_graph=True)[0], curvature)
    for got, want in zip((value, slope, curvature), _true(f, x), strict=True):
        for a, b in zip(
            *(torch.autograd.grad(y.square().sum(), (x, n), retain_graph=True) for y in (got, want)), strict=True
        ):
            torch.testing.assert_close(a, b)
    with torch.no_grad():
        for got, want in zip(_found(f, x), (value, slope, curvature), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)
