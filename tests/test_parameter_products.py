"""Coefficients that are products of parameters: the native passes are held to the formulas."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
import torch
from second_cases import KERNELS, SHAPES, near, single
from torch import Tensor, nn

import bevel
from bevel.family import Family, Slot, parameter
from bevel.kernel import SHARP
from bevel.ops import _analytic, using
from bevel.ops._backends import load
from bevel.terms import Terms

NATIVE = [b for b in ("operator", "cpu") if bevel.backends()[b] is None]
pytestmark = pytest.mark.skipif(not NATIVE, reason="needs the native library")
SPECS = ("apl", "apl:hinges=2,height=0.3", "srelu", "leaky_relu_squared")
INF = float("inf")
Case = tuple[Family, list[Tensor], Tensor, Tensor, list[Tensor]]


def _family(kernel: bevel.Kernel, bent: bool) -> Family:
    """Products in every group of coefficients and in n: squares, and parameters that are in several."""
    a, b, k, s = map(parameter, range(4))
    none: tuple[Slot, ...] = (0.0, 0.0)
    ramps: tuple[Slot, ...] = (a * b - 0.5, 2 * a * k) if kernel.has_moment else none
    tails: tuple[Slot, ...] = (a * s, 0.0) if kernel.has_moment else none
    curve: tuple[Slot, ...] = (2 * a * a, 2 - 2 * a * a, b * k) if bent else ()
    terms: Terms[Slot] = Terms(b - a * b, s + a * k, (k, b * s), ramps, (s * s, 1 - a * k), tails, tails, curve=curve)
    return Family(terms, kernel, 1 + s * s)


def _cases(kernel: bevel.Kernel) -> Iterator[Case]:
    torch.manual_seed(0)
    bends = kernel is SHARP or kernel.variance not in (None, INF)
    for number, (shape, last) in enumerate(SHAPES):
        x, g, a = (torch.randn(shape, dtype=torch.float64) for _ in range(3))
        if last:
            x, g, a = (t.contiguous(memory_format=torch.channels_last) for t in (x, g, a))
        lengths = ((3, 3, 3, 3), (1, 3, 1, 3), (1, 1, 1, 1))[number % 3]
        start = zip((0.4, 0.7, -0.8, 0.9), lengths, strict=True)
        values = [v + 0.1 * torch.rand(n, dtype=torch.float64) for v, n in start]
        yield _family(kernel, bends and number % 2 == 0), values, x, g, [a, *map(torch.randn_like, values)]


def _passes(backend: Any, case: Case) -> list[Tensor]:
    """Value, gradients, and the derivatives of these."""
    family, values, x, g, cotangents = case
    needs = (True,) * (2 + len(values))
    value = backend.forward(family, 1, x, values)
    return [
        value,
        *backend.backward(family, 1, g, x, values, needs[1:]),
        *backend.second(family, 1, g, x, values, cotangents, needs),
    ]


def _as(dtype: torch.dtype, case: Case) -> Case:
    """The same with x, g and the cotangent of dx in a dtype; parameters are float32 then, or float64."""
    family, values, x, g, (a, *others) = case
    if dtype != torch.float64:
        values, others = single(values), single(others)
    return family, values, x.to(dtype), g.to(dtype), [a.to(dtype), *others]


def _wide(case: Case) -> Case:
    family, values, x, g, cotangents = case
    return family, [v.double() for v in values], x.double(), g.double(), [c.double() for c in cotangents]


def _held(found: Sequence[Tensor], theirs: Sequence[Tensor], exact: Sequence[Tensor], eps: float) -> None:
    """No element is more than twice as far off as the formulas in that dtype; sums are held to their size."""
    for mine, other, true in zip(found, theirs, exact, strict=True):
        error, most, size = ((t.double() - s).abs().max() for t, s in ((mine, true), (other, true), (true, 0.0)))
        assert error <= (2e-5 * (1 + size) if true.dim() == 1 else 2 * max(most, eps / 2 * size))


@pytest.mark.parametrize("backend", NATIVE)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_every_pass_is_the_formulas(kernel: bevel.Kernel, backend: str) -> None:
    native = load(backend)
    for case in _cases(kernel):
        near(_passes(native, case), _passes(_analytic, case), 1e-12)
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            rounded = _as(dtype, case)
            exact = _passes(_analytic, _wide(rounded))
            first, eps = slice(2 + len(case[1])), torch.finfo(dtype).eps
            found, theirs = _passes(native, rounded), _passes(_analytic, rounded)
            _held(found[first], theirs[first], exact[first], eps)
            near([t.double() for t in found], exact, max(3e-5, 2 * eps))


@pytest.mark.parametrize("backend", NATIVE)
def test_what_is_not_given_or_not_asked_for(backend: str) -> None:
    """A cotangent that is None is 0, a g that is None 1, and a result alone is what it is among all."""
    native = load(backend)
    family, values, x, g, (a, *others) = next(_cases(bevel.KERNELS["logistic"]))
    every = (True,) * (2 + len(values))
    here: tuple[tuple[Tensor | None, list[Tensor | None]], ...] = (
        (None, [a, *others]),
        (g, [None, *others]),
        (g, [a, None, others[1], None, others[3]]),
        (g, [a, *(None for _ in others)]),
    )
    for dtype, most in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        for given, cotangents in here:
            turned = [None if c is None else c.to(dtype) for c in cotangents]
            by = None if given is None else given.to(dtype)
            args = family, 1, by, x.to(dtype), [v.to(dtype) for v in values], turned
            found = native.second(*args, every)
            near(found, _analytic.second(*args, every), most)
            for i, whole in enumerate(found):
                alone = native.second(*args, tuple(i == j for j in range(len(every))))
                near(alone, [whole if i == j else None for j in range(len(every))], 0.0)
    nothing = native.second(family, 1, g[:0], x[:0], values, [a[:0], *others], every)
    assert all(not d.abs().any() for d in nothing if d is not None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_modules_take_the_native_pass(spec: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared and by channel, in both orders of memory, with learnt knots that have crossed or met."""
    x = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    for channels in (1, 3):
        module = bevel.create(spec, num_parameters=channels, dtype=torch.float64 if dtype == torch.float64 else None)
        _unsettle(module)
        for order in (torch.contiguous_format, torch.channels_last):
            at = x.contiguous(memory_format=order)
            with monkeypatch.context() as patch:
                patch.setattr(Family, "formulas", lambda *_: pytest.fail("the formulas were asked for"))
                found = _gradients(module, at)
            assert [(t.dtype, t.stride()) for t in found[:2]] == [(dtype, at.stride())] * 2
            with using("analytic"):
                theirs = _gradients(module, at)
                exact = _gradients(copy.deepcopy(module).double(), at.double())
            near([t.double() for t in found], exact, {torch.float64: 1e-14, torch.float32: 2e-5}.get(dtype, 1e-2))
            if dtype != torch.float64:
                _held(found, theirs, exact, torch.finfo(dtype).eps)


