"""``error_bound``: it holds for every kernel, function and sharpness, and is attained where its proof says so."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import bevel
from bevel import kinked
from bevel._bound import error_bound, largest_lag, largest_moment
from bevel.formulas import Formulas
from bevel.kernel import SHARP, Kernel
from bevel.kinked import PiecewiseLinear
from bevel.terms import Coefficient, Terms, as_numbers

KERNELS: dict[str, Kernel] = {name: bevel.KERNELS[name] for name in bevel.KERNELS if bevel.KERNELS[name].has_moment}
KERNELS["two bumps"] = bevel.tabulated(lambda u: u**2 * (1 - u**2) ** 2, 1.0, name="two bumps")  # not unimodal
TIGHT = 2e-6  # what the bound may lie above what is attained, relatively


def largest_distance(terms: Terms[Coefficient], kernel: Kernel, n: float) -> float:
    """The largest |smoothed − kinked| on a grid that is dense in widths around every knot, by brute force."""
    v = torch.cat([torch.linspace(0, 6, 20001), torch.logspace(0.8, 3, 500), torch.logspace(-12, -3, 60)]).double()
    u = torch.cat([-v, v])
    x = torch.cat([float(knot) + u / n for knot in terms.knots] or [u])
    none = (0.0,) * len(terms.knots)
    sharp = dataclasses.replace(terms, c0=none, c1=none, multiplies_cdf=False)
    off = Formulas(x, terms, kernel, n).value() - Formulas(x, sharp, SHARP, 1.0).value()
    return float(off.abs().max())


def one_knot(
    jump: float = 0.0, step: float = 0.0, c0: float = 0.0, c1: float = 0.0, **more: bool
) -> Terms[Coefficient]:
    return Terms(0.3, 0.1, (0.0,), (jump,), (step,), (c0,), (c1,), **more)


numbers = st.floats(-3, 3, allow_nan=False).map(lambda v: round(v, 3))
knots = st.lists(st.integers(-40, 40), min_size=0, max_size=4, unique=True).map(lambda k: [i / 8 for i in sorted(k)])


@st.composite
def all_terms(draw: st.DrawFn) -> Terms[Coefficient]:
    places = draw(knots)
    groups = [tuple(draw(numbers) for _ in places) for _ in range(4)]
    jumps, steps, c0, c1 = (g if draw(st.booleans()) else (0.0,) * len(places) for g in groups)
    curve = (draw(numbers), *(draw(numbers) for _ in places)) if draw(st.booleans()) else ()
    return Terms(draw(numbers), draw(numbers), tuple(places), jumps, steps, c0, c1, draw(st.booleans()), curve)


@settings(max_examples=300)
@given(terms=all_terms(), kernel=st.sampled_from(sorted(KERNELS)), n=st.sampled_from([0.05, 0.7, 3.0, 50.0, 2e4]))
def test_it_holds(terms: Terms[Coefficient], kernel: str, n: float) -> None:
    if terms.curve and KERNELS[kernel].variance == math.inf:
        terms = dataclasses.replace(terms, curve=())
    bound = error_bound(terms, KERNELS[kernel], n)
    if bound is None:
        assert any(terms.c1)
        assert KERNELS[kernel].reach == math.inf
        return
    far = 10 + 1e3 / (n if terms.knots else 1.0)
    size = 1 + max((abs(float(v)) for v in terms.flat()), default=0.0) * far * (far if terms.curve else 1.0)
    assert largest_distance(terms, KERNELS[kernel], n) <= bound + 1e-14 * size


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", kinked.FUNCTIONS)
def test_it_holds_for_every_named_function(name: str, kernel: str) -> None:
    for n in (0.3, 5.0, 400.0):
        f = kinked.FUNCTIONS[name]()
        if f.has_bends and KERNELS[kernel].variance == math.inf:
            continue
        smooth = bevel.mollify(f, kernel if kernel in bevel.KERNELS else KERNELS[kernel], n)
        assert largest_distance(f.terms, KERNELS[kernel], n) <= smooth.max_error + (1e-8 if f.has_bends else 1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "terms",
    [
        one_knot(jump=0.85),
        one_knot(jump=-2.0),
        one_knot(jump=0.85, c0=0.15),
        one_knot(jump=-0.4, c0=-1.1),
        one_knot(c0=0.7),
        one_knot(step=-3.0),
        one_knot(jump=0.85, multiplies_cdf=True),
        one_knot(c0=-0.2, multiplies_cdf=True),
    ],
    ids=str,
)
def test_it_is_attained_where_the_proof_says_so(terms: Terms[Coefficient], kernel: str) -> None:
    for n in (0.5, 4.0):
        bound = error_bound(terms, KERNELS[kernel], n)
        assert bound is not None
        assert largest_distance(terms, KERNELS[kernel], n) >= bound * (1 - TIGHT)


def test_saus_three_forms() -> None:
    """α in [0, 1]: the printed form's two parts add up to the gap; the centred one is off by less than half of that."""
    gap = 1 / math.sqrt(2 * math.pi)

    def bound(form: str) -> float:
        module = bevel.SAU(n=50, form=form)
        terms, n = module.coefficients()
        found = error_bound(terms, module.family.kernel, n)
        assert found is not None
        assert largest_distance(terms, module.family.kernel, 50.0) <= found
        return found

    assert bound("published") == pytest.approx(gap / 50, rel=1e-7)
    assert bound("exact") == pytest.approx(0.85 * gap / 50, rel=1e-7)
    lag = 0.16997120747990369  # the largest v·Q(v), at v = 0.7517915 (where Q = v·φ), by 50 digits
    bell = math.exp(-0.5) / math.sqrt(2 * math.pi)  # the largest v·φ(v)
    assert bound("centred") == pytest.approx(0.85 * lag / 50 + bell / 2500, rel=2e-6)


