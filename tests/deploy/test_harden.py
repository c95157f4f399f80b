"""``harden``: the bound is proven, tight where it says so, and obeyed."""

import dataclasses
import math

import pytest
import torch
from torch import nn

import bevel
from bevel._bound import error_bound
from bevel.deploy import fold, harden
from bevel.deploy._kinked import kinked
from bevel.family import Affine
from bevel.nn import Activation

GRID = torch.cat([torch.linspace(-9, 9, 20001, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])


def bound_of(module: Activation) -> float | None:
    terms, n = module.coefficients()
    return error_bound(terms, module.family.kernel, n)


def _activations() -> dict[str, Activation]:
    found: dict[str, Activation] = {
        f"sau {form} {alpha}": bevel.SAU(alpha=alpha, n=3.0, form=form)
        for form in ("published", "exact", "centred")
        for alpha in (0.15, -0.5, 1.4)
    }
    for kernel in bevel.KERNELS:
        if bevel.KERNELS[kernel].has_moment:
            found[f"smooth_frelu {kernel}"] = bevel.SmoothFReLU(positive=1.3, negative=-0.4, kernel=kernel, n=2.0)
    for f in ("relu6", "hardtanh", "absolute", "hard_sigmoid", "soft_shrink", "step"):
        found[f"mollified {f}"] = bevel.Mollified(1, f, "gaussian", n=4.0)
    found["mollified step cauchy"] = bevel.Mollified(1, "step", "cauchy", n=4.0)
    found["squareplus"] = bevel.nn.Squareplus()
    found["smelu"] = bevel.nn.SmeLU()
    gated = bevel.SAU(alpha=0.2, n=2.0, form="exact")
    gated.family = dataclasses.replace(
        gated.family, terms=dataclasses.replace(gated.family.terms, multiplies_cdf=True, c0=(0.0,))
    )
    found["gate"] = gated
    return found


@pytest.mark.parametrize("name", _activations())
def test_the_bound_holds_everywhere(name: str) -> None:
    module = _activations()[name]
    bound = bound_of(module)
    assert bound is not None
    soft, hard = module.double()(GRID).detach(), kinked(module).double()(GRID).detach()
    assert float((soft - hard).abs().max()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize(
    "name", ["sau published 0.15", "sau exact 0.15", "sau exact -0.5", "smooth_frelu box", "squareplus"]
)
def test_the_bound_is_reached_at_a_single_kink(name: str) -> None:
    module = _activations()[name]
    bound = bound_of(module)
    assert bound is not None
    error = float((module.double()(GRID) - kinked(module).double()(GRID)).detach().abs().max())
    assert error == pytest.approx(bound, rel=1e-6)


def test_saus_printed_form_has_its_own_bound() -> None:
    gap = 1 / math.sqrt(2 * math.pi)
    assert bound_of(bevel.SAU(alpha=0.15, n=20000)) == pytest.approx(gap / 20000, rel=1e-6)
    assert bound_of(bevel.SAU(alpha=0.15, n=20000, form="exact")) == pytest.approx(0.85 * gap / 20000, rel=1e-6)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (bevel.SAU(n=1e4), "LeakyReLU"),
        (bevel.SAU(alpha=0.0, n=1e4), "ReLU"),
        (bevel.SmoothFReLU(n=1e4), "LeakyReLU"),
        (bevel.SmoothFReLU(positive=0.9, n=1e4), "FReLU"),
        (bevel.Mollified(f="relu6", n=1e4), "ReLU6"),
        (bevel.Mollified(f="hardtanh", n=1e4), "Hardtanh"),
        (bevel.Mollified(f="hard_sigmoid", n=1e4, learn="jumps+n"), "Kinked"),
        (bevel.nn.Squareplus(b=1e-8), "ReLU"),
        (bevel.Mollified(f="hardswish", n=1e4, learn="n"), "Hardswish"),
        (bevel.Mollified(f="hard_sigmoid", n=1e4), "Hardsigmoid"),
        (bevel.Mollified(f="soft_shrink(0.25)", n=1e4), "Softshrink"),
        (bevel.Mollified(f="hard_shrink(0.25)", n=1e4), "Hardshrink"),
        (bevel.Mollified(f="threshold(1.0,-2.0)", n=1e4), "Threshold"),
        (bevel.Mollified(f="relu_squared", n=1e4), "ReLUSquared"),
        (bevel.Mollified(f="hardswish", n=1e4, learn="bends+n"), "Kinked"),
        (bevel.Mollified(f="absolute", n=1e4), "LeakyReLU"),
        (bevel.nn.Gate(n=1e4), "ReLU"),
        (bevel.nn.Gate(n=1e4, negative=0.2, kernel="logistic"), "LeakyReLU"),
        (bevel.nn.Gate(n=1e4, positive=1.5, negative=0.2, learn_slopes=True), "FReLU"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_the_plainest_module_takes_over(module: Activation, kind: str) -> None:
    x = torch.linspace(-8, 8, 999)
    jumps = any(s != 0 for s in module.coefficients()[0].steps)
    result = harden(module_in(module), 2.0 if jumps else 1e-3, x)
    (row,) = result.rows
    assert row.new == kind
    assert row.bound is not None
    assert result.change is not None
    assert result.change <= row.bound + 1e-6
    assert row.change == result.change  # the activation is the model
    torch.testing.assert_close(result.model(x), kinked_by_formula(module, x), rtol=1e-6, atol=1e-6)
    assert "log_n" not in dict(result.model.named_parameters())


def kinked_by_formula(module: Activation, x: torch.Tensor) -> torch.Tensor:
    """The engine's kinked function at the module's own coefficients."""
    terms, _ = module.coefficients()
    sharp = bevel.PiecewiseLinear.of(terms)
    return sharp(x.double()).float()


def test_what_changed_is_measured_at_each_site() -> None:
    """At the smooth model's own inputs, also where the activation stays; nothing is measured where nothing ran."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), bevel.nn.Gate(6, n=30.0), nn.Linear(6, 5), bevel.nn.Gate(n=2.0))
    model.add_module("swish", bevel.create("swish"))
    x = torch.randn(64, 4)
    result = harden(model, 0.01, x)
    assert [row.new for row in result.rows] == ["ReLU", None, None]
    inner = model[0](x)
    later = model[2](model[1](inner))
    want = [(model[i](at) - at.relu()).detach().abs().max().item() for i, at in ((1, inner), (3, later))]
    assert [row.change for row in result.rows] == [*map(pytest.approx, want), None]
    assert all(r.change <= r.bound for r in result.rows[:2] if r.change is not None and r.bound is not None)
    assert all(row.change is None for row in harden(model, 0.01).rows)
    assert "measured" in str(result)


def module_in(module: nn.Module) -> nn.Module:
    return nn.Sequential(module)


def test_per_channel_slopes() -> None:
    for dim, kind in ((1, "PReLU"), (-1, "FReLU")):
        module = bevel.SAU(3, n=1e4, dim=dim)
        with torch.no_grad():
            module.alpha.copy_(torch.tensor([0.1, -0.2, 0.3]))
        x = torch.randn(5, 3, 3)
        result = harden(nn.Sequential(module), 1e-3, x)
        assert result.rows[0].new == kind
        torch.testing.assert_close(result.model(x), module(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("alpha", [0.1, 0.3, -0.7, 1.3])
def test_a_right_slope_of_one_is_one_exactly(alpha: float) -> None:
    """α + (1 − α) is not 1 in float64: an FReLU with positive slope 1 stayed where a Leaky ReLU does."""
    for channels, kind in ((1, "LeakyReLU"), (3, "PReLU")):
        module = bevel.SAU(channels, alpha=alpha, n=1e6)
        with torch.no_grad():
            module.alpha.add_(torch.arange(channels) * 0.37)
        result = harden(nn.Sequential(module), 1e-3)
        assert result.rows[0].new == kind


def test_what_exceeds_the_tolerance_stays() -> None:
    model = nn.Sequential(bevel.SAU(n=10.0), bevel.SAU(n=1000.0), bevel.create("swish"), bevel.FReLU(), nn.ReLU())
    result = harden(model, 1e-3)
    assert [(r.name, r.new) for r in result.rows] == [("0", None), ("1", "LeakyReLU"), ("2", None)]
    assert [r.bound is None for r in result.rows] == [False, False, True]
    assert "exceeds 0.001" in result.rows[0].reason
    assert "no kinked function" in result.rows[2].reason
    assert result.change is None
    assert isinstance(model[1], bevel.SAU), "the given model was changed"
    assert "not measured" in str(result)
    assert harden(model, 1e-3, inplace=True).model is model
    assert isinstance(model[1], nn.LeakyReLU)


def test_no_bound_for_a_centred_form_of_another_kernel() -> None:
    module = bevel.SAU(n=10.0, form="centred")
    module.family = dataclasses.replace(module.family, kernel=bevel.KERNELS["student"])  # its tail has no end
    assert bound_of(module) is None
    assert "no bound is proven" in harden(nn.Sequential(module), 10.0).rows[0].reason


def test_learnt_knots_move_along() -> None:
    module = bevel.Mollified(2, "hard_sigmoid", n=1e3, learn="knots+n")
    hard = kinked(module)
    assert isinstance(hard, Activation)
    assert hard.arguments == ("knots_0", "knots_1")
    assert isinstance(hard.family.terms.knots[1], Affine)
    x = torch.randn(4, 2)
    torch.testing.assert_close(hard(x), module(x), atol=2e-4, rtol=0)


def test_harden_then_fold() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), bevel.SmoothFReLU(3, positive=1.7, negative=0.1, n=1e6)).eval()
    x = torch.randn(16, 4)
    result = fold(harden(model, 1e-5).model, x)
    assert result.rows[0].new == "LeakyReLU"
    torch.testing.assert_close(result.model(x), model(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tolerance", [-1e-3, math.inf, math.nan, "1e-3", True])
def test_a_bad_tolerance_is_refused(tolerance: float) -> None:
    with pytest.raises(bevel.InvalidValue, match="tolerance must be finite and >= 0"):
        harden(nn.Sequential(bevel.SAU()), tolerance)


def test_an_example_may_be_keywords() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = bevel.SAU(n=1e3)

        def forward(self, *, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": self.act(x)}

    result = harden(Model(), 1e-2, kwargs={"x": torch.zeros(3)})
    assert result.change == pytest.approx(0.398942 / 1e3, rel=1e-4)
