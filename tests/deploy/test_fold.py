"""``fold``: exact to rounding where it can, a reason where it cannot."""

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import bevel
from bevel.deploy import Folded, fold


def _set(parameter: nn.Parameter, values: list[float]) -> None:
    with torch.no_grad():
        parameter.copy_(torch.tensor(values))


def _frelu(channels: int = 6, dim: int = 1, negative: tuple[float, float] = (-0.2, 0.3)) -> bevel.FReLU:
    module = bevel.FReLU(channels, dim=dim)
    _set(module.positive, torch.linspace(0.5, 2.0, channels).tolist())
    _set(module.negative, torch.linspace(*negative, channels).tolist())
    return module


def _norm(layer: nn.Module) -> nn.Module:
    """Non-trivial statistics, weight and bias: identity norms would hide a factor."""
    generator = torch.Generator().manual_seed(1)
    for t in (*layer.parameters(), *(b for b in layer.buffers() if b.is_floating_point())):
        t.data.copy_(0.5 + torch.rand(t.shape, generator=generator))
    return layer


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "conv1d": (lambda: nn.Conv1d(3, 6, 3), (2, 3, 9), 1),
    "conv2d": (lambda: nn.Conv2d(3, 6, 3, bias=False), (2, 3, 7, 7), 1),
    "conv2d of groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 7, 7), 1),
    "conv2d without a batch": (lambda: nn.Conv2d(3, 6, 3), (3, 7, 7), 0),
    "conv3d": (lambda: nn.Conv3d(2, 6, 2), (1, 2, 4, 4, 4), 1),
    "transposed": (lambda: nn.ConvTranspose2d(3, 6, 3), (2, 3, 5, 5), 1),
    "transposed of groups": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 4, 5, 5), 1),
    "linear": (lambda: nn.Linear(5, 6), (4, 5), 1),
    "linear on tokens": (lambda: nn.Linear(5, 6), (2, 3, 5), 2),
    "batch norm 1d": (lambda: _norm(nn.BatchNorm1d(6)), (4, 6), 1),
    "batch norm 2d": (lambda: _norm(nn.BatchNorm2d(6)), (4, 6, 3, 3), 1),
    "group norm": (lambda: _norm(nn.GroupNorm(2, 6)), (4, 6, 3, 3), 1),
    "layer norm": (lambda: _norm(nn.LayerNorm(6)), (4, 6), 1),
    "rms norm": (lambda: _norm(nn.RMSNorm(6)), (4, 6), -1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_positive_slope_goes_into_every_kind_of_layer(name: str) -> None:
    torch.manual_seed(0)
    make, shape, dim = LAYERS[name]
    same_negative = dim not in (1, -1)  # elsewhere than along axis 1 no PReLU can hold different ones
    activation = _frelu(dim=dim)
    if same_negative:
        _set(activation.negative, (0.25 * activation.positive).tolist())
    model = nn.Sequential(make(), activation).double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    want = model(x)
    result = fold(model, x)
    (row,) = result.rows
    assert (row.into, row.reason) == ("0", "")
    assert row.new == ("LeakyReLU" if same_negative else "PReLU")
    assert type(result.model[1]).__name__ == row.new
    torch.testing.assert_close(result.model(x), want, rtol=1e-13, atol=1e-13)
    assert model[1] is activation, "the given model was changed"
    assert not torch.equal(result.model[0].weight, model[0].weight)


@pytest.mark.parametrize(("negative", "kind"), [(0.0, "ReLU"), (0.1, "LeakyReLU")])
def test_equal_negative_slopes_leave_the_plainer_activation(negative: float, kind: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), bevel.FReLU(3, positive=2.0, negative=negative))
    x = torch.randn(8, 4)
    result = fold(model, x)
    assert result.rows[0].new == kind
    torch.testing.assert_close(result.model(x), model(x), rtol=1e-6, atol=1e-6)


def test_a_sharpness_goes_into_the_layer() -> None:
    torch.manual_seed(0)
    for channels in (1, 6):
        soft = bevel.SmoothFReLU(channels, positive=-1.5, negative=0.2, kernel="logistic", n=7.0)
        model = nn.Sequential(nn.Conv2d(3, 6, 3), soft).double()
        x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
        result = fold(model, x)
        assert (result.rows[0].new, result.rows[0].into) == ("SmoothFReLU", "0")
        assert result.model[1].family.n == 1
        assert "log_n" not in dict(result.model[1].named_parameters())
        torch.testing.assert_close(result.model(x), model(x), rtol=1e-13, atol=1e-13)


