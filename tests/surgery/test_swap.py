"""``bevel.swap``: every site its own activation, the function kept, and nothing else of the model touched."""

import copy

import pytest
import torch
import torch.nn.functional as F
from surgery_models import Leaky, Net, RunsIn, X
from torch import Tensor, nn

import bevel
from bevel import SAU, FReLU, InvalidValue, UnknownName
from bevel.surgery import swap
from bevel.surgery._probe import evaluate


def test_frelu_keeps_every_bit(net: Net) -> None:
    before = net(X)
    result = swap(net, "frelu", X)
    assert torch.equal(net(X), before)
    assert {name: m.num_parameters for name, m in result.activations.items()} == {
        "act.0": 6,
        "act.1": 4,
        "bevel_sites.relu": 4,
        "bevel_sites.relu_1": 2,
    }
    assert [m.dim for m in result.activations.values()] == [1, 1, 1, -1]
    assert all(s.bound == 0 and s.new == "frelu" and s.old for s in result.sites)


def test_the_table_names_where_the_activations_hang(net: Net) -> None:
    result = swap(net, "sau", X)
    for name, activation in result.activations.items():
        assert net.get_submodule(name) is activation
        assert isinstance(activation, SAU)


def test_each_site_learns_by_itself(net: Net) -> None:
    before = net(X)
    result = swap(net, "frelu", X)
    parameters = [p for m in result.activations.values() for p in m.parameters()]
    net(X).square().sum().backward()
    assert len({id(p) for p in parameters}) == 8
    assert all(p.grad is not None for p in parameters)
    with torch.no_grad():
        net.act.get_parameter("1.negative").fill_(0.5)
    assert not torch.equal(net(X), before)


@pytest.mark.parametrize(
    ("n", "form"), [(20000.0, "published"), (50.0, "exact"), (50.0, "centred"), (50.0, "published")]
)
def test_sau_stays_within_its_bound_at_every_site(net: Net, n: float, form: str) -> None:
    result = swap(net, f"sau:n={n},form={form}", X)
    seen = []

    def check(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append(float((output - inputs[0].clamp(min=0)).detach().abs().max()))

    for activation in result.activations.values():
        activation.register_forward_hook(check)
    net(X)
    assert len(seen) == 4
    assert all(s.bound is not None and s.bound < 0.5 / n for s in result.sites)
    assert max(seen) <= max(s.bound or 0.0 for s in result.sites) + 1e-6
    assert max(seen) > 0


def test_the_bound_is_reached() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.LeakyReLU(0.25))
    result = swap(model, "sau:n=2", torch.zeros(1, 1))
    x = torch.linspace(-3, 3, 6001, dtype=torch.float32)[:, None]
    off = (model[1](x) - F.leaky_relu(x, 0.25)).detach().abs().max()
    (site,) = result.sites
    assert site.bound is not None
    assert 0.999 * site.bound <= float(off) <= site.bound * (1 + 1e-6)


def test_slopes_are_carried_over() -> None:
    model, x = Leaky(), torch.randn(5, 3)
    with torch.no_grad():
        model.prelu.weight.copy_(torch.linspace(0.1, 0.6, 6))
    before = model(x)
    result = swap(model, "sau", x)
    assert torch.equal(model.bevel_sites["leaky_relu"].alpha, torch.full((6,), 0.2))
    assert torch.equal(model.prelu.alpha, torch.linspace(0.1, 0.6, 6))
    torch.testing.assert_close(model(x), before, atol=1e-4, rtol=0)
    result.restore()
    swap(model, "frelu", x)
    assert torch.equal(model.prelu.negative, torch.linspace(0.1, 0.6, 6))
    torch.testing.assert_close(model(x), before, atol=1e-6, rtol=1e-6)


