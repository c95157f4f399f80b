"""Backend ``triton``: functions with kinks in the curvature, against the reference, at the ends and in the tails."""

from collections.abc import Callable

import pytest
import torch
from second_cases import OWN
from test_rows_and_laws import _digits
from torch import Tensor

import bevel
from bevel import PiecewiseLinear, smooth
from bevel.errors import BackendUnavailable
from bevel.family import Family, parameter
from bevel.kernel import SHARP, Kernel
from bevel.ops import evaluate
from bevel.ops.triton import backend
from bevel.terms import Terms
from bevel_lab.bench.gpu.check import BENDING

pytestmark = pytest.mark.usefixtures("one_program")
KERNELS: list[Kernel] = [SHARP, OWN, *(bevel.KERNELS[name] for name in BENDING)]
INF = float("inf")


def _everything(call: Callable[[list[Tensor]], Tensor], inputs: list[Tensor], device: torch.device) -> list[Tensor]:
    """Value, and every input's gradient."""
    given = [t.detach().to(device).requires_grad_() for t in inputs]
    y = call(given)
    g = torch.cos(torch.arange(y.numel())).view_as(y).to(device, torch.bfloat16)  # the same in each precision
    return [t.detach().cpu() for t in (y, *torch.autograd.grad(y, given, g.to(y.dtype)))]


def _bent(kernel: Kernel, knots: int) -> tuple[Family, list[Tensor]]:
    """A family of which every coefficient is a parameter, shared and per channel in turn; its knots have crossed."""
    generator = torch.Generator().manual_seed(knots)
    parameters = [
        torch.randn(3 if i % 2 else 1, generator=generator, dtype=torch.float64) for i in range(4 + 4 * knots)
    ]
    parameters[-1].abs_().add_(1)
    for i, place in enumerate((0.2,) if knots == 1 else (0.9, -0.7, 0.3)):
        parameters[2 + i].fill_(place)
    left, offset, *rest = (parameter(i) for i in range(len(parameters)))
    groups = [tuple(rest[i * knots : (i + 1) * knots]) for i in range(3)]
    none, curve = (0.0,) * knots, tuple(rest[3 * knots : 4 * knots + 1])
    return Family(Terms(left, offset, *groups, none, none, False, curve), kernel, rest[-1]), parameters


