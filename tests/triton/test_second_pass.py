"""Backend ``triton``: the second pass, which is the derivative of the formulas' backward."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from second_cases import KERNELS as ALL
from second_cases import case, cases, near, single
from torch import Tensor
from torch.autograd import forward_ad

import bevel
from bevel.family import Family, parameter
from bevel.kernel import Kernel
from bevel.ops import _analytic, using
from bevel.ops.triton import backend, kernel_terms
from bevel.ops.triton.layout import Tuning
from bevel.terms import Terms

pytestmark = pytest.mark.usefixtures("one_program")
KERNELS = [k for k in ALL if kernel_terms.why_not(k) is None]
Case = tuple[Family, list[Tensor], Tensor, Tensor, list[Tensor]]


def _held(found: Case, device: torch.device, most: float, dtype: torch.dtype = torch.float64) -> None:
    family, parameters, x, g, cotangents = found
    if dtype != torch.float64:
        parameters, cotangents = single(parameters), [cotangents[0].to(dtype), *single(cotangents[1:])]
        x, g = x.to(dtype), g.to(dtype)
    needs = (True,) * (2 + len(parameters))
    want = _analytic.second(family, 1, g, x, parameters, cotangents, needs)
    x, g, *cotangents = (t.to(device) for t in (x, g, *cotangents))
    got = backend.second(family, 1, g, x, [p.to(device) for p in parameters], cotangents, needs)
    near([None if t is None else t.cpu() for t in got], want, most)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_it_is_the_formulas_derivative(kernel: Kernel, device: torch.device) -> None:
    """Of each kernel six kinds of functions, of one knot and of three in turn: every result and parameter."""
    found = list(cases(kernel))[KERNELS.index(kernel) % 2 :: 2]
    for one in found:
        _held(one, device, 1e-12)
    _held(found[1], device, 3e-5, torch.float32)


def test_it_is_that_of_gelu_by_tanh(device: torch.device) -> None:
    family, parameters = case(bevel.KERNELS["gelu_tanh"], "gate", 1, 1, log_n=True)
    terms = dataclasses.replace(family.terms, c0=(0.0,), c1=(0.0,))  # which take its excess
    family = dataclasses.replace(family, terms=terms)
    x, g, a = (torch.randn(40, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3))
    assert backend.refuses(family, x.to(device), [p.to(device) for p in parameters]) is None
    _held((family, parameters, x, g, [a, *(torch.cos(p) for p in parameters)]), device, 1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype: torch.dtype, device: torch.device) -> None:
    for one in list(cases(bevel.KERNELS["logistic"]))[::3]:
        _held(one, device, {torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype], dtype)


@pytest.mark.parametrize("shape", [(300,), (5, 2, 37), (3, 5, 48), (1, 2, 300), (41, 3)], ids=str)
def test_many_trips(shape: tuple[int, ...], device: torch.device) -> None:
    """Programs that walk many tiles with ragged ends."""
    family, parameters = case(bevel.KERNELS["gaussian"], "few", 1, shape[1] if len(shape) > 1 else 1, log_n=True)
    x, g, a = (torch.randn(shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3))
    backend.tune(Tuning(tile=64, per_processor=3))
    _held((family, parameters, x, g, [a, *(torch.cos(p) for p in parameters)]), device, 1e-12)


def test_what_is_missing_zero_or_not_contiguous(device: torch.device) -> None:
    found = next(one for one in cases(bevel.KERNELS["gaussian"]) if one[1][0].numel() == 3 and one[2].dim() == 3)
    family, parameters, x, g, (a, *rest) = found
    x, g, a = x[:2, :, :9], g[:2, :, :9], a[:2, :, :9]
    every = (True,) * (2 + len(parameters))
    wide = torch.randn(*x.shape, 2, dtype=torch.float64)[..., 0]
    none: list[Tensor | None] = [None] * len(rest)
    variants: tuple[tuple[Tensor | None, Sequence[Tensor | None], float], ...] = (
        (g, [None, *rest], 0.0),
        (g, [a, *none], 0.0),
        (None, [None, *none], 1.0),
        (g, [torch.zeros_like(a), *(torch.zeros_like(b) for b in rest)], 0.0),
        (wide, [wide.transpose(0, 2).contiguous().transpose(0, 2), *(b.repeat(2)[::2] for b in rest)], 0.0),
        (torch.ones((), dtype=torch.float64).expand(x.shape), [wide, *rest], 0.0),
    )
    wants: list[tuple[bool, ...]] = [every] * len(variants)
    alone = [tuple(i == j for j in range(len(every))) for i in (0, 1, len(every) - 1)]
    for (here, cotangents, number), needs in zip((*variants, *variants[:3]), (*wants, *alone), strict=True):
        want = _analytic.second(family, 1, here, x, parameters, cotangents, needs, number)
        moved = [None if t is None else t.to(device) for t in (here, *cotangents)]
        own = [p.to(device) for p in parameters]
        got = backend.second(family, 1, moved[0], x.to(device), own, moved[1:], needs, number)
        near([None if t is None else t.cpu() for t in got], want, 1e-12)
    empty = backend.second(family, 1, g[:0].to(device), x[:0].to(device), own, [a[:0].to(device), *moved[2:]], every)
    assert all(not d.abs().any() for d in empty if d is not None)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_infinite_and_nan(kernel: Kernel, device: torch.device) -> None:
    """At ±inf the limits, as the slope has them; NaN stays NaN."""
    x = torch.tensor([-torch.inf, torch.inf, torch.nan, 1e30, -1e30], device=device)
    family, parameters = case(kernel, "few", 1, 1, log_n=False)
    values = [p.to(device) for p in single(parameters)]
    needs = (True, True, *(False for _ in values))
    ones = torch.ones_like(x)
    h, dx, *_ = backend.second(family, 1, ones, x, values, [ones, *(None for _ in values)], needs)
    (slope, *_) = backend.backward(family, 1, ones, x, values, (True, *needs[2:]))
    torch.testing.assert_close(h, slope, equal_nan=True)
    ends = torch.tensor([0.0, 0.0, torch.nan, 0.0, 0.0], device=device)
    torch.testing.assert_close(dx, ends, equal_nan=True, atol=1e-30, rtol=0)


@pytest.fixture
def no_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("the formulas were asked for")

    for name in ("backward", "second"):
        monkeypatch.setattr(_analytic, name, refuse)


@pytest.mark.usefixtures("no_formulas")
@pytest.mark.parametrize(
    ("spec", "rule"), [("sau:n=5", "output"), ("sau:n=5,form=centred", "input"), ("gate:learn_slopes=true", "input")]
)
def test_double_backward_and_forward_mode_run_no_formula(spec: str, rule: str, device: torch.device) -> None:
    module: Any = bevel.create(spec, num_parameters=3).to(device)
    module.save = rule
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    inputs = (x, *module.parameters())
    found = []
    for name in ("triton", "reference"):
        with using(name):
            first = torch.autograd.grad(module(x).square().sum(), inputs, create_graph=True)
            found.append(torch.autograd.grad(sum(d.square().sum() for d in first), inputs))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    along = torch.randn_like(x)
    with using("triton"), torch.no_grad(), forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(module(forward_ad.make_dual(x.detach(), along))).tangent
    with using("reference"):
        (slope,) = torch.autograd.grad(module(x).sum(), x)
    torch.testing.assert_close(tangent, slope * along)


class _Without(type(bevel.KERNELS["laplace"])):  # type: ignore[misc]
    """A kernel as users wrote them before there was a second pass."""

    name = "without turn"
    triton = bevel.KERNELS["laplace"].triton.replace("turn = -density", "")


def test_a_kernel_without_turn_takes_the_formulas_where_it_is_needed(device: torch.device) -> None:
    kernel = _Without()
    assert "turn" not in kernel.triton
    for step, kind in itertools.product((0.0, parameter(1)), (False, True)):
        terms = Terms(0.1, 0.0, (0.0,), (parameter(0),), (step,), (0.0,), (0.0,), kind)
        values = [torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)]
        x, g, a = (torch.randn(9, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3))
        family = Family(terms, kernel, 2.0)
        assert (backend._no_second(family) is None) == (step == 0.0 and not kind)
        _held((family, values, x, g, [a, *values]), device, 1e-12)