class SquaredReLU(nn.Module):
    """As transformers' class of this function has it."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.square(F.relu(input))


TARGETS = {
    "sau": {"relu", "leaky_relu", "prelu", "rrelu"},
    "frelu": {"relu", "leaky_relu", "prelu", "rrelu"},
    "smooth_frelu:n=100": {"relu", "leaky_relu", "prelu", "rrelu"},
    "prelu": {"relu", "leaky_relu", "prelu", "rrelu"},
    "leaky_relu": {"relu", "leaky_relu", "rrelu"},
    "mollified:n=100": {
        *("relu", "leaky_relu", "prelu", "rrelu", "relu6", "hardtanh", "hardsigmoid", "hardswish"),
        *("relu_squared", "threshold", "softshrink", "hardshrink"),
    },
    "mollified:kernel=student,n=100": {
        *("relu", "leaky_relu", "prelu", "rrelu", "relu6", "hardtanh", "hardsigmoid", "threshold"),
        *("softshrink", "hardshrink"),
    },
    "hardtanh": {"relu6", "hardtanh"},
    "relu_squared": {"relu_squared"},
    "gate": {"relu", "leaky_relu", "prelu", "rrelu", "silu", "gelu", "hardswish"},
    "gate:kernel=gaussian": {"relu", "leaky_relu", "prelu", "rrelu", "gelu"},
    "gate:n=1": {"relu", "leaky_relu", "prelu", "rrelu", "silu", "gelu"},
    "swish": {"silu"},
    "gelu": {"gelu"},
    "squareplus:b=1e-6": {"relu"},
    "mish": {"mish"},
}

SOURCES = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.2),
    "prelu": nn.PReLU(init=0.3),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-1, 2),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "mish": nn.Mish(),
    "rrelu": nn.RReLU(0.1, 0.2),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "relu_squared": SquaredReLU(),
    "threshold": nn.Threshold(0.3, -0.7),
    "softshrink": nn.Softshrink(0.4),
    "hardshrink": nn.Hardshrink(0.4),
}


@pytest.mark.parametrize("to", TARGETS)
def test_what_can_stand_for_what(to: str) -> None:
    x = torch.randn(64, 3) * 3
    for name, source in SOURCES.items():
        model = nn.Sequential(nn.Linear(3, 5), copy.deepcopy(source)).eval()
        before = model(x)
        if name not in TARGETS[to]:
            with pytest.raises(InvalidValue, match="preserve=False starts from its own initial values"):
                swap(model, to, x, what=name)
            continue
        (site,) = swap(model, to, x, what=name).sites
        assert site.bound is not None
        assert float((model(x) - before).detach().abs().max()) <= site.bound + 2e-6


def test_every_site_its_own_function_smoothed() -> None:
    """A mixed net by one spec: units are kept within their bounds, what is none stays until it is named."""
    slopes = torch.tensor([0.1, 0.2, 0.3])
    prelu = nn.PReLU(3)
    prelu.weight.data.copy_(slopes)
    units = [nn.ReLU(), prelu, nn.Hardswish(), SquaredReLU(), nn.Threshold(0.5, 0.5), nn.RReLU(), nn.ReLU6()]
    others = [nn.Hardtanh(), nn.Hardsigmoid(), nn.Softshrink(), nn.Hardshrink()]
    model = nn.Sequential(*(m for a in (*units, *others) for m in (nn.Linear(3, 3), a))).eval()
    x = torch.randn(50, 3)
    sites = swap(model, "mollified:kernel=gaussian,n=50", x).sites
    assert [bool(s.new) for s in sites] == [True] * len(units) + [False] * len(others)
    assert all("name it in what=" in s.reason for s in sites.skipped)
    assert "random slopes are gone" in sites[5].reason
    new = model[3]
    assert isinstance(new, bevel.Mollified)
    assert torch.equal(new.get_parameter("left"), slopes)
    assert torch.equal(new.get_parameter("jumps_0"), 1 - slopes)
    assert repr(new) == (
        "Mollified(num_parameters=3, f='leaky_relu(0.2)', kernel='gaussian', n=50, learn='left+jumps', dim=1)"
    )
    new(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == (3,) for p in new.parameters())
    for site, old in zip(sites, units, strict=False):
        assert site.module is not None
        assert site.bound is not None
        z = 4 * torch.randn(500, 3)
        assert float((site.module(z) - old.eval()(z)).detach().abs().max()) <= site.bound + 1e-5
        assert site.bound < 0.05
    names = ("hardtanh", "hardsigmoid", "softshrink", "hardshrink")
    more = swap(model, "mollified:kernel=gaussian,n=50", x, what=names).sites.swapped
    assert [s.function for s in more] == list(names)
    assert more[-1].bound == pytest.approx(0.5 + 1 / 50 * 2 * bevel.KERNELS["gaussian"].gap)  # two jumps, half of each


def test_a_jump_is_found_where_it_is() -> None:
    """Between two points of the grid a jump could be anywhere."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Hardshrink(0.123456789), nn.Linear(3, 3), nn.Threshold(-0.7654321, 2.0))
    sites = swap(model, "mollified:n=50", torch.randn(2, 3), what=("hardshrink", "threshold")).sites
    shrink, threshold = (s.module for s in sites)
    assert isinstance(shrink, bevel.Mollified)
    assert isinstance(threshold, bevel.Mollified)
    assert shrink.f.knots == (-0.123456789, 0.123456789)
    assert (threshold.f.knots, threshold.f.offset) == ((-0.7654321,), 2.0)


