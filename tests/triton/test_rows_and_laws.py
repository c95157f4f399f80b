"""Backend ``triton`` keeps the oracle's rows, the laws, and the digits of the tails."""

import pytest
import torch
from parameter_gradients import ENDS, INF, TAILS, check_the_ends, check_the_tail
from torch import Tensor

from bevel import KERNELS, kinked, smooth
from bevel.family import Affine, Family, parameter
from bevel.kernel import SHARP
from bevel.ops import evaluate
from bevel.terms import Terms
from bevel_lab.bench.gpu import check

pytestmark = pytest.mark.usefixtures("one_program")

MOMENTS = check.KERNELS
SPECS = check.SPECS
MORE = [
    "sau",
    "sau:n=3,form=exact,learn_n=true",
    "sau:n=3,form=centred,learn_n=true",
    *(f"smooth_frelu:kernel={k},n=1.5" for k in MOMENTS),
    *(f"gate:kernel={k},learn_slopes=true" for k in ("gaussian", "logistic")),
    "mollified:f=hardtanh,kernel=triweight,n=2,learn=n+left+offset+knots+jumps+steps",
    "mollified:f=soft_shrink(0.3),kernel=student,n=2,learn=knots",
    "mollified:f=step,kernel=cauchy,n=2,learn=n+steps",
    "mollified:f=hardswish,kernel=gaussian,n=3,learn=n+bends+left_bend+jumps+knots",
    "mollified:f=relu_squared,kernel=box,n=2",
    "relu_squared",
    "xiprelu:learn_beta=true",
    "squareplus",
    "smelu",
]


def _relative(got: Tensor, want: Tensor) -> float:
    return float(((got.detach().cpu().double() - want).abs() / want.abs().clamp(min=1)).max())


@pytest.mark.parametrize("form", check.FORMS)
def test_sau_rows(form: str, device: torch.device) -> None:
    check.sau_rows(form, device)


@pytest.mark.parametrize("kernel", MOMENTS)
def test_smoothing_rows(kernel: str, device: torch.device) -> None:
    check.smoothing_rows(kernel, device)


@pytest.mark.parametrize("kernel", check.BENDING)
def test_rows_of_bends(kernel: str, device: torch.device) -> None:
    check.bend_rows(kernel, device)


def _digits(device: torch.device) -> float:
    """Relative error allowed in a tail of float32: 2e-6, and on a chip twice what torch's own exp(-u²/2) has there.

    In a tail all digits are those of exp, whose error is that of its argument (up to 84.5 at |u| = 13) rounded to
    float32, and a chip's exp is approximate. No program of float32 can be held to more than the chip's exp gives;
    torch's own, on the same chip and the same numbers, says what that is. The interpreter has the host's exp and keeps
    2e-6.
    """
    if device.type == "cpu":
        return 2e-6
    u = torch.linspace(-13, 13, 1201, device=device)
    want = torch.exp(-(u.double() ** 2) / 2)
    return max(2e-6, 2 * float(((torch.exp(-u * u / 2).double() - want).abs() / want).max()))


@pytest.mark.parametrize("kernel", MOMENTS)
def test_tails_keep_their_digits(kernel: str, device: torch.device) -> None:
    """In float32 value and slope of ReLU * kernel, and of a shifted step, keep their digits where they exceed 1e-30."""
    digits = _digits(device)
    u = torch.cat([torch.linspace(-13, 13, 1201), torch.linspace(-1, 1, 801), -torch.logspace(-3, 2, 301)])
    for n in (1.0, 7.3):
        f = kinked.relu()
        x = (u / n).to(device).requires_grad_()
        y = smooth(x, f, kernel, n, backend="triton")
        (slope,) = torch.autograd.grad(y.sum(), x)
        exact = x.detach().cpu().double().requires_grad_()
        want = smooth(exact, f, kernel, float(torch.tensor(n)), backend="reference")
        (want_slope,) = torch.autograd.grad(want.sum(), exact)
        for got, true in ((y, want), (slope, want_slope)):
            true = true.detach()
            error = ((got.detach().cpu().double() - true).abs() / true.abs())[true.abs() > 1e-30]
            assert float(error.max()) <= digits
    x = torch.linspace(-11, 12, 1201, device=device)
    got = smooth(x, kinked.PiecewiseLinear(knots=[0.37], steps=[1.0]), kernel, 1.0, backend="triton").cpu().double()
    knot = float(torch.tensor(0.37))
    true = smooth(x.cpu().double(), kinked.PiecewiseLinear(knots=[knot], steps=[1.0]), kernel, 1.0, backend="reference")
    assert float(((got - true).abs() / true)[true > 1e-30].max()) <= digits