SMOOTH_CORNERS: dict[str, Callable[[], nn.Module]] = {
    "sau": lambda: bevel.SAU(6, alpha=0.2, n=7.0, form="exact"),
    "sau with a learnt n": lambda: bevel.SAU(6, alpha=0.2, n=7.0, form="exact", learn_n=True),
    "sau as swapped for relu": lambda: bevel.SAU(alpha=0.0, n=7.0),
    "sau without parameters": lambda: bevel.SAU(alpha=0.2, n=20000.0, form="exact", learn_alpha=False),
    "mollified": lambda: bevel.Mollified(1, "leaky_relu(0.2)", "logistic", n=7.0),
    "mollified and learnt": lambda: bevel.Mollified(6, "relu", "bump", n=7.0, learn="left+jumps+n"),
    "smelu": lambda: bevel.nn.SmeLU(),
}


@pytest.mark.parametrize("name", SMOOTH_CORNERS)
def test_what_is_a_smooth_frelu_by_another_name_folds_like_it(name: str) -> None:
    torch.manual_seed(0)
    activation = SMOOTH_CORNERS[name]()
    with torch.no_grad():
        for p in activation.parameters():
            p.add_(torch.linspace(0.0, 0.3, p.numel()))  # one shared value stays
    model = nn.Sequential(nn.Conv2d(3, 6, 3), activation).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    result = fold(model, x)
    assert (result.rows[0].new, result.rows[0].into) == ("SmoothFReLU", "0")
    assert result.model[1].family.n == 1
    torch.testing.assert_close(result.model(x), model(x), rtol=1e-12, atol=1e-12)


def test_an_example_may_be_keywords() -> None:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(4, 3), bevel.FReLU(3, positive=2.0)

        def forward(self, x: Tensor, *, scale: float = 1.0) -> dict[str, Tensor]:
            return {"y": scale * self.act(self.layer(x))}

    model, x = Keywords(), torch.randn(8, 4)
    for result in (fold(model, kwargs={"x": x, "scale": 3.0}), fold(model, x, kwargs={"scale": 3.0})):
        assert result.rows[0].new == "LeakyReLU"
        torch.testing.assert_close(result.model(x)["y"], model(x)["y"])


def test_inplace_and_modes() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), bevel.FReLU(3, positive=2.0))
    model[0].eval()
    result = fold(model, torch.randn(8, 4), inplace=True)
    assert result.model is model
    assert isinstance(model[2], nn.LeakyReLU)  # evaluation mode: dropout hands its input on
    assert [m.training for m in model] == [False, True, True]


class _Net(nn.Module):
    """A layer, an activation, and how the forward uses them."""

    def __init__(self, forward: Callable[["_Net", Tensor], Tensor], positive: float = 2.0) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.activation = bevel.FReLU(4, positive=positive, dim=-1)
        self._run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self, x)