@pytest.mark.parametrize("knots", [1, 3])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_every_gradient(kernel: Kernel, knots: int, device: torch.device) -> None:
    family, parameters = _bent(kernel, knots)
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[0] *= 20  # tiles beyond the reach too
    results = [
        _everything(lambda t, name=name: evaluate(t[0], family, t[1:], dim=1, backend=name), [x, *parameters], where)
        for name, where in (("triton", device), ("reference", torch.device("cpu")))
    ]
    for a, b in zip(*results, strict=True):
        if not (kernel is SHARP and a is results[0][-1]):  # no n
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("far", [-40.0, 40.0])
def test_a_tile_out_of_reach(far: float, device: torch.device) -> None:
    """There smoothing still adds ½·variance·w² of the bend, and n has a gradient."""
    family, parameters = _bent(bevel.KERNELS["epanechnikov"], 3)
    x = far + torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, want = (
        _everything(lambda t, name=name: evaluate(t[0], family, t[1:], dim=1, backend=name), [x, *parameters], where)
        for name, where in (("triton", device), ("reference", torch.device("cpu")))
    )
    assert want[-1].abs().min() > 0
    for a, b in zip(ours, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_ends_and_nan(kernel: Kernel, device: torch.device) -> None:
    """Hardswish at 1e30 is 1e30, at ±inf its limit, also its slope's; of what a parameter no longer moves it is 0."""
    x = torch.tensor([-INF, INF, float("nan"), -1e30, 1e30], device=device, requires_grad=True)
    terms = bevel.kinked.hardswish().terms
    family = Family(terms.with_flat(list(terms.flat())), kernel, 3.0)  # type: ignore[arg-type] # numbers are slots too
    y = evaluate(x, family, [], dim=0, backend="triton")
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(y.cpu(), torch.tensor([0.0, INF, torch.nan, 0.0, 1e30]), equal_nan=True)
    torch.testing.assert_close(
        slope.cpu(), torch.tensor([0.0, 1.0, torch.nan, 0.0, 1.0]), equal_nan=True, atol=0, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("kernel", BENDING)
def test_every_precision(kernel: str, dtype: torch.dtype, device: torch.device) -> None:
    """Value and gradients are those of float64, rounded once; n's and the bends' are sums in float32."""
    x = torch.linspace(-5, 5, 401).to(dtype)
    bends, n = torch.tensor([1 / 3]), torch.tensor([3.0])
    wide = [t.double() for t in (x, bends, n)]

    def call(given: list[Tensor], name: str) -> Tensor:
        x, bend, n = given
        f = PiecewiseLinear(knots=[-3.0, 3.0], bends=[bend, -1 * bend])
        return smooth(x, f, kernel, n, backend=name)

    ours = _everything(lambda t: call(t, "triton"), [x, bends, n], device)
    want = _everything(lambda t: call(t, "reference"), wide, torch.device("cpu"))
    unit = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    for a, b in zip(ours, want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=unit, atol=4 * unit)


@pytest.mark.parametrize("kernel", BENDING)
def test_tails_keep_their_digits(kernel: str, device: torch.device) -> None:
    """In float32 a squared ReLU's value and slope keep their digits where they exceed 1e-30, near its knot too.

    At the knot the terms of bump's polynomial are 26 times their sum: 2.5e-6, as in the native library and formulas.
    """
    digits = max(3e-6 if kernel == "bump" else 0.0, _digits(device))
    u = torch.cat([torch.linspace(-13, 3, 1201), torch.linspace(-1, 1, 801), -torch.logspace(-3, 1, 301)])
    for n in (1.0, 7.3):
        found = []
        for at, name in (((u / n).to(device), "triton"), ((u / n).double(), "reference")):
            x = at.requires_grad_()
            y = smooth(x, "relu_squared", kernel, float(torch.tensor(n)), backend=name)
            found.append([t.detach().cpu().double() for t in (y, *torch.autograd.grad(y.sum(), x))])
        for got, true in zip(*found, strict=True):
            error = ((got - true).abs() / true.abs())[true.abs() > 1e-30]
            assert float(error.max()) <= digits


@pytest.mark.parametrize("kernel", BENDING)
def test_half_precision_near_the_knot(kernel: str, device: torch.device) -> None:
    """The rounded truth, but for the 2e-5 of shorter polynomials."""
    x = torch.linspace(-4, 4, 801).to(device, torch.float16)
    y = smooth(x, "relu_squared", kernel, 1.0, backend="triton").cpu().double()
    true = smooth(x.cpu().double(), "relu_squared", kernel, 1.0, backend="reference")
    assert float(((y - true).abs() / true)[true > 1e-3].max()) <= 2**-11 + 2e-5


class _Without(type(bevel.KERNELS["laplace"])):  # type: ignore[misc]
    """A kernel as users wrote them before their text had a second tail integral."""

    name = "without second"
    triton = bevel.KERNELS["laplace"].triton.replace("second = density", "")


def test_a_kernel_whose_text_has_no_second_is_refused(device: torch.device) -> None:
    x = torch.linspace(-2, 2, 9, device=device)
    with pytest.raises(BackendUnavailable, match="has no second, which bends take"):
        smooth(x, "relu_squared", _Without(), 2.0, backend="triton")
    torch.testing.assert_close(smooth(x, "relu", _Without(), 2.0, backend="triton"), smooth(x, "relu", "laplace", 2.0))


def test_families_of_as_many_coefficients_are_told_apart(device: torch.device) -> None:
    """Five knots of lines have as many as four with bends."""
    numbers = [0.1 * (i + 1) for i in range(27)]
    x, found = torch.linspace(-2, 2, 9, device=device, dtype=torch.float64), []
    for knots in (5, 4):
        groups = [tuple(numbers[2 + i * knots : 2 + (i + 1) * knots]) for i in range(5)]
        terms = Terms(*numbers[:2], *groups, False, tuple(numbers[2 + 5 * knots :]))
        assert len(terms.flat()) == 27
        family = Family(terms, bevel.KERNELS["laplace"], 2.0)
        found.append(backend.forward(family, 0, x, []))
        torch.testing.assert_close(found[-1].cpu(), evaluate(x.cpu(), family, [], dim=0, backend="reference"))
    assert not torch.equal(*found)
