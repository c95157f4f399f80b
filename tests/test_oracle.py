"""High-precision rows (tests/oracle): float64 agrees to 1e-13, float32 as well as torch's own functions do."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import bevel
from bevel import KERNELS, kinked
from bevel.functional import sau
from bevel_lab.bench.gpu.check import BENT

ORACLE = Path(__file__).parent / "oracle"
SAU = json.loads((ORACLE / "sau.json").read_text())
SMOOTHING = json.loads((ORACLE / "smoothing.json").read_text())
BENDS = json.loads((ORACLE / "bends.json").read_text())
NAMES = {"abs": "absolute", "softshrink": "soft_shrink"}
SMOOTH = [k for k in KERNELS if KERNELS[k].has_moment and KERNELS[k].native > 0]  # the others: laws/test_kernels.py
BACKENDS = [name for name, reason in bevel.backends().items() if reason is None and name != "triton"]
INVERSE_ROOT = 1 / math.sqrt(2 * math.pi)


def _column(rows: list[dict[str, Any]], key: str, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([float(r[key]) for r in rows], dtype=torch.float64).to(dtype)


def _relative(got: Tensor, want: Tensor) -> float:
    return float(((got.detach().double() - want).abs() / want.abs().clamp(min=1)).max())


def _dn_terms(form: str, alpha: Tensor, n: Tensor, x: Tensor) -> Tensor:
    """Return the sum of the magnitudes of ∂/∂n's terms; where these cancel no float64 formula has relative accuracy."""
    e = torch.exp(-((n * x) ** 2) / 2) * INVERSE_ROOT
    if form == "published":
        return 2 * e * (1 / (2 * n**2) + alpha.abs() * x**2 / 2)
    if form == "exact":
        return (1 - alpha).abs() * e / n**2
    return e * ((1 - alpha).abs() * x**2 + x.abs() / n**2 + x.abs() ** 3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["published", "exact", "centred"])
def test_sau_rows(form: str, backend: str) -> None:
    rows = [r for r in SAU if r["form"] == form]
    assert len(rows) >= 90
    x, alpha, n = (_column(rows, k).requires_grad_() for k in ("x", "alpha", "n"))
    y = sau(x, alpha, n, form, dim=0, backend=backend)
    dx, dalpha, dn = torch.autograd.grad(y.sum(), (x, alpha, n))
    assert _relative(y, _column(rows, "value")) <= 1e-13
    assert _relative(dx, _column(rows, "dx")) <= 1e-13
    assert _relative(dalpha, _column(rows, "dalpha")) <= 1e-13
    # One ulp of n·x is (n·x)² ulp of the exponential; 1e-60 is where the rows themselves end.
    allowed = 1e-15 * (2 + (n * x).detach() ** 2) * _dn_terms(form, alpha.detach(), n.detach(), x.detach()) + 1e-60
    assert bool(((dn - _column(rows, "dn")).abs() <= allowed).all())
    one = torch.ones_like(x)
    with torch.no_grad(), forward_ad.dual_level():  # the derivative along each, by the second pass
        for i, name in enumerate(("dx", "dalpha")):
            duals = [
                forward_ad.make_dual(t.detach(), one) if i == j else t.detach() for j, t in enumerate((x, alpha, n))
            ]
            tangent = forward_ad.unpack_dual(sau(*duals, form, dim=0, backend=backend)).tangent
            assert _relative(tangent, _column(rows, name)) <= 1e-13


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel", SMOOTH)
def test_smoothing_rows(kernel: str, backend: str) -> None:
    rows = [r for r in SMOOTHING if r["kernel"] == kernel]
    assert len(rows) >= 30
    for row in rows:
        f = kinked.FUNCTIONS[NAMES.get(row["function"], row["function"])](**row["args"])
        x = torch.tensor([float(row["x"])], dtype=torch.float64, requires_grad=True)
        y = bevel.smooth(x, f, kernel, float(row["n"]), backend=backend)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert _relative(y, _column([row], "value")) <= 1e-13, row
        assert _relative(slope, _column([row], "slope")) <= 1e-13, row
        with bevel.ops.using(backend):
            assert _relative(bevel.mollify(f, kernel, float(row["n"])).slope(x), _column([row], "slope")) <= 1e-13, row


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel", [k for k in SMOOTH if KERNELS[k].variance != math.inf])
def test_rows_of_bends(kernel: str, backend: str) -> None:
    rows = [r for r in BENDS if r["kernel"] == kernel]
    assert len(rows) == 24
    for row in rows:
        f = BENT[row["function"]]
        x, n = (_column([row], key).requires_grad_() for key in ("x", "n"))
        y = bevel.smooth(x, f, kernel, n, backend=backend)
        slope, dn = torch.autograd.grad(y.sum(), (x, n), create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), x)
        assert _relative(bevel.mollify(f, kernel, n).curvature(x), _column([row], "curvature")) <= 1e-13, row
        for got, key in ((y, "value"), (slope, "slope"), (curvature, "curvature"), (dn, "dn")):
            want = _column([row], key)
            assert _relative(got, want) <= 1e-13, (key, row)
            if row["function"] == "relu_squared" and float(row["x"]) < 0:  # the tail: nothing to cancel with
                assert abs(float(got.detach() / want) - 1) <= 2e-13, (key, row)


def test_smoothing_covers_every_row() -> None:
    assert {r["kernel"] for r in SMOOTHING} == set(SMOOTH)


