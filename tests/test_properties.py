"""Laws that hold for random kinked functions and every kernel."""

import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bevel
from bevel import PiecewiseLinear, mollify, smooth
from bevel.family import Family
from bevel.kernel import SHARP
from bevel.ops import evaluate, using

KERNELS = st.sampled_from([k for k in bevel.KERNELS if k != "cauchy"])
CODED = st.sampled_from([k for k, it in bevel.KERNELS.items() if it.has_moment and it.native > 0])
COMPACT = st.sampled_from([k for k in bevel.KERNELS if bevel.KERNELS[k].compact])
BACKENDS = [name for name, reason in bevel.backends().items() if reason is None and name != "triton"]
SHARPNESS = st.floats(0.2, 200.0)
NUMBER = st.floats(-3.0, 3.0)


@st.composite
def functions(draw: st.DrawFn, rising: bool = False, steps: bool = True) -> PiecewiseLinear:
    """Draw a kinked function with one to four knots at least 0.05 apart; ``rising``: slopes and steps >= 0."""
    count = draw(st.integers(1, 4))
    gaps = draw(st.lists(st.floats(0.05, 2.0), min_size=count, max_size=count))
    knots = [sum(gaps[: i + 1]) - 3.0 for i in range(count)]
    if rising:
        slopes = draw(st.lists(st.floats(0.0, 3.0), min_size=count + 1, max_size=count + 1))
        heights = draw(st.lists(st.floats(0.0, 3.0), min_size=count, max_size=count))
    else:
        slopes = draw(st.lists(NUMBER, min_size=count + 1, max_size=count + 1))
        heights = draw(st.lists(NUMBER, min_size=count, max_size=count))
    jumps = [b - a for a, b in itertools.pairwise(slopes)]
    return PiecewiseLinear(slopes[0], draw(NUMBER), knots, jumps, heights if steps else None)


def _points(f: PiecewiseLinear, n: float) -> torch.Tensor:
    around = torch.linspace(-3, 3, 61, dtype=torch.float64) / n
    near = [around + float(k) for k in f.knots]
    return torch.cat([torch.linspace(-8, 8, 161, dtype=torch.float64), *near]).sort().values


def _rounding(f: PiecewiseLinear, x: torch.Tensor) -> float:
    return 1e-13 * (1 + float(f(x).abs().max()))


@settings(max_examples=150)
@given(functions(), KERNELS, SHARPNESS)
def test_the_bound_holds(f: PiecewiseLinear, kernel: str, n: float) -> None:
    x = _points(f, n)
    smoothed = mollify(f, kernel, n)
    assert float((smoothed(x) - f(x)).abs().max()) <= smoothed.max_error + _rounding(f, x)


@settings(max_examples=150)
@given(functions(rising=True), KERNELS, SHARPNESS)
def test_smoothing_keeps_monotone(f: PiecewiseLinear, kernel: str, n: float) -> None:
    x = _points(f, n)
    y = mollify(f, kernel, n)
    assert float(y(x).diff().min()) >= -_rounding(f, x)
    assert float(y.slope(x).min()) >= -1e-12 * n


@settings(max_examples=150)
@given(functions(), COMPACT, SHARPNESS)
def test_affine_outside_a_compact_support(f: PiecewiseLinear, kernel: str, n: float) -> None:
    """Each backend gives what it gives for f itself, bit for bit; the formulas give what ``f(x)`` does."""
    x = _points(f, n)
    outside = torch.stack([(x - float(k)).abs() * n >= 1 + 1e-9 for k in f.knots]).all(0)
    for backend in BACKENDS:
        line = f(x) if backend == "reference" else evaluate(x, Family(f.terms, SHARP, 1.0), [], backend=backend)
        with using(backend):
            assert torch.equal(mollify(f, kernel, n)(x)[outside], line[outside])


@settings(max_examples=100)
@given(functions(steps=False), KERNELS)
def test_width_to_zero(f: PiecewiseLinear, kernel: str) -> None:
    """The error falls as 1/n, down to rounding."""
    x = _points(f, 1.0)
    coarse = mollify(f, kernel, 1e3).max_error
    fine = float((mollify(f, kernel, 1e9)(x) - f(x)).abs().max())
    assert fine <= coarse * 1e-6 + _rounding(f, x)


@settings(max_examples=150)
@given(functions(), KERNELS, SHARPNESS, st.floats(0.1, 0.9))
def test_splitting_a_knot_changes_nothing(f: PiecewiseLinear, kernel: str, n: float, share: float) -> None:
    """A knot may be two at the same place (tensors may coincide) that share its jump and its step."""
    k, *rest = range(len(f.knots))
    tensor = [torch.tensor([float(f.knots[k])], dtype=torch.float64)] * 2
    split = PiecewiseLinear(
        f.left,
        f.offset,
        [*tensor, *(f.knots[i] for i in rest)],
        [f.jumps[k] * share, f.jumps[k] * (1 - share), *(f.jumps[i] for i in rest)],
        [f.steps[k] * share, f.steps[k] * (1 - share), *(f.steps[i] for i in rest)],
    )
    x = _points(f, n)
    got, want = (smooth(x, g, kernel, n, backend="reference") for g in (split, f))
    assert float((got - want).abs().max()) <= 10 * _rounding(f, x)


@settings(max_examples=60)
@given(functions(), CODED, st.floats(0.2, 5.0), st.sampled_from(BACKENDS))
@example(PiecewiseLinear(0.0, 0.0, (-2.0,), (0.0,), (1.0,)), "box", 0.75, BACKENDS[-1])
def test_slope_is_the_gradient(f: PiecewiseLinear, kernel: str, n: float, backend: str) -> None:
    x = _points(f, n)
    for knot in f.knots if kernel == "box" else ():  # where a density jumps there are two slopes; rounding takes one
        x = x[((x - float(knot)).abs() - 1 / n).abs() > 1e-12]
    x.requires_grad_()
    (slope,) = torch.autograd.grad(smooth(x, f, kernel, n, backend=backend).sum(), x)
    torch.testing.assert_close(slope, mollify(f, kernel, n).slope(x.detach()))


@settings(max_examples=200)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_sharpness_is_finite_and_positive(n: float) -> None:
    smallest = torch.finfo(torch.float32).tiny
    if smallest <= n <= 1 / smallest:
        assert mollify(bevel.kinked.relu(), "box", n).max_error == pytest.approx(0.25 / n)
    else:
        with pytest.raises(bevel.InvalidValue, match=r"finite and > 0|must fit float32"):
            mollify(bevel.kinked.relu(), "box", n)
