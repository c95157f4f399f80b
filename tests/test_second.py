"""Second derivatives: the native pass is held to the formulas, and reached by every way that leads to it."""

from typing import cast

import pytest
import torch
from second_cases import KERNELS, case, cases, near, single
from torch import Tensor
from torch.autograd import forward_ad

import bevel
from bevel.family import Family
from bevel.ops import _analytic, evaluate
from bevel.ops._backends import load

NATIVE = [name for name in ("operator", "cpu") if bevel.backends()[name] is None]
pytestmark = pytest.mark.skipif(not NATIVE, reason="needs the native library")


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_the_native_pass_is_the_formulas_derivative(kernel: bevel.Kernel) -> None:
    native = load(NATIVE[0])
    for family, parameters, x, g, cotangents in cases(kernel):
        needs = (True,) * (2 + len(parameters))
        args = family, 1, g, x, parameters, cotangents, needs
        near(native.second(*args), _analytic.second(*args), 1e-12)
        args = family, 1, g.float(), x.float(), single(parameters), single(cotangents), needs
        near(native.second(*args), _analytic.second(*args), 3e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_dtype_by_both_ways_into_the_library(dtype: torch.dtype) -> None:
    for family, parameters, x, g, (a, *rest) in cases(bevel.KERNELS["logistic"]):
        needs = (True,) * (2 + len(parameters))
        x, g, a = (t.to(dtype) for t in (x, g, a))
        args = family, 1, g, x, single(parameters), [a, *single(rest)], needs
        found = [load(name).second(*args) for name in NATIVE]
        for each in found:
            near(each, _analytic.second(*args), {torch.bfloat16: 2e-2, torch.float16: 2e-3}.get(dtype, 1e-5))
            near(each, found[0], 0.0)


@pytest.mark.parametrize("backend", NATIVE)
def test_what_is_missing_zero_or_not_contiguous(backend: str) -> None:
    native = load(backend)
    family, parameters, x, g, (a, *rest) = next(
        one for one in cases(bevel.KERNELS["gaussian"]) if one[1][0].numel() == 3 and one[2].dim() == 3
    )
    every = (True,) * (2 + len(parameters))
    wide = torch.randn(*x.shape, 2, dtype=torch.float64)[..., 0]
    variants = (
        (g, [None, *rest], every),
        (g, [a, *(None for _ in rest)], every),
        (g, [None, None, *rest[1:]], every),
        (g, [torch.zeros_like(a), *(torch.zeros_like(b) for b in rest)], every),
        (wide, [wide.transpose(0, 2).contiguous().transpose(0, 2), *(b.repeat(2)[::2] for b in rest)], every),
        (torch.ones((), dtype=torch.float64).expand(x.shape), [wide, *rest], every),
        (None, [a, *rest], every),
        *((g, [a, *rest], tuple(i == j for j in range(len(every)))) for i in range(len(every))),
    )
    for here, cotangents, needs in variants:
        args = family, 1, here, x, parameters, cotangents, needs
        near(native.second(*args), _analytic.second(*args), 1e-12)
    empty = x[:0], parameters, [a[:0], *rest], every
    assert all(not d.abs().any() for d in native.second(family, 1, g[:0], *empty) if d is not None)


@pytest.mark.parametrize("backend", NATIVE)
def test_infinite_and_nan(backend: str) -> None:
    """At ±inf the limits, as the slope has them; NaN stays NaN."""
    x = torch.tensor([-torch.inf, torch.inf, torch.nan, 1e30, -1e30])
    ones = torch.ones(5)
    for kernel in KERNELS:
        family, parameters = case(kernel, "few", 1, 1, log_n=False)
        values = single(parameters)
        needs = (True, True, *(False for _ in values))
        h, dx, *_ = load(backend).second(family, 1, ones, x, values, [ones, *(None for _ in values)], needs)
        (slope, *_) = load(backend).backward(family, 1, ones, x, values, (True, *needs[2:]))
        torch.testing.assert_close(h, slope, equal_nan=True)
        torch.testing.assert_close(
            dx, torch.tensor([0.0, 0.0, torch.nan, 0.0, 0.0]), equal_nan=True, atol=1e-30, rtol=0
        )


MODULES = (
    "sau:n=5",
    "sau:n=5,form=centred",
    "smooth_frelu:n=3",
    "frelu",
    "smooth_frelu:n=3,kernel=student",
    "apl",
    "srelu",
    "leaky_relu_squared",
)


@pytest.fixture
def no_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> list[Tensor | None]:
        raise AssertionError("the formulas were asked for")

    for name in ("backward", "second"):
        monkeypatch.setattr(_analytic, name, refuse)


@pytest.mark.usefixtures("no_formulas")
@pytest.mark.parametrize("rule", ["auto", "input"])
@pytest.mark.parametrize("spec", MODULES)
def test_double_backward_and_forward_mode_run_no_formula(spec: str, rule: str) -> None:
    module = cast(bevel.nn.Activation, bevel.create(spec, num_parameters=3))
    module.save = rule
    x = torch.randn(4, 3, 5, requires_grad=True)
    inputs = (x, *module.parameters())
    first = torch.autograd.grad(module(x).square().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(d.square().sum() for d in first), inputs)
    twin = bevel.create(spec, num_parameters=3)
    with bevel.ops.using("reference"):
        want = torch.autograd.grad(twin(x).square().sum(), (x, *twin.parameters()), create_graph=True)
        want = torch.autograd.grad(sum(d.square().sum() for d in want), (x, *twin.parameters()))
    torch.testing.assert_close(second, want, rtol=1e-4, atol=1e-4)
    along = torch.randn_like(x)
    with torch.no_grad(), forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(module(forward_ad.make_dual(x.detach(), along))).tangent
    (slope,) = torch.autograd.grad(module(x).sum(), x)
    torch.testing.assert_close(tangent, slope * along)


@pytest.mark.parametrize("spec", MODULES)
def test_third_derivatives_and_batches_of_second_ones(spec: str) -> None:
    torch.manual_seed(1)
    module = bevel.create(spec, num_parameters=3).double()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    parameters = tuple(module.parameters())

    def third(*inputs: Tensor) -> Tensor:
        first = torch.autograd.grad(module(inputs[0]).sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(d.sin().sum() for d in first), inputs, create_graph=True)
        return torch.cat([d.flatten() for d in torch.autograd.grad(sum(d.sin().sum() for d in second), inputs)])

    with bevel.ops.using("reference"):
        want = third(x, *parameters)
    torch.testing.assert_close(third(x, *parameters), want)

    def hessian(vectorize: bool) -> Tensor:
        return cast(Tensor, torch.autograd.functional.hessian(lambda t: module(t).sin().sum(), x, vectorize=vectorize))

    torch.testing.assert_close(hessian(True), hessian(False))


def test_forward_over_reverse_keeps_its_tangent() -> None:
    family = bevel.SAU(n=3.0).double()
    x, along = torch.randn(7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, along).requires_grad_()
        (slope,) = torch.autograd.grad(family(dual).sum(), dual)
        found = forward_ad.unpack_dual(slope).tangent
    terms, n = family.coefficients()
    y = evaluate(x.requires_grad_(), Family(terms, bevel.KERNELS["gaussian"], n), [], backend="reference")
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(slope, x, along)[0])
