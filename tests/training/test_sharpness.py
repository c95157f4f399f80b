"""``SharpnessSchedule``: from soft to sharp, without compiling again."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import bevel
from bevel.deploy import harden
from bevel.training import SharpnessSchedule, parameter_groups


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4),
        bevel.SAU(4, n=7.0),
        bevel.SmoothFReLU(4),
        bevel.FReLU(4),
        bevel.Mollified(1, "relu6", "box"),
        nn.ReLU(),
    )


def _n(module: bevel.nn.Activation) -> float:
    n = module.coefficients()[1]
    return float(n.detach()[0]) if isinstance(n, torch.Tensor) else n


@pytest.mark.parametrize(("shape", "middle"), [("geometric", math.sqrt(1 * 100)), ("linear", 50.5), ("cosine", 50.5)])
def test_the_shapes(shape: str, middle: float) -> None:
    schedule = SharpnessSchedule(_model(), 1.0, 100.0, steps=8, shape=shape)
    seen = [schedule.n]
    for _ in range(10):
        schedule.step()
        seen.append(schedule.n)
    assert seen[0] == pytest.approx(1.0)
    assert seen[4] == pytest.approx(middle)
    assert seen[8:] == [100.0, 100.0, 100.0]
    assert seen == sorted(seen)
    quarter = {"geometric": 100**0.25, "linear": 25.75, "cosine": 1 + 99 * (1 - math.sqrt(0.5)) / 2}
    assert seen[2] == pytest.approx(quarter[shape])


def test_every_smooth_activation_follows_and_its_function_with_it() -> None:
    model = _model()
    schedule = SharpnessSchedule(model, 2.0, 50.0, steps=4)
    assert list(schedule.sites) == ["1", "2", "4"]
    x = torch.linspace(-1, 1, 40).reshape(10, 4)
    for _ in range(5):
        assert [_n(model[i]) for i in (1, 2, 4)] == pytest.approx([schedule.n] * 3, rel=1e-5)
        torch.testing.assert_close(model[1](x), bevel.SAU(4, n=schedule.n)(x), rtol=1e-5, atol=1e-6)
        schedule.step()
    only = SharpnessSchedule(_model(), 2.0, 5.0, steps=1, where=lambda site: site.name == "1")
    assert list(only.sites) == ["1"]


def test_it_is_resumed() -> None:
    model, other = _model(), _model()
    schedule = SharpnessSchedule(model, 2.0, 50.0, steps=6)
    for _ in range(3):
        schedule.step()
    resumed = SharpnessSchedule(other, 2.0, 50.0, steps=6)
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.n == schedule.n
    assert torch.equal(other(torch.ones(2, 3)), model(torch.ones(2, 3)))


def test_models_are_copied_while_it_runs() -> None:
    model = _model()
    SharpnessSchedule(model, 2.0, 50.0, steps=6).step()
    x = torch.randn(5, 3)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))


def test_training_goes_on_under_it() -> None:
    model = _model()
    schedule = SharpnessSchedule(model, 1.0, 1e4, steps=20)
    optimizer = torch.optim.Adam(parameter_groups(model, lr=0.05))
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(x).sum(1) - x.abs().sum(1)).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    hard = harden(model, 1e-4, x)
    assert [r.new for r in hard.rows] == ["PReLU", "FReLU", "ReLU6"]
    assert hard.change is not None
    assert hard.change < 1e-3


def test_no_compilation_while_n_moves() -> None:
    """A fixed n is a constant of the graph: replacing it would compile once a step. The schedule's tensor does not."""
    from torch._dynamo.testing import CompileCounter

    model = _model()
    schedule = SharpnessSchedule(model, 1.0, 100.0, steps=5)
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    x = torch.randn(5, 3)
    for _ in range(5):
        torch.testing.assert_close(compiled(x), model(x))
        schedule.step()
    assert counter.frame_count == 1


def test_misuse_is_refused() -> None:
    with pytest.raises(bevel.InvalidValue, match=r"must have a smooth activation .*; got one without"):
        SharpnessSchedule(nn.Sequential(nn.ReLU(), bevel.FReLU()), 1.0, 2.0, steps=3)
    with pytest.raises(bevel.InvalidValue, match="the sharpness n must be finite and > 0; got -1"):
        SharpnessSchedule(_model(), -1.0, 2.0, steps=3)
    with pytest.raises(bevel.InvalidValue, match="steps must be an integer >= 1; got 0"):
        SharpnessSchedule(_model(), 1.0, 2.0, steps=0)
    with pytest.raises(bevel.InvalidValue, match=r"shape must be one of .* did you mean 'linear'"):
        SharpnessSchedule(_model(), 1.0, 2.0, steps=3, shape="liner")