REFUSED: dict[str, tuple[Callable[[_Net, Tensor], Tensor], str]] = {
    "residual": (lambda m, x: m.activation(h := m.layer(x)) + h, "its output is also used by aten.add.Tensor"),
    "before": (lambda m, x: (h := m.layer(x)).sum() + m.activation(h), "its output is also used by aten.sum"),
    "view": (lambda m, x: m.activation(m.layer(x).view(-1, 2, 4)), "fed by aten.view|also used by aten.view"),
    "returned": (lambda m, x: (m.activation(h := m.layer(x)), h), "its output is also returned by the model"),
    "item": (lambda m, x: m.activation(h := m.layer(x)) * h.max().item(), "also used by aten.max"),
    "twice": (lambda m, x: m.activation(m.activation(m.layer(x))), "it runs 2 times"),
    "layer twice": (lambda m, x: m.activation(m.layer(m.layer(x))), "the Linear before it runs 2 times"),
    "never": (lambda m, x: m.layer(x), "the example does not run it"),
    "sum": (lambda m, x: m.activation(m.layer(x) + 1), "it is fed by aten.add.Tensor"),
    "input": (lambda m, x: m.activation(x), "it is fed by the model's input"),
    "weight": (lambda m, x: m.activation(m.layer(x)) @ m.layer.weight, "its weight is also used by aten"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_fold_stays_with_a_reason(case: str) -> None:
    forward, reason = REFUSED[case]
    model = _Net(forward)
    result = fold(model, torch.randn(8, 4))
    (row,) = result.rows
    assert row.new is None
    assert any(r in row.reason for r in reason.split("|")), row.reason
    assert isinstance(result.model.activation, bevel.FReLU)
    assert torch.equal(result.model.layer.weight, model.layer.weight)
    assert result.change == 0


def _reason(model: nn.Module, x: Tensor) -> str:
    (row,) = fold(model, x).rows
    assert row.new is None
    return row.reason


def test_more_reasons() -> None:
    x = torch.randn(2, 4)
    linear = nn.Linear(4, 4)
    bad = bevel.FReLU(4)
    _set(bad.positive, [1.0, 2.0, -0.5, 0.0])
    assert "channel 2 has -0.5" in _reason(nn.Sequential(linear, bad), x)

    hooked = nn.Sequential(nn.Linear(4, 4), bevel.FReLU(4, positive=2.0))
    handle = hooked[0].register_forward_hook(lambda *_: None)
    assert "a forward hook sits on it" in _reason(hooked, x)
    handle.remove()
    assert fold(hooked, x).rows[0].new == "LeakyReLU"

    assert "parametrized" in _reason(
        nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), bevel.FReLU(positive=2.0)), x
    )
    assert "affine is off" in _reason(nn.Sequential(nn.BatchNorm1d(4, affine=False), bevel.FReLU(positive=2.0)), x)

    tied = nn.Sequential(nn.Linear(4, 4), bevel.FReLU(positive=2.0), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    assert "shares its weight" in _reason(tied, x)

    class Mine(nn.Linear):
        pass

    assert "the Mine before it is a subclass" in _reason(nn.Sequential(Mine(4, 4), bevel.FReLU(positive=2.0)), x)
    tokens = nn.Sequential(nn.Linear(4, 6), _frelu(dim=-1))
    assert "a PReLU has its channels along axis 1" in _reason(tokens, torch.randn(2, 3, 4))
    across = nn.Sequential(nn.Linear(4, 4), bevel.FReLU(3, positive=2.0, dim=1))
    assert "along axis 1, the layer's channels along 2" in _reason(across, torch.randn(2, 3, 4))
    for soft, reason in (
        (bevel.SAU(4), "SAU is 1/n times itself at sharpness 1"),
        (bevel.SAU(4, form="centred"), "centred form"),
        (bevel.create("mollified:f=relu6"), "only one corner at 0 takes a factor on x"),
        (bevel.create("swish"), "Swish is outside FReLU's family"),
    ):
        assert reason in _reason(nn.Sequential(linear, soft), x)


def test_two_activations_on_one_layer() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.a, self.b = bevel.FReLU(4, positive=2.0), bevel.FReLU(4, positive=3.0)

        def forward(self, x: Tensor) -> Tensor:
            h = self.layer(x)
            return self.a(h) + self.b(h)

    reasons = [row.reason for row in fold(Two(), torch.randn(2, 4)).rows]
    assert all("also feeds a FReLU" in r for r in reasons), reasons


def test_a_positive_slope_of_one_needs_no_layer() -> None:
    model = _Net(REFUSED["residual"][0], positive=1.0)
    (row,) = fold(model, torch.randn(8, 4)).rows
    assert (row.new, row.into) == ("LeakyReLU", "")


def test_misuse_is_refused() -> None:
    with pytest.raises(bevel.InvalidValue, match="give it an example"):
        fold(nn.Linear(2, 2))

    class Hidden(nn.Module):
        """Its second layer is no submodule: a copy of the model shares it with the model."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(3, 3), bevel.FReLU(3, positive=2.0)
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.act(self.layer(x)) + self.calls

    with pytest.raises(bevel.BevelError, match=r"folding must keep the output; it changed by"):
        fold(Hidden(), torch.ones(1, 3))


class Sampled(nn.Module):
    """Random in evaluation too, as a variational autoencoder is."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(4, 3), nn.Linear(3, 3)
        self.act = bevel.FReLU(3, positive=2.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.encode(x)
        return self.act(self.decode(h + torch.randn_like(h) + random.random()))


def test_a_random_forward_is_compared_under_one_random_state() -> None:
    torch.manual_seed(3)
    random.seed(3)
    expected = torch.rand(2), random.random()
    torch.manual_seed(3)
    random.seed(3)
    result = fold(Sampled(), torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
    assert result.rows[0].new == "LeakyReLU"
    torch.manual_seed(3)
    random.seed(3)
    model = Sampled()
    state = torch.get_rng_state()
    fold(model, torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state), "a fold draws from the caller's generator"
    assert random.random() == expected[1]
    model.act = bevel.SAU(3)
    hard = bevel.harden(model, 1e-3, torch.randn(8, 4))
    assert hard.change is not None
    assert hard.change <= 1e-3


def test_an_activation_under_two_names_of_one_parent_is_replaced_under_both() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(4, 3), bevel.FReLU(3, positive=2.0)
            self.relu = self.act

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.layer(x))

    model, x = Two(), torch.randn(8, 4)
    result = fold(model, x)
    assert result.model.act is result.model.relu
    assert isinstance(result.model.relu, nn.LeakyReLU)
    torch.testing.assert_close(result.model(x), model(x))


class Choosy(nn.Module):
    """Returns another number of rows, and of tensors, at every call."""

    def __init__(self, several: bool) -> None:
        super().__init__()
        self.layer, self.act, self.several, self.calls = nn.Linear(4, 3), bevel.FReLU(3, positive=2.0), several, 0

    def forward(self, x: Tensor) -> list[Tensor]:
        self.calls += 1
        y = self.act(self.layer(x))
        return [y] * self.calls if self.several else [y[: self.calls]]


@pytest.mark.parametrize("several", [False, True])
def test_results_of_other_shapes_are_an_error_of_ours(several: bool) -> None:
    model = Choosy(several)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(bevel.BevelError, match="folding must keep the output; it changed by inf"):
        fold(model, torch.randn(8, 4), inplace=True)
    assert isinstance(model.act, bevel.FReLU)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    model.act = bevel.SAU(3)
    assert bevel.harden(model, 1e-3, torch.randn(8, 4)).change == float("inf")


def test_an_error_leaves_the_given_model_as_it_was() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act, self.calls = nn.Linear(4, 3), bevel.FReLU(3, positive=2.0), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("mine")
            return self.act(self.layer(x))

    model = Fails()
    act, weight = model.act, model.layer.weight.detach().clone()
    with pytest.raises(RuntimeError, match="mine"):
        fold(model, torch.randn(8, 4), inplace=True)
    assert model.act is act
    assert torch.equal(model.layer.weight, weight)
    assert model.training


class BatchNormAct(nn.BatchNorm2d):
    """A norm and its activation in one forward, as timm has them."""

    def __init__(self, channels: int, act: nn.Module, twice: bool = False) -> None:
        super().__init__(channels)
        self.drop, self.act, self.twice = nn.Identity(), act, twice

    def forward(self, x: Tensor) -> Tensor:
        y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps)
        y = self.act(self.drop(y))
        return y * self.weight.mean() if self.twice else y


def test_a_norm_that_activates_in_its_own_forward_takes_the_slope() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), _norm(BatchNormAct(6, _frelu())), nn.Conv2d(6, 2, 1)).double().eval()
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    result = fold(model, x)
    (row,) = result.rows
    assert (row.name, row.new, row.into, row.reason) == ("1.act", "PReLU", "1", "")
    torch.testing.assert_close(result.model(x), model(x), rtol=1e-12, atol=1e-12)
    other = nn.Sequential(nn.Conv2d(3, 6, 3), BatchNormAct(6, _frelu(), twice=True)).eval()
    assert "subclass whose forward may do more" in _reason(other, x.float())