def test_the_largest_products_against_closed_forms() -> None:
    gaussian, laplace, box = (bevel.KERNELS[k] for k in ("gaussian", "laplace", "box"))
    assert largest_lag(laplace) == pytest.approx(math.exp(-1) / 2, rel=2e-6)  # v·e^{-v}/2 at v = 1
    assert largest_lag(box) == pytest.approx(1 / 8, rel=2e-6)  # v(1−v)/2 at v = ½
    assert largest_moment(box) == pytest.approx(math.sqrt(1 / 3) / 6, rel=2e-6)  # v(1−v²)/4 at v = 1/√3
    assert largest_moment(gaussian) == pytest.approx(math.exp(-0.5) / math.sqrt(2 * math.pi), rel=2e-6)
    assert largest_lag(bevel.KERNELS["student"]) == pytest.approx(_student_lag(), rel=2e-6)


def _student_lag() -> float:
    v = torch.linspace(0.3, 3, 1_000_001, dtype=torch.float64)
    return float((v * (1 - v / torch.sqrt(1 + v * v)) / 2).max())


@pytest.mark.parametrize("kernel", [k for k in KERNELS if KERNELS[k].variance != math.inf])
def test_of_bends(kernel: str) -> None:
    """One bend attains its bound far right; bends that cancel are bounded by the largest second derivative of f."""
    variance = KERNELS[kernel].variance
    assert variance is not None
    one = PiecewiseLinear(knots=(0.0,), bends=(2.0,)).terms
    bound = error_bound(one, KERNELS[kernel], 4.0)
    assert bound == pytest.approx(variance / 16)
    assert largest_distance(one, KERNELS[kernel], 4.0) >= bound * (1 - TIGHT)
    gap = KERNELS[kernel].gap
    hardswish = error_bound(kinked.hardswish().terms, KERNELS[kernel], 4.0)
    assert hardswish == pytest.approx(gap / 4 + variance / 3 / 2 / 16)
    crossed = PiecewiseLinear(
        knots=(torch.tensor([3.0, -3.0]), torch.tensor([-3.0, 3.0])), bends=(1.0, torch.tensor([-1.0, 2.0]))
    )
    assert error_bound(crossed.terms, KERNELS[kernel], 1.0) == pytest.approx(0.5 * variance * 3)


def test_channels_are_bounded_one_by_one() -> None:
    """The largest jump and the smallest n need not be one channel's."""
    jump, n = torch.tensor([1.0, 0.2]), torch.tensor([100.0, 1.0])
    f = PiecewiseLinear(knots=(0.0,), jumps=(jump,))
    box = bevel.KERNELS["box"]
    assert error_bound(f.terms, box, n) == pytest.approx(0.2 * 0.25, rel=1e-7)
    assert bevel.mollify(f, "box", n).max_error == error_bound(f.terms, box, n)


def test_without_a_bound_and_without_a_number() -> None:
    tilted = one_knot(c1=1.0, multiplies_cdf=True)
    assert error_bound(tilted, bevel.KERNELS["student"], 2.0) is None
    assert error_bound(tilted, bevel.KERNELS["logistic"], 2.0) is not None
    unknown = PiecewiseLinear(knots=(0.0,), jumps=(torch.tensor([math.nan]),)).terms
    assert error_bound(unknown, bevel.KERNELS["box"], 1.0) == math.inf


def test_what_is_not_smoothed_is_off_by_nothing() -> None:
    assert error_bound(kinked.relu().terms, SHARP, 1.0) == 0
    assert error_bound(kinked.step().terms, SHARP, 1.0) == 0
    assert error_bound(PiecewiseLinear(left=2.0).terms, bevel.KERNELS["cauchy"], 1.0) == 0
    assert error_bound(kinked.step().terms, bevel.KERNELS["cauchy"], 1.0) == 0.5


def test_every_caller_states_the_same_bound() -> None:
    from bevel_lab.training.shape import bound as shown

    for form in ("published", "exact", "centred"):
        terms, n = bevel.SAU(n=50, form=form).coefficients()
        stated = error_bound(terms, bevel.KERNELS["gaussian"], n)
        assert stated is not None
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LeakyReLU(0.15))
        (site,) = bevel.swap(model, f"sau:n=50,form={form}", torch.randn(3, 2)).sites
        assert site.bound == pytest.approx(stated, rel=1e-6)  # α from float32
        (row,) = bevel.harden(torch.nn.Sequential(bevel.SAU(n=50, form=form)), 1.0).rows
        assert row.bound == stated
        assert f"{stated:.4g} from its kinked function (proven" in shown(bevel.SAU(n=50, form=form))


def test_it_needs_no_device() -> None:
    largest_lag.cache_clear()
    with torch.device("meta"):
        assert error_bound(one_knot(jump=1.0, multiplies_cdf=True), bevel.KERNELS["gaussian"], 1.0)


def test_numbers_of_a_coefficient() -> None:
    assert as_numbers(2.0).tolist() == [2.0]
    values: Tensor = as_numbers(torch.tensor([0.5, 1.5], dtype=torch.bfloat16, requires_grad=True))
    assert values.dtype == torch.float64
    assert not values.requires_grad