def _unsettle(module: nn.Module) -> None:
    """Move every parameter; the knots of some channels change places, and two of them meet."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
        if isinstance(module, bevel.nn.SReLU):
            module.low[0] = module.high[0]
        if isinstance(module, bevel.nn.APL):
            cast(Tensor, module.hinge_0)[-1] = cast(Tensor, module.hinge_1)[-1]


def _gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = module(x)
    return [y.detach(), *torch.autograd.grad(y.sum(), (x, *module.parameters()))]


@pytest.mark.parametrize("backend", [*NATIVE, "analytic"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_limits_at_the_ends(dtype: torch.dtype, backend: str) -> None:
    """Far right APL is x and depends on no hinge; far left, and on either side of SReLU, on its own line alone."""
    ends = torch.tensor([INF, -INF], dtype=dtype)
    apl, srelu = bevel.create("apl:hinges=2,height=0.3"), bevel.create("srelu:right=0.5")
    zero = [0.0]
    wanted = {
        # value, slope and parameters: heights 0.3 at −1 and, behind 0, at 1; then a_l, a_r, t_l, t_r
        (apl, 0): [INF, 1.0, zero, zero, zero, zero],
        (apl, 1): [INF, -0.6, [INF], [INF], [0.3], [0.3]],
        (srelu, 0): [INF, 0.5, zero, [INF], zero, [0.5]],
        (srelu, 1): [-INF, 0.2, [-INF], zero, [0.8], zero],
    }
    for (module, end), want in wanted.items():
        x = ends[end].clone().requires_grad_()
        with using(backend):
            y = module(x)
            found = [y, *torch.autograd.grad(y, (x, *module.parameters()))]
        for got, value in zip(found, want, strict=True):
            torch.testing.assert_close(got.detach(), torch.tensor(value, dtype=got.dtype))
