"""``harden(…, merge=…)``: one slope a side where the measured change of the output stays within the tolerance."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bevel
from bevel.deploy import Hardened, harden
from bevel.deploy._feeders import scale
from bevel.deploy._model import largest_change
from bevel.surgery._install import Edits

X = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(5))


class Residual(nn.Module):
    """Three activations: after a layer, on a sum that nothing can be folded into, and one that never runs."""

    def __init__(self, spec: str = "sau") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.Linear(6, 2)
        self.first, self.sum, self.idle = (bevel.create(spec, 6) for _ in range(3))
        for module, low, high in ((self.first, 0.1, 0.2), (self.sum, -0.5, 0.9), (self.idle, 0.0, 1.0)):
            with torch.no_grad():
                next(iter(module.parameters())).copy_(torch.linspace(low, high, 6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(self.one(x))
        return self.head(self.sum(self.two(h) + h).mean((2, 3)))


def _kinds(result: Hardened) -> list[str | None]:
    return [row.new for row in result.rows]


@pytest.mark.parametrize("spec", ["sau", "prelu"])
def test_the_sites_that_change_the_output_least_go_first(spec: str) -> None:
    model = Residual(spec).eval()
    kept = "PReLU" if spec == "sau" else None
    none, some, every = (harden(model, 1e-3, X, merge=m) for m in (0.0, 0.03, 10.0))
    assert _kinds(none) == [kept, kept, kept]
    assert _kinds(some) == ["LeakyReLU", kept, kept]
    assert _kinds(every) == ["LeakyReLU", "LeakyReLU", kept]
    for result, most in ((none, 0.0), (some, 0.03), (every, 10.0)):
        assert result.merged is not None
        assert result.change is not None
        assert result.merged <= most
        plain = harden(model, 1e-3)
        y = result.model(X)
        assert float((y - plain.model(X)).detach().abs().max()) == pytest.approx(result.merged, abs=1e-7)
        assert float((y - model(X)).detach().abs().max()) == pytest.approx(result.change, abs=1e-7)
    alone = [row.merged for row in some.rows]
    assert alone[0] is not None
    assert alone[1] is not None
    assert alone[0] < 0.03 < alone[1]
    assert "one slope a side would change the output by" in some.rows[1].reason
    assert "the example does not run it" in every.rows[2].reason
    assert "of it by one slope a site" in str(every)


def test_what_fits_alone_may_not_fit_together() -> None:
    model = Residual().eval()
    with torch.no_grad():
        model.sum.alpha.copy_(model.first.alpha)  # two of about the same size
    alone = [row.merged for row in harden(model, 1e-3, X, merge=10.0).rows[:2]]
    both = harden(model, 1e-3, X, merge=10.0).merged
    assert both is not None
    most = max(a for a in alone if a is not None)
    assert most < both
    result = harden(model, 1e-3, X, merge=(most + both) / 2)
    assert sorted(map(str, _kinds(result)[:2])) == ["LeakyReLU", "PReLU"]
    assert "would with the others change the output by" in " ".join(row.reason for row in result.rows)


def test_the_slope_is_the_least_squares_one() -> None:
    """Any other slope makes a larger squared change at the activation's own output."""
    act = nn.PReLU(4)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([0.1, 0.2, 0.4, -0.3]))
    x = torch.randn(64, 4, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0, 0.5, 2.0])[:, None]
    new = harden(nn.Sequential(act), 0.0, x, merge=10.0).model[0]
    assert isinstance(new, nn.LeakyReLU)

    def error(slope: float) -> float:
        return float((F.leaky_relu(x, slope).double() - act(x).detach().double()).square().sum())

    assert error(new.negative_slope) < min(error(new.negative_slope + d) for d in (-0.01, 0.01))


def test_frelu_keeps_a_right_slope_that_one_would_not_do_for() -> None:
    def model(right: list[float]) -> nn.Module:
        act = bevel.FReLU(2, negative=0.25)
        with torch.no_grad():
            act.positive.copy_(torch.tensor(right))
        return nn.Sequential(act)

    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    assert _kinds(harden(model([0.99, 1.01]), 0.0, x, merge=0.1)) == ["LeakyReLU"]
    result = harden(model([1.99, 2.01]), 0.0, x, merge=0.1)
    assert _kinds(result) == ["FReLU"]
    assert result.model[0].positive.item() == pytest.approx(2.0, abs=0.01)
    assert result.model[0].negative.item() == pytest.approx(0.25)
    assert _kinds(harden(model([0.5, 3.0]), 0.0, x, merge=0.1)) == [None]


def test_fold_then_merge_leaves_leaky_relu_everywhere_else() -> None:
    model = Residual("frelu").eval()
    with torch.no_grad():
        model.sum.positive.fill_(1.0)
        model.first.positive.copy_(torch.linspace(0.5, 2.0, 6))
        model.sum.negative.copy_(torch.linspace(0.05, 0.1, 6))
    del model.idle
    folded = bevel.fold(model, X)
    result = harden(folded.model, 0.0, X, merge=1.0)
    assert {row.name: row.new for row in result.rows} == {"first": "LeakyReLU", "sum": "LeakyReLU"}
    assert result.merged == result.change


