"""Backend ``triton`` at the edges: near a kernel's reach, at infinity, in half precision, and kernels without text."""

import dataclasses

import pytest
import torch
from test_rows_and_laws import _digits
from torch import Tensor

import bevel
from bevel import kinked, smooth
from bevel.errors import BackendUnavailable
from bevel.family import Family, parameter
from bevel.functional import frelu_family, sau
from bevel.kernel import SHARP, Kernel
from bevel.ops import evaluate
from bevel.ops._backends import AUTO, load

pytestmark = pytest.mark.usefixtures("one_program")

KERNELS = [k for k, it in bevel.KERNELS.items() if "excess" in it.triton]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_tile_just_within_reach_takes_the_near_side(kernel: str, device: torch.device) -> None:
    """All elements of a tile have one distance, so that no neighbor nearer to the knot decides for them."""
    k = bevel.KERNELS[kernel]
    for v in (0.9, 0.99 if kernel == "bump" else 0.999) if k.compact else (3.0, 9.0, 12.0):
        x = torch.full((300,), -v / 5, device=device, requires_grad=True)
        got = smooth(x, kinked.relu(), kernel, 5.0, backend="triton")
        (slope,) = torch.autograd.grad(got.sum(), x)
        exact = x.detach().double().requires_grad_()
        want = smooth(exact, kinked.relu(), kernel, 5.0, backend="reference")
        (want_slope,) = torch.autograd.grad(want.sum(), exact)
        assert bool((got > 0).all() & (slope > 0).all())
        tolerance = 2e-4 if k.compact else _digits(device)  # 1 - |u| has few digits near a compact kernel's edge
        torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=0)
        torch.testing.assert_close(slope.double(), want_slope, rtol=tolerance, atol=0)


@pytest.mark.parametrize("kernel", [*KERNELS, "sharp"])
def test_ends_and_nan(kernel: str, device: torch.device) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([-inf, inf, nan, -1e30, 1e30, 0.0], device=device, requires_grad=True)
    k = SHARP if kernel == "sharp" else bevel.KERNELS[kernel]
    relu = evaluate(x, frelu_family(1.0, 0.0, k, 3.0), [], dim=0, backend="triton")
    (slope,) = torch.autograd.grad(relu.sum(), x)
    assert relu[0] == 0
    assert relu[1] == inf
    assert relu[2].isnan()
    assert slope[2].isnan()
    torch.testing.assert_close(slope[[0, 1, 3, 4]].cpu(), torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert float(slope[5]) == pytest.approx(0.0 if k is SHARP else 0.5, abs=1e-6)
    clip = evaluate(x, _hardtanh(k), [], dim=0, backend="triton")
    torch.testing.assert_close(clip[[0, 1, 3, 4]].cpu().detach(), torch.tensor([-1.0, 1.0, -1.0, 1.0]))


def _hardtanh(kernel: Kernel) -> Family:
    return Family(kinked.hardtanh().terms, kernel, 3.0)  # type: ignore[arg-type] # numbers are slots too


@pytest.mark.parametrize("form", ["published", "exact", "centred"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_at_the_papers_sharpness(form: str, dtype: torch.dtype, device: torch.device) -> None:
    x = torch.linspace(-3, 3, 401).to(device, dtype).requires_grad_()
    alpha = torch.tensor([0.15], device=device, requires_grad=True)
    y = sau(x, alpha, 20000.0, form, backend="triton")
    dx, dalpha = torch.autograd.grad(y.sum(), (x, alpha))
    assert y.dtype == dx.dtype == dtype
    assert bool(y.isfinite().all() & dx.isfinite().all() & dalpha.isfinite().all())
    want = sau(x.detach().cpu().float(), 0.15, 20000.0, form, backend="reference")
    # One ulp: where the truth lies between two neighbors, the last digit of the float32 before the rounding decides,
    # and no two programs share that digit (a chip fuses a multiply-add, and the interpreter cuts instead of rounding).
    ulp = {torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    torch.testing.assert_close(y.detach().cpu(), want.to(dtype), rtol=ulp, atol=0)


class _Plain(Kernel):
    """A compact kernel of a user's, without Triton text, which is therefore tabulated."""

    name, reach, compact = "plain", 1.0, True

    def density(self, v: Tensor) -> Tensor:
        return 0.75 * (1 - v * v)

    def survival(self, v: Tensor) -> Tensor:
        return (1 - v) ** 2 * (2 + v) / 4

    def excess(self, v: Tensor) -> Tensor:
        return (1 - v) ** 3 * (3 + v) / 16


class _Wide(_Plain):
    name, reach, compact = "wide", float("inf"), False


class _Narrow(type(bevel.KERNELS["box"])):  # type: ignore[misc] # a subclass of a kernel with text, of other forms
    density, survival, excess = _Plain.density, _Plain.survival, _Plain.excess


@pytest.mark.parametrize("kernel", [_Plain(), _Narrow()], ids=["plain", "inherited text"])
def test_a_kernel_without_text_is_tabulated(kernel: Kernel, device: torch.device) -> None:
    x = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64, device=device)
    got = smooth(x, kinked.relu(), kernel, 1.0, backend="triton")
    torch.testing.assert_close(
        got, smooth(x, kinked.relu(), "epanechnikov", 1.0, backend="reference"), rtol=1e-13, atol=1e-14
    )


def test_a_kernel_it_cannot_take_is_refused(device: torch.device) -> None:
    x = torch.ones(3, device=device)
    with pytest.raises(BackendUnavailable, match="has no Triton forms"):
        smooth(x, kinked.relu(), _Wide(), 1.0, backend="triton")
    assert smooth(x, kinked.relu(), _Wide(), 1.0).isfinite().all()  # auto takes another


def test_what_has_products_goes_to_the_formulas(device: torch.device) -> None:
    """By ``auto``, on a GPU too; asked for by name it says why not."""
    x = torch.linspace(-4, 4, 33, device=device, dtype=torch.float64)
    module = bevel.create("leaky_relu_squared").double().to(device)
    parameters = module.values()
    with pytest.raises(BackendUnavailable, match="it knows no products"):
        evaluate(x, module.family, parameters, dim=0, backend="triton")
    taken = next(b for b in map(load, AUTO["cuda"]) if b.refuses(module.family, x, parameters) is None)
    assert taken is load("analytic")
    want = evaluate(x, module.family, parameters, dim=0, backend="reference")
    torch.testing.assert_close(taken.forward(module.family, 0, x, parameters), want, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(module(x), want, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n", [20000.0, 0.1])
def test_a_sharpness_in_memory_gives_the_bits_of_a_constant(n: float, device: torch.device) -> None:
    """Modules on a GPU give their fixed n as memory, so that a schedule needs no new program and waits for nothing."""
    module = bevel.SAU(n=n, device=device)
    x = (torch.randn(64, generator=torch.Generator().manual_seed(0)) / n).to(device).requires_grad_()
    in_memory = dataclasses.replace(module.family, n=parameter(1))
    constant = evaluate(x, module.family, [module.alpha], backend="triton")
    found = evaluate(x, in_memory, [module.alpha, module.n], backend="triton")
    assert torch.equal(found, constant)
    leaves = [x, module.alpha]
    for a, b in zip(torch.autograd.grad(found.sum(), leaves), torch.autograd.grad(constant.sum(), leaves), strict=True):
        assert torch.equal(a, b)