def _textbook(form: str, alpha: Tensor, n: Tensor, x: Tensor) -> list[Tensor]:
    """Return the paper's printed formula and its derivatives by x, α and n, by torch's functions in x's dtype."""
    u = n * x
    e = torch.exp(-u * u / 2) * INVERSE_ROOT
    erf = torch.erf(u / math.sqrt(2))
    line, slope = (1 + alpha) / 2 * x + (1 - alpha) / 2 * x * erf, (1 + alpha) / 2 + (1 - alpha) / 2 * erf
    dalpha = x / 2 - x / 2 * erf
    if form == "published":
        return [e / n + line, slope - alpha * u * e, dalpha, -2 * e * (1 / (2 * n * n) + alpha * x * x / 2)]
    if form == "exact":
        return [(1 - alpha) * e / n + line, slope, dalpha - e / n, -(1 - alpha) * e / (n * n)]
    dx = slope + e * (1 / n + (1 - alpha) * u - u * x)
    return [x * e / n + line, dx, dalpha, e * ((1 - alpha) * x * x - x / (n * n) - x * x * x)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_sau_rows_in_float32(backend: str) -> None:
    """Over the rows, value and every gradient are at most twice as far from the truth as the textbook's in float32."""
    worst: dict[str, list[float]] = {}
    for form in ("published", "exact", "centred"):
        rows = [r for r in SAU if r["form"] == form]
        x, alpha, n = (_column(rows, k, torch.float32).requires_grad_() for k in ("x", "alpha", "n"))
        y = sau(x, alpha, n, form, dim=0, backend=backend)
        ours = [y, *torch.autograd.grad(y.sum(), (x, alpha, n))]
        x, alpha, n = x.detach(), alpha.detach(), n.detach()
        theirs = _textbook(form, alpha, n, x)
        true = _textbook(form, alpha.double(), n.double(), x.double())  # at the rounded inputs
        names = (f"{form} value", "dx", "dalpha", "dn")  # the value's error is measured form by form
        for name, got, other, want in zip(names, ours, theirs, true, strict=True):
            most = worst.setdefault(name, [0.0, 0.0])
            most[:] = max(most[0], _relative(got, want)), max(most[1], _relative(other, want))
    assert {name: errors for name, errors in worst.items() if errors[0] > 2 * errors[1]} == {}


def _mollified(f: kinked.PiecewiseLinear, kernel: str, n: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return value and slope as the textbook writes them, with u·cdf(u) + tail(u) for a ramp, in x's dtype."""
    k, w = KERNELS[kernel], 1 / n
    value, slope = f.left * x + f.offset, f.left + torch.zeros_like(x)
    for knot, jump, step in zip(f.knots, f.jumps, f.steps, strict=True):
        u = (x - knot) * n
        value = value + jump * w * (u * k.cdf(u) + k.tail(u) if jump else 0.0) + step * k.cdf(u)
        slope = slope + jump * k.cdf(u) + step * n * k.pdf(u)
    return value, slope


def _single(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_smoothing_rows_in_float32(backend: str) -> None:
    """Over the rows, value and slope are at most twice as far from the truth as the textbook's in float32."""
    errors: list[list[float]] = [[], [], [], []]
    for row in SMOOTHING:
        given = kinked.FUNCTIONS[NAMES.get(row["function"], row["function"])](**row["args"])
        groups = [[_single(c) for c in group] for group in (given.knots, given.jumps, given.steps)]
        f = kinked.PiecewiseLinear(_single(given.left), _single(given.offset), *groups)  # rounded as the backend does
        kernel, n = row["kernel"], _single(float(row["n"]))
        x = torch.tensor([float(row["x"])], requires_grad=True)
        y = bevel.smooth(x, f, kernel, n, backend=backend)
        (slope,) = torch.autograd.grad(y.sum(), x)
        x = x.detach()
        theirs, their_slope = _mollified(f, kernel, n, x)
        true = bevel.mollify(f, kernel, n)
        want, want_slope = true(x.double()), true.slope(x.double())  # the rows hold these to 1e-13
        found = ((y, want), (theirs, want), (slope, want_slope), (their_slope, want_slope))
        for kept, (got, exact) in zip(errors, found, strict=True):
            kept.append(_relative(got, exact))
    ours, theirs_, our_slopes, their_slopes = map(max, errors)
    assert ours <= 2 * theirs_
    assert our_slopes <= 2 * their_slopes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kernel", SMOOTH)
def test_smoothing_float32_beside_the_textbook_formula(kernel: str, backend: str) -> None:
    """In float32 ReLU * kernel is at most twice as far from the truth as u·cdf(u) + tail(u) is."""
    u = torch.cat([torch.linspace(-6, 6, 4001), torch.linspace(-1, 1, 4001)])
    k = KERNELS[kernel]
    want = k.ramp(u.double())
    theirs = _relative(u * k.cdf(u) + k.tail(u), want)
    ours = _relative(bevel.smooth(u, kinked.relu(), kernel, 1.0, backend=backend), want)
    assert ours <= 2 * theirs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["published", "exact", "centred"])
def test_half_precision_at_the_papers_sharpness(form: str, dtype: torch.dtype) -> None:
    """n²x² overflows half precision here, so that the printed formula gives inf·0; bevel is within one rounding."""
    x = torch.linspace(-3, 3, 2001).to(dtype).requires_grad_()
    alpha = torch.tensor([0.15], requires_grad=True)
    y = sau(x, alpha, 20000.0, form)
    dx, dalpha = torch.autograd.grad(y.sum(), (x, alpha))
    assert y.dtype == dx.dtype == dtype
    assert bool(y.isfinite().all() & dx.isfinite().all() & dalpha.isfinite().all())
    want = sau(x.detach().float(), 0.15, 20000.0, form)
    torch.testing.assert_close(y.detach(), want.to(dtype), rtol=0, atol=0)
