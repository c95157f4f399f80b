"""Smooth functions that keep their output: x is found from y, as well as backward needs it, or is kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from kept import grads_of, keeps_output, some_x
from torch import Tensor, nn

import bevel
from bevel.ops import _operator, using
from bevel.ops._inverse import bisected

pytestmark = pytest.mark.skipif(_operator.unavailable() is not None, reason=f"operator: {_operator.unavailable()}")

KERNELS = [k for k in bevel.KERNELS if k != "cauchy" and bevel.KERNELS[k].native > 0]  # those with native code
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
SPECS = [
    "sau",
    "sau:n=5",
    "sau:n=3,form=exact,learn_n=true",
    "sau:n=5,form=centred,alpha=0.25",
    *(f"smooth_frelu:kernel={k},n=2" for k in KERNELS),
    "smooth_frelu:positive=0.2,negative=1.4",
    "smooth_frelu:positive=-1,negative=-0.2",
]
INF, NAN = float("inf"), float("nan")


def _of_input(module: nn.Module) -> nn.Module:
    twin = copy.deepcopy(module)
    twin.save = "input"
    return twin


def _exact(module: nn.Module, x: Tensor, g: Tensor) -> list[Tensor]:
    """The formulas in float64."""
    with using("reference"):
        return grads_of(copy.deepcopy(module).double(), x.double(), g.double())


def _near_and_far(n: float) -> Tensor:
    return torch.cat([torch.linspace(-12, 12, 4001), torch.linspace(-3, 3, 4001) / n])


@each_dtype
@pytest.mark.parametrize("spec", SPECS)
def test_slopes_are_within_twice_the_error_of_torchs_gelu(spec: str, dtype: torch.dtype) -> None:
    """Relative to max(1, |exact|), at each x by itself. In float64 the formulas are no more exact than the pass."""
    module = bevel.create(spec)
    n = float(module.coefficients()[1])
    x = _near_and_far(n).to(dtype)
    assert keeps_output(module, x)
    ones = torch.ones_like(x)

    def worst(got: Tensor, want: Tensor) -> float:
        return float(((got.double() - want).abs() / want.abs().clamp(min=1)).max())

    gelu = worst(grads_of(nn.GELU(), x, ones)[1], grads_of(nn.GELU(), x.double(), ones.double())[1])
    if dtype == torch.float64:
        gelu = 4e-13 if "gelu_tanh" in spec else 4e-15  # autograd differentiates that one's table
    assert worst(grads_of(module, x, ones)[1], _exact(module, x, ones)[1]) <= 2 * gelu


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda c: bevel.FReLU(c, 1.0, 0.25),
        lambda c: bevel.SAU(c, 0.25),
        lambda c: bevel.SAU(c, 0.25, n=5.0),
        lambda c: bevel.SmoothFReLU(c, 1.0, 0.25),
        lambda c: bevel.SmoothFReLU(c),
    ],
    ids=["frelu", "sau", "sau n=5", "smooth_frelu", "smooth_frelu 0.01"],
)
def test_slope_gradients_in_half_precision_are_within_twice_the_error_of_torchs_prelu(
    make: Callable[[int], bevel.nn.Activation], dtype: torch.dtype
) -> None:
    """The root mean square over 256 channels of the error, beside that of the gradient itself."""
    channels = 256
    x, g = (torch.randn(64, channels, generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(2))

    def error(got: Tensor, want: Tensor) -> float:
        return float((got.double() - want).square().mean().sqrt() / want.square().mean().sqrt())

    prelu = nn.PReLU(channels, 0.25)
    theirs = error(grads_of(prelu.to(dtype), x, g)[2], grads_of(prelu.double(), x.double(), g.double())[2])
    module = make(channels)
    assert keeps_output(module, x)
    slopes = ("positive", "negative", "alpha")
    names = [name for name, _ in module.named_parameters()]
    for name, got, want in zip(names, grads_of(module, x, g)[2:], _exact(module, x, g)[2:], strict=True):
        assert name not in slopes or error(got, want) <= 2 * theirs


@pytest.mark.parametrize("flat", [0.3, 1.1e-4])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_native_inverse_and_ninety_halvings(kernel: str, flat: float) -> None:
    """Where the function is steep; where it is not, x may differ by what a rounding of y moves it."""
    module = bevel.SmoothFReLU(2, 1.0, flat, kernel, 3.0).double()
    x = torch.stack([_near_and_far(3.0).double()] * 2, 1)
    parameters = module.values()
    with torch.no_grad():
        y = module(x)
        found = _operator.inverse(module.family, 1, y, parameters)
        halved = bisected(module.family, 1, y, parameters)
        slope = module.family.formulas(x, parameters, 1).slope()
    loss = 4e-16 * (y.abs() + 0.3) / slope + 1e-15 * x.abs()
    assert bool(((found - halved).abs() <= 8 * loss).all())
    assert bool(((halved - x).abs() <= 8 * loss).all())


@pytest.mark.parametrize("n", [1.0, 3.0, 20000.0])
@pytest.mark.parametrize("form", ["published", "centred"])
def test_where_the_output_is_kept_the_function_is_monotone(form: str, n: float) -> None:
    """And where it is not it is not, or nearly not: the limit is computed for each alpha and n."""
    u = torch.linspace(-8, 8, 6401, dtype=torch.float64)
    kept = []
    for alpha in (-0.1, 0.0, 0.05, 0.1, 0.114, 0.13, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.0, 4.0, 6.0):
        module = bevel.SAU(alpha=alpha, n=n, form=form)
        terms, sharpness = module.family.coefficients([p.detach().double() for p in module.values()])
        x = (u / sharpness).requires_grad_()
        slope = bevel.formulas.Formulas(x, terms, module.family.kernel, sharpness).slope()
        (bend,) = torch.autograd.grad(slope.sum(), x)
        y = bevel.formulas.Formulas(x.detach(), terms, module.family.kernel, sharpness).value()
        roundings = float((y * bend / slope.detach()).abs().max()) / max(alpha, 1.0)  # what one of y adds to the slope
        well = float(slope.detach().min()) > 0 and roundings <= 1 and alpha > 0
        kept.append(keeps_output(module, torch.randn(9)))
        assert kept[-1] == well, (alpha, roundings)
    assert any(kept)
    assert not all(kept)


def test_the_papers_alpha_with_a_centred_form() -> None:
    for n, keeps in ((1.0, False), (20000.0, True)):
        assert keeps_output(bevel.SAU(alpha=0.15, n=n, form="centred"), torch.randn(9)) == keeps


def test_functions_that_do_not_tell_keep_their_input() -> None:
    x = torch.randn(9)
    for slopes in ((1.0, 0.0), (1.0, -0.1), (0.0, 0.5), (1.0, 0.9e-4), (1.0, INF), (NAN, 1.0)):
        module = bevel.SmoothFReLU()
        with torch.no_grad():
            module.positive.fill_(slopes[0])
            module.negative.fill_(slopes[1])
        assert not keeps_output(module, x), slopes
    one = bevel.SmoothFReLU(3)
    with torch.no_grad():
        one.negative[1] = 0  # in one channel
    assert not keeps_output(one, torch.randn(2, 3))
    assert keeps_output(bevel.SmoothFReLU(1, 1.0, 1.1e-4), x)
    assert keeps_output(bevel.SmoothFReLU(1, 2e-4, 1.1e-4), x.half())
    assert not keeps_output(bevel.SmoothFReLU(1, 2e-4, 0.9e-4), x.half())  # y would be subnormal


@pytest.mark.parametrize("spec", SPECS)
def test_far_out(spec: str) -> None:
    module = bevel.create(spec)
    twin = _of_input(module)
    at = [-0.0, 0.0, 1e-30, -1e-30, 3e37, -3e37, INF, -INF]
    for x in (torch.tensor([value]) for value in at):
        for a, b in zip(grads_of(module, x, torch.ones(1)), grads_of(twin, x, torch.ones(1)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert grads_of(module, torch.tensor([NAN]), torch.ones(1))[1].isnan().all()


def test_an_output_that_has_overflowed_has_infinite_gradients() -> None:
    module = bevel.SmoothFReLU(1, 4.0, 0.5)
    y, d, by_positive, *_ = grads_of(module, torch.tensor([3e4], dtype=torch.half), torch.ones(1, dtype=torch.half))
    assert y.isinf().all()
    assert d.item() == 4
    assert by_positive.isinf().all()


def test_layouts() -> None:
    x, g = some_x(), torch.randn(8, 6, 5, 7, generator=torch.Generator().manual_seed(1))
    for module in (bevel.SmoothFReLU(6, n=2.0), bevel.SAU(n=2.0), bevel.SAU(6)):
        twin = _of_input(module)
        gaps = torch.stack([x, x], -1)[..., 0]
        for laid in (x.to(memory_format=torch.channels_last), x.transpose(2, 3), gaps, x[:, :, :0]):
            got, want = (
                grads_of(m, laid, g.reshape(laid.shape) if laid.numel() else torch.ones_like(laid))
                for m in (module, twin)
            )
            for a, b in zip(got, want, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
                assert a.stride() == b.stride()


def test_training_from_zero_and_through_zero() -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    for start, goal in ((0.0, 0.3), (0.02, -0.3)):
        modules = [bevel.SmoothFReLU(4, 1.0, start) for _ in range(2)]
        modules[1].save = "input"
        kept = []
        for module in modules:
            sgd = torch.optim.SGD(module.parameters(), lr=0.1)
            for _ in range(6):
                kept.append(keeps_output(module, x))
                sgd.zero_grad()
                (module(x) - bevel.functional.frelu(x, 1.0, goal)).square().mean().backward()
                sgd.step()
        torch.testing.assert_close(modules[0].negative, modules[1].negative, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(modules[0].log_n, modules[1].log_n, rtol=1e-4, atol=1e-6)
        assert any(kept[:6])
        assert not all(kept[:6])


def test_what_is_changed_in_place_is_an_error_with_the_ways_out() -> None:
    module = bevel.SAU(n=2.0)
    x = torch.randn(3, 4, requires_grad=True)
    y = module(x)
    y += 1
    with pytest.raises(bevel.BevelError, match=r"kept its output .* module\.save = 'input'"):
        y.sum().backward()
    y = module(x)
    with torch.no_grad():
        module.alpha += 0.1
    with pytest.raises(bevel.BevelError, match="a parameter was changed in place"):
        y.sum().backward()


def test_saved_tensors_hooks_may_lay_out_and_move_what_is_saved() -> None:
    module = bevel.SmoothFReLU(6, n=2.0)
    x = some_x().to(memory_format=torch.channels_last).requires_grad_()
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    inputs = [x, *module.parameters()]
    want = torch.autograd.grad(module(x), inputs, g)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.contiguous(), lambda t: t):
        y = module(x)
    for a, b in zip(torch.autograd.grad(y, inputs, g), want, strict=True):
        torch.testing.assert_close(a, b)


def test_third_derivatives() -> None:
    x = torch.linspace(-2, 2, 31, dtype=torch.float64)
    g = torch.ones_like(x)

    def third(module: nn.Module) -> Tensor:
        at = x.clone().requires_grad_()
        y = module(at)
        for _ in range(3):
            (y,) = torch.autograd.grad(y, at, g, create_graph=True)
        return y.detach()

    module = bevel.SAU(n=2.0, alpha=0.3).double()
    torch.testing.assert_close(third(module), third(_of_input(module)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "spec", ["smooth_frelu:n=2,negative=0.3", "sau:n=2", "frelu:negative=0.3", "frelu:negative=-0.3"]
)
def test_second_derivatives_pass_the_output_by(spec: str) -> None:
    """What comes back for x is left with the node. A run that does not reach it, or breaks off, leaves nothing."""
    module = bevel.create(spec)
    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    twin = _of_input(module)

    def loss(module: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        y, g = module(x), torch.linspace(1, 2, 50, requires_grad=True)
        return y, g, torch.autograd.grad(y, x, g, create_graph=True)[0].cos().sum()

    def by_all(total: Tensor, module: nn.Module) -> list[Tensor]:
        return [*torch.autograd.grad(total, [x, *module.parameters()], retain_graph=True)]

    y, _, of_slope = loss(twin)
    want = by_all(of_slope, twin), by_all(of_slope + y.sin().sum(), twin)
    y, g, of_slope = loss(module)
    seen: list[Tensor] = []

    def see(gradient: Tensor) -> None:
        seen.append(gradient)
        if len(seen) == 2:
            raise ValueError("breaks off")

    y.register_hook(see)
    torch.autograd.grad(of_slope, g, retain_graph=True)
    assert not seen
    for total, wanted in zip((of_slope, of_slope + y.sin().sum()), want, strict=True):
        for a, b in zip(by_all(total, module), wanted, strict=True):
            torch.testing.assert_close(a, b)
        if len(seen) == 1:
            assert not seen[0].any()
            with pytest.raises(ValueError, match="breaks off"):
                by_all(total, module)


def test_the_slow_way_serves_where_a_mode_watches() -> None:
    """``make_fx`` and others see torch operations; the ninety halvings are such."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            return func(*args, **(kwargs or {}))

    module = bevel.SAU(n=2.0)
    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inputs = [x, *module.parameters()]
    want = torch.autograd.grad(module(x).sum(), inputs)
    y = module(x).sum()
    with Watch():
        got = torch.autograd.grad(y, inputs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
    assert math.isfinite(float(got[1]))


def test_two_runs_of_autograd_share_a_graph() -> None:
    """A hook on the output runs autograd through the same graph: each run gets what was left for it."""
    found = []
    for save in ("input", "output"):
        module = bevel.SmoothFReLU(negative=0.3, n=2.0).double()
        module.save = save
        x = torch.linspace(-1, 1, 9, dtype=torch.float64, requires_grad=True)
        y = module(x)
        (dx,) = torch.autograd.grad(y.pow(2).sum(), x, create_graph=True)
        penalty, inner = dx.pow(2).sum(), []

        def again(g: Tensor, penalty: Tensor = penalty, x: Tensor = x, inner: list[Tensor] = inner) -> None:
            if not inner:
                inner.append(torch.zeros(()))
                inner[0] = torch.autograd.grad(penalty, x, retain_graph=True)[0]

        y.register_hook(again)
        (outer,) = torch.autograd.grad(penalty, x, retain_graph=True)
        found.append((outer, inner[0]))
    for got, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got, want)