def test_jumps_are_told_apart_where_the_grid_does_not_tell_them() -> None:
    knots = (0.12, 0.125)
    first, second = (evaluate(nn.Hardshrink(knot)) for knot in knots)
    assert torch.equal(first, second)
    model = nn.Sequential(nn.Linear(3, 3), nn.Hardshrink(knots[0]), nn.Linear(3, 3), nn.Hardshrink(knots[1]))
    sites = swap(model, "mollified:n=50", torch.randn(2, 3), what="hardshrink").sites
    assert [site.module.f.knots for site in sites] == [(-knot, knot) for knot in knots]


def test_preserve_false_starts_from_the_activations_own_values(net: Net) -> None:
    result = swap(net, "sau", X, preserve=False)
    assert all(float(m.alpha.detach()[0]) == pytest.approx(0.15) for m in result.activations.values())
    assert all(s.bound is None for s in result.sites)


def test_what_cannot_be_kept_is_skipped_with_the_reason_or_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.GELU(), nn.Sigmoid())
    x = torch.randn(2, 3)
    result = swap(model, "sau", x)
    assert [s.new for s in result.sites] == ["sau", "", ""]
    assert (
        result.sites[1].reason
        == "sau cannot equal gelu; 'gate' can; preserve=False starts from its own initial values instead"
    )
    assert result.sites[2].reason == "a gate or read-out: name it in what= to swap it"
    result.restore()
    with pytest.raises(InvalidValue, match=r"3: sau cannot equal gelu; 'gate' can; preserve=False"):
        swap(model, "sau", x, what=("relu", "gelu"))
    assert isinstance(model[1], nn.ReLU)
    with pytest.raises(InvalidValue, match="no site can keep its function: sau cannot equal gelu"):
        swap(nn.Sequential(nn.Linear(3, 4), nn.GELU()), "sau", x)
    with pytest.raises(InvalidValue, match=r"sau:alpha=0.3 cannot equal relu with alpha=0.3"):
        swap(model, "sau:alpha=0.3", x)


def test_gates_are_touched_only_if_named() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LSTM(4, 5))
    x = torch.randn(6, 3)
    assert swap(model, "sau", x, preserve=False, empty_ok=True).activations == {}
    assert list(swap(model, "sau", x, what="tanh", preserve=False).activations) == ["1"]


def test_where_and_what(net: Net) -> None:
    assert list(swap(net, "frelu", X, where="act.*").activations) == ["act.0", "act.1"]
    assert list(swap(net, "sau", X, where=lambda s: s.axis == -1).activations) == ["bevel_sites.relu_1"]
    with pytest.raises(UnknownName, match="unknown activation function 'rellu' in what=; did you mean 'relu'"):
        swap(net, "sau", X, what=("rellu",))
    with pytest.raises(UnknownName, match="did you mean 'smu' or 'sau'"):
        swap(net, "sua", X)


def test_part_of_a_shared_module_can_be_swapped(net: Net) -> None:
    before = net(X)
    result = swap(net, "frelu", X, where="act.1")
    assert torch.equal(net(X), before)
    assert isinstance(net.act.original, nn.ReLU)
    with torch.no_grad():
        result.activations["act.1"].positive.fill_(2.0)
    assert not torch.equal(net(X), before)
    result.restore()
    assert torch.equal(net(X), before)