def test_functions_in_a_scope_are_merged_like_modules() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.act, self.two = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.two(self.act(self.one(x))))

    torch.manual_seed(0)
    model = Net().eval()
    bevel.swap(model, "frelu", X)
    with torch.no_grad():
        for name, p in bevel.training.activation_parameters(model).items():
            if name.endswith("negative"):
                p.copy_(torch.linspace(0.1, 0.3, p.numel()))
    want = copy.deepcopy(model.state_dict())
    result = harden(model, 0.0, X, merge=10.0)
    assert _kinds(result) == ["LeakyReLU", "LeakyReLU"]
    assert float((result.model(X) - model(X)).detach().abs().max()) == pytest.approx(result.change, abs=1e-7)
    assert all(torch.equal(value, want[key]) for key, value in model.state_dict().items())


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ([-INF, 1.0], [-INF, 3.0], 2.0),
        ([INF, NAN, 1.0], [INF, NAN, 1.0], 0.0),
        ([0.0, 1.0], [NAN, 1.0], INF),
        ([NAN, 1.0], [0.0, 1.0], INF),
        ([INF], [-INF], INF),
        ([INF], [0.0], INF),
        ([1e300], [-1e300], 2e300),
    ],
)
def test_infinities_and_nan_that_stay_are_no_change(before: list[float], after: list[float], change: float) -> None:
    first, second = (torch.tensor(values, dtype=torch.float64) for values in (before, after))
    assert largest_change((torch.zeros(2), first), (torch.zeros(2), second)) == change


class Called(nn.Module):
    """An activation with a slope a channel, called by the name of its argument, and masked logits."""

    def __init__(self, spec: str) -> None:
        super().__init__()
        self.act = bevel.create(spec, 4)
        with torch.no_grad():
            next(iter(self.act.parameters())).copy_(torch.linspace(0.1, 0.4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(input=x).masked_fill(x > 2, -INF)


@pytest.mark.parametrize("spec", ["sau", "prelu", "frelu"])
def test_masked_logits_and_a_named_argument(spec: str) -> None:
    model, x = Called(spec), torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    assert bool(model(x).isinf().any())
    kept, merged = (harden(model, 1e-3, x, merge=m) for m in (0.0, 10.0))
    assert _kinds(kept) == ["PReLU" if spec == "sau" else None]
    assert _kinds(merged) == ["LeakyReLU"]
    for result in (kept, merged):
        finite = x <= 2
        change = (result.model(x) - model(x))[finite].detach().abs().max()
        assert float(change) == pytest.approx(result.change, abs=1e-7)
    assert kept.merged == 0.0
    assert merged.merged is not None
    assert merged.merged > 0.05


def test_the_users_hooks_see_the_merged_slope() -> None:
    """A hook stays with the site, so that what it makes of the output belongs to the change."""
    act = nn.PReLU(4)
    with torch.no_grad():
        act.weight.copy_(torch.linspace(0.1, 0.4, 4))
    model, x = nn.Sequential(act), torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    act.register_forward_hook(lambda module, args, output: 100 * output)
    result = harden(model, 0.0, x, merge=1000.0)
    assert _kinds(result) == ["LeakyReLU"]
    change = float((result.model(x) - model(x)).detach().abs().max())
    assert result.merged == result.change == pytest.approx(change)
    assert _kinds(harden(model, 0.0, x, merge=change / 2)) == [None]


def test_a_hook_is_no_part_of_a_sites_change() -> None:
    model, x = nn.Sequential(bevel.SAU(4, n=10.0)), torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    plain = harden(model, 1.0, x).rows[0]
    model[0].register_forward_hook(lambda module, args, output: 100 * output)
    hooked = harden(model, 1.0, x).rows[0]
    assert hooked.change == plain.change
    assert plain.bound is not None
    assert plain.change is not None
    assert 0 < plain.change <= plain.bound


class NoDoubles(Tensor):
    """A tensor on a device without float64, as Apple's GPUs are."""

    device = torch.device("mps")  # type: ignore[assignment]

    def double(self, *args: Any, **kwargs: Any) -> Tensor:
        raise TypeError("no float64 here")

    def cpu(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.as_subclass(Tensor)


def test_a_device_without_float64_is_measured_on_the_cpu() -> None:
    act = nn.PReLU(4)
    with torch.no_grad():
        act.weight.copy_(torch.linspace(0.1, 0.4, 4))
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    want = harden(nn.Sequential(act), 0.0, x, merge=10.0)
    got = harden(nn.Sequential(act), 0.0, x.as_subclass(NoDoubles), merge=10.0)
    assert isinstance(got.model(x.as_subclass(NoDoubles)), NoDoubles)
    assert got.rows == want.rows
    assert got.change == want.change


@pytest.mark.parametrize("layer", [nn.Linear(3, 4), nn.ConvTranspose1d(3, 4, 2), nn.BatchNorm1d(4)])
def test_a_layer_there_is_scaled_on_the_cpu(layer: nn.Module) -> None:
    factor, x = torch.linspace(0.5, 2.0, 4, dtype=torch.float64), torch.randn(5, 3, 4)
    x = x if not isinstance(layer, nn.BatchNorm1d) else x.transpose(1, 2)
    x = x[..., :3] if isinstance(layer, nn.Linear) else x
    layer.eval()
    along = (-1,) if isinstance(layer, nn.Linear) else (-1, 1)
    want = layer(x).detach() * factor.reshape(along).float()
    there = copy.deepcopy(layer)
    for name, p in list(there.named_parameters()):
        setattr(there, name, nn.Parameter(p.detach().as_subclass(NoDoubles)))
    scale(there, factor, Edits(there))
    for name, p in there.named_parameters():
        getattr(layer, name).data.copy_(p.detach().as_subclass(Tensor))
    torch.testing.assert_close(layer(x).detach(), want)


def test_misuse_is_refused() -> None:
    with pytest.raises(bevel.InvalidValue, match="merge= measures on an example; got none"):
        harden(Residual(), 1e-3, merge=0.1)
    with pytest.raises(bevel.InvalidValue, match="merge must be finite and >= 0; got -1"):
        harden(Residual(), 1e-3, X, merge=-1)