@pytest.mark.parametrize("name", ["resnetv2_50", "densenet121"])
def test_timms_norms_with_activations_fold(name: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    x = torch.randn(1, 3, 64, 64)
    result = bevel.swap(model, "frelu", x)
    with torch.no_grad():
        for module in result.activations.values():
            module.positive.uniform_(0.9, 1.1)
            module.negative.uniform_(-0.1, 0.1)
    rows = fold(model, x).rows
    assert len(rows) > 40
    assert sum(row.new is not None for row in rows) == len(rows), str([row.reason for row in rows if not row.new])


def test_a_wrapped_model_is_refused() -> None:
    class Wrapped(torch.nn.parallel.DistributedDataParallel):
        def __init__(self, module: nn.Module) -> None:  # without the processes it needs
            nn.Module.__init__(self)
            self.module = module

    with pytest.raises(bevel.InvalidValue, match=r"this model is wrapped \(Wrapped\)\. Use the model inside"):
        fold(Wrapped(nn.Linear(2, 2)), torch.ones(1, 2))


def test_the_table_reads() -> None:
    model = nn.Sequential(nn.Linear(4, 3), bevel.FReLU(3, positive=2.0), nn.Linear(3, 3), bevel.SAU(3))
    result = fold(model, torch.randn(8, 4))
    assert isinstance(result, Folded)
    lines = str(result).splitlines()
    assert lines[0].split() == ["activation", "was", "is", "into", "reason"]
    assert lines[1].split() == ["1", "FReLU", "LeakyReLU", "0", "-"]
    assert lines[2].startswith("3           SAU    SAU        -     SAU is 1/n times")
