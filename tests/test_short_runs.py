"""Few elements after each channel, where native passes walk rows with repeated coefficients: held to the formulas."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from kept import grads_of
from second_cases import KERNELS, LEARNT, case, near
from torch import Tensor

import bevel
from bevel.ops import _analytic, evaluate, using
from bevel.ops._backends import load

NATIVE = [name for name in ("operator", "cpu") if bevel.backends()[name] is None]
pytestmark = pytest.mark.skipif(not NATIVE, reason="needs the native library")

SOME = [kernel for kernel in KERNELS if kernel.name in ("sharp", "gaussian", "box")]
DIGITS = {torch.float64: 1e-12, torch.float32: 1e-5}
TELL: dict[str, Callable[[], bevel.nn.Activation]] = {
    "frelu": lambda: bevel.FReLU(3, 1.2, 0.3),
    "frelu of two signs": lambda: bevel.FReLU(3, 1.2, -0.3),
    "sau": lambda: bevel.SAU(3),
    "sau of n = 3": lambda: bevel.SAU(3, n=3.0),
    "smooth_frelu": lambda: bevel.SmoothFReLU(3, 1.0, 0.2, n=2.0),
}


def _inputs() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield x, g and a of every shape on either side of a limit between rows and runs (native/src/geometry.cpp)."""
    torch.manual_seed(0)
    for inner in (2, 3, 4, 5, 8, 11, 12, 13, 16, 31, 32, 33, 40):
        for outer in sorted({3, 4, inner // 2, (inner + 1) // 2, inner - 1, inner}):
            x, g, a = (torch.randn(outer, 3, inner, dtype=torch.float64) for _ in range(3))
            yield x, g, a


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize("kernel", SOME, ids=lambda k: k.name)
def test_values_gradients_and_the_second_pass_are_the_formulas(kernel: bevel.Kernel, dtype: torch.dtype) -> None:
    kinds = list(LEARNT)
    for number, (x, g, a) in enumerate(_inputs()):
        family, parameters = case(kernel, kinds[number % len(kinds)], 3 if number % 4 == 0 else 1, 3, bool(number % 2))
        cotangents = [a, *(torch.randn_like(p) for p in parameters)]
        backend, most = NATIVE[number % len(NATIVE)], DIGITS[dtype] * len(x)
        native = [t.to(dtype).requires_grad_() for t in (x, *parameters)]
        exact = [t.detach().double().requires_grad_() for t in native]
        y = evaluate(native[0], family, native[1:], backend=backend, save="input")
        want = evaluate(exact[0], family, exact[1:], backend="reference")
        near([y.detach().double()], [want.detach()], most)
        got = torch.autograd.grad(y, native, g.to(dtype))
        near([t.double() for t in got], torch.autograd.grad(want, exact, g.to(dtype).double()), most)
        every = (True,) * (1 + len(native))
        args = [[t.detach().to(kind) for t in (g, *native, *cotangents)] for kind in (dtype, torch.float64)]
        second, formulas = (
            run(family, 1, own[0], own[1], own[2 : 1 + len(native)], own[1 + len(native) :], every)
            for run, own in zip((load(backend).second, _analytic.second), args, strict=True)
        )
        near([None if t is None else t.double() for t in second], formulas, 10 * most)


@pytest.mark.parametrize("make", TELL.values(), ids=TELL)
def test_gradients_from_the_output_are_the_formulas(make: Callable[[], bevel.nn.Activation]) -> None:
    module = make()
    with torch.no_grad():
        for p in module.parameters():
            p *= torch.tensor([0.9, 1.0, 1.1])
    twin = copy.deepcopy(module).double()
    twin.save = "input"
    for x, g, _ in _inputs():
        got = grads_of(module, x.float(), g.float())
        with using("reference"):
            want = grads_of(twin, x.float().double(), g.float().double())
        near([t.double() for t in got], [t.double() for t in want], 1e-5 * len(x))