@pytest.mark.parametrize("kernel", MOMENTS)
def test_float32_beside_the_textbook_formula(kernel: str, device: torch.device) -> None:
    """In float32 ReLU * kernel is at most twice as far from the truth as u·cdf(u) + tail(u) is."""
    u = torch.cat([torch.linspace(-6, 6, 2001), torch.linspace(-1, 1, 2001)])
    k = KERNELS[kernel]
    want = k.ramp(u.double())
    theirs = _relative(u * k.cdf(u) + k.tail(u), want)
    ours = _relative(smooth(u.to(device), kinked.relu(), kernel, 1.0, backend="triton"), want)
    assert ours <= 2 * theirs


@pytest.mark.parametrize("kernel", MOMENTS)
def test_half_precision_near_the_knot(kernel: str, device: torch.device) -> None:
    """Value and slope of ReLU * kernel in float16 are the rounded truth, but for the 2e-5 of shorter polynomials."""
    x = torch.linspace(-4, 4, 801).to(device, torch.float16).requires_grad_()
    y = smooth(x, kinked.relu(), kernel, 1.0, backend="triton")
    (slope,) = torch.autograd.grad(y.sum(), x)
    exact = x.detach().cpu().double().requires_grad_()
    want = smooth(exact, kinked.relu(), kernel, 1.0, backend="reference")
    (want_slope,) = torch.autograd.grad(want.sum(), exact)
    for got, true in ((y, want), (slope, want_slope)):
        true = true.detach()
        error = ((got.detach().cpu().double() - true).abs() / true)[true > 1e-3]  # far above the subnormal numbers
        assert float(error.max()) <= 2**-11 + 2e-5


@pytest.mark.parametrize("function", ENDS)
def test_gradients_of_parameters_at_the_ends(function: str, device: torch.device) -> None:
    check_the_ends(function, "triton", device)


@pytest.mark.parametrize("rtol", [1e-13, 2e-6])
@pytest.mark.parametrize("form", TAILS)
def test_alpha_keeps_its_digits_in_the_tail(form: str, rtol: float, device: torch.device) -> None:
    check_the_tail(form, "triton", device, rtol if rtol < 1e-6 else _digits(device))


P, THIRD, FIFTH = parameter(0), Affine(0.0, ((1, 1 / 3),)), Affine(0.0, ((0, 0.2),))  # p, q/3, p/5
SLOPES: dict[str, tuple[tuple[float, ...], tuple[Affine, ...], list[float]]] = {
    # knots, jumps after a slope of p, and at inf the derivatives by p and q
    "p, q/3": ((0.7,), (THIRD - P,), [0.7, INF]),
    "p, 6p/5 - q/3": ((0.7,), (FIFTH - THIRD,), [INF, -INF]),
    "p, q/3, p/5": ((-1.0, 1.0), (THIRD - P, FIFTH - THIRD), [INF, 2 / 3]),
}


@pytest.mark.parametrize("kernel", ["gaussian", "student", "sharp"])
@pytest.mark.parametrize("slopes", SLOPES)
def test_one_parameter_of_several_slopes(slopes: str, kernel: str, device: torch.device) -> None:
    knots, jumps, ends = SLOPES[slopes]
    none = (0.0,) * len(knots)
    terms = Terms(P, 0.0, knots, jumps, none, none, none)
    family = Family(terms, SHARP if kernel == "sharp" else KERNELS[kernel], 2.0)
    x = torch.tensor([-INF, -30.0, -1.3, -1.0, 0.4, 1.1, 30.0, INF], dtype=torch.float64)

    def gradients(backend: str, where: torch.device) -> list[Tensor]:
        """Give every element its own value of each parameter, so that nothing is added up."""
        given = [torch.full((len(x),), v, dtype=x.dtype, device=where, requires_grad=True) for v in (0.3, 0.9)]
        y = evaluate(x.to(where), family, given, dim=0, backend=backend)
        return [t.cpu() for t in torch.autograd.grad(y.sum(), given)]

    got, want = gradients("triton", device), gradients("reference", torch.device("cpu"))
    assert [float(t[0]) for t in got] == pytest.approx([-INF, 0], abs=1e-30)  # of a tail that only nears 0
    assert [float(t[-1]) for t in got] == pytest.approx(ends, rel=1e-15)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


def _laws(spec: str, num_parameters: int, device: torch.device, fast: bool) -> None:
    laws = check.laws(spec, num_parameters, device, fast)
    assert "one saved tensor" in laws
    assert "gradgradcheck" in laws


@pytest.mark.parametrize("spec", SPECS)
def test_laws(spec: str, device: torch.device) -> None:
    _laws(spec, 1, device, fast=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "num_parameters"), [*((spec, 3) for spec in SPECS), *((spec, n) for spec in MORE for n in (1, 3))]
)
def test_all_laws(spec: str, num_parameters: int, device: torch.device, thorough: bool) -> None:
    """Gradients along random directions: in the interpreter a call takes a tenth of a second, a Jacobian hundreds."""
    _laws(spec, num_parameters, device, fast=not thorough)