def test_an_ambiguous_axis_is_refused_with_a_sentence() -> None:
    model = RunsIn(lambda s, x: F.relu(s.conv(x).flatten(1)), conv=nn.Conv2d(3, 4, 3))
    with pytest.raises(InvalidValue, match=r"would change nothing: the one site is not swapped \(1 × the channel axis"):
        swap(model, "sau", X)
    (site,) = swap(model, "sau", X, empty_ok=True).sites
    assert site.new == ""
    assert site.reason.startswith("the channel axis is ambiguous: a view merged or split the channel axis. Name it")
    assert len(swap(model, "sau:num_parameters=1", X).activations) == 1


def test_a_target_with_a_fixed_axis_shares_where_it_must() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    x = torch.randn(2, 6, 4)  # as many tokens as channels: torch's PReLU would take the tokens
    result = swap(model, "prelu", x)
    assert model[1].weight.numel() == 1
    assert "channels on axis 1" in result.sites[0].reason
    result.restore()
    swap(model, "prelu", torch.randn(2, 4))
    assert model[1].weight.numel() == 6


def test_an_example_without_a_batch_serves_batches_too() -> None:
    """The channel axis was 0: a later batch of as many images as channels got one slope an image."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU())
    result = swap(model, "frelu", torch.randn(3, 8, 8))
    assert [m.dim for m in result.activations.values()] == [-3] * 3
    with torch.no_grad():
        for number, module in enumerate(result.activations.values()):
            module.negative.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]) + number)
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(model(x), torch.stack([model(image) for image in x]))


def test_any_factory_will_do(net: Net) -> None:
    assert isinstance(swap(net, FReLU, X).activations["act.0"], FReLU)
    result = swap(net, lambda: nn.Hardswish(), X, what="frelu", preserve=False)
    assert [s.new for s in result.sites] == ["<lambda>"] * 4


def test_a_positive_time_step_stays_positive() -> None:
    """Mamba's softplus became an FReLU with preserve=False."""

    class TimeStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.soft = nn.Linear(4, 4), nn.Linear(4, 4), nn.Softplus()

        def forward(self, x: Tensor) -> Tensor:
            return F.silu(self.b(F.softplus(self.a(x)))) * self.soft(self.a(x))

    model, x = TimeStep(), torch.randn(3, 4)
    result = swap(model, "frelu", x, preserve=False)
    assert list(result.activations) == ["bevel_sites.silu"]
    assert [s.reason for s in result.sites if not s.new] == ["made to be positive: name it in what= to swap it"] * 2
    result.restore()
    assert len(swap(model, "frelu", x, preserve=False, what="softplus").activations) == 2


def test_a_swap_under_inference_mode_makes_slopes_that_train() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 2), nn.ReLU()), torch.randn(5, 3)
    with torch.inference_mode():
        swap(model, "frelu", x)
    model(x).sum().backward()
    slopes = bevel.training.activation_parameters(model).values()
    assert len(slopes) == 4
    assert all(p.grad is not None and not p.is_inference() for p in slopes)
    smooth = nn.Sequential(nn.Linear(3, 4), bevel.SAU(4, alpha=0.2))
    with torch.no_grad():
        smooth[1].alpha.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    folding = nn.Sequential(nn.Linear(3, 4), bevel.SmoothFReLU(4, n=2.0))
    with torch.inference_mode():
        hard = bevel.harden(smooth, 1e-3, x, inplace=True).model
        folded = bevel.fold(folding, x, inplace=True).model
    for other in (hard, folded):
        other(x).sum().backward()
        assert all(p.grad is not None for p in other.parameters())


def test_a_module_instead_of_a_factory_is_refused() -> None:
    model, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.randn(5, 3)
    with pytest.raises(InvalidValue, match=r"made anew for every place: .* got the module SAU"):
        swap(model, SAU(2), x)
    with pytest.raises(InvalidValue, match="made anew for every place"):
        bevel.create(nn.ReLU())


class Positive(nn.Module):
    """Positive, as exp is: as linear attention makes its features."""

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x) + 1


@pytest.mark.parametrize("preserve", [True, False])
def test_a_module_that_makes_numbers_positive_is_left_alone(preserve: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), Positive(), nn.Linear(4, 4), nn.ReLU())
    result = swap(model, "frelu", torch.randn(3, 4), preserve=preserve)
    assert list(result.activations) == ["3"]
    assert isinstance(model[1], Positive)
    assert "a function of the model's own" in result.sites[0].reason
