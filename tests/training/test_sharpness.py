"""``SharpnessSchedule``: from soft to sharp, without compiling again."""

import copy
import io
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


@pytest.mark.compile
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


LEARNT = ("gate", "gate:kernel=logistic", "smooth_frelu", "mollified:f=hardswish,learn=n", "sau:learn_n=true")


def _log_n(model: nn.Sequential) -> torch.Tensor:
    return model[1].log_n.detach().double()


def _learning(spec: str, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), bevel.create(spec, 4)).to(dtype)


@pytest.mark.parametrize("spec", LEARNT)
@pytest.mark.parametrize("pull", [0.0, 0.1, 1.0])
def test_a_learnt_n_keeps_an_offset_that_is_pulled_in(spec: str, pull: float) -> None:
    model = _learning(spec)
    schedule = SharpnessSchedule(model, 2.0, 200.0, steps=4, pull=pull)
    added = torch.tensor([0.0, 0.3, -0.5, 1.0], dtype=torch.float64)
    delta = torch.zeros(4, dtype=torch.float64)
    assert torch.allclose(_log_n(model), torch.full_like(delta, math.log(2.0)))
    for _ in range(6):
        with torch.no_grad():
            model[1].log_n.add_(added)  # what an optimizer does
        delta = ((1 - pull) * (delta + added)).clamp(-math.log(10), math.log(10))
        schedule.step()
        torch.testing.assert_close(_log_n(model), delta + math.log(schedule.n), rtol=0, atol=3e-6)
    assert float(delta.abs().max()) == pytest.approx({0.0: math.log(10), 0.1: math.log(10), 1.0: 0.0}[pull])


def test_offsets_are_dropped_where_nothing_moves_n() -> None:
    model = _learning("gate")
    schedule = SharpnessSchedule(model, 1.0, 1e4, steps=200)
    with torch.no_grad():
        model[1].log_n.add_(1.0)
    for _ in range(200):
        schedule.step()
    assert [_n(model[1]), schedule.n] == pytest.approx([1e4, 1e4], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_rounding_does_not_add_up(dtype: torch.dtype) -> None:
    model = _learning("gate", dtype)
    schedule = SharpnessSchedule(model, 1.0, 1e4, steps=1000, pull=0.0)
    for _ in range(1000):
        schedule.step()
        assert (_log_n(model) - math.log(schedule.n)).abs().max() <= math.log(1e4) * torch.finfo(dtype).eps


@pytest.mark.parametrize("late", [False, True], ids=["after a step", "between optimizer and schedule"])
@pytest.mark.parametrize("order", ["model first", "schedule first", "schedule alone"])
def test_offsets_are_resumed_to_the_bit(late: bool, order: str) -> None:
    def move(model: nn.Sequential) -> None:
        with torch.no_grad():
            model[1].log_n.add_(torch.tensor([0.1, -0.2, 0.3, 1 / 3]))

    model, other = _learning("gate"), _learning("gate")
    schedule = SharpnessSchedule(model, 1.0, 50.0, steps=6)
    for _ in range(3):
        move(model)
        schedule.step()
    if late:
        move(model)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "schedule": schedule.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = SharpnessSchedule(other, 1.0, 50.0, steps=6)
    if order == "model first":
        other.load_state_dict(state["model"])
    resumed.load_state_dict(state["schedule"])
    if order == "schedule first":
        other.load_state_dict(state["model"])
    assert torch.equal(other[1].log_n, model[1].log_n)
    for _ in range(2):
        for one, its in ((model, schedule), (other, resumed)):
            move(one)
            its.step()
        assert torch.equal(other[1].log_n, model[1].log_n)


@pytest.mark.parametrize("spec", LEARNT)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_cast_is_not_what_the_optimizer_did(spec: str, dtype: torch.dtype) -> None:
    model = _learning(spec)
    schedule = SharpnessSchedule(model, 3.0, 3e3, steps=8, pull=0.5)
    schedule.step()
    model.to(dtype)
    schedule.step()
    assert all(not offset["delta"].any() for offset in schedule.state_dict()["offsets"].values())
    with torch.no_grad():
        model[1].log_n.add_(0.5)
    schedule.step()
    assert (_log_n(model) - math.log(schedule.n) - 0.25).abs().max() <= 4 * math.log(3e3) * torch.finfo(dtype).eps


def test_a_model_may_move_to_a_device_without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only float64's absence is acted out here: this machine has no such device."""

    def none(self: torch.Tensor) -> torch.Tensor:
        raise TypeError("this device has no float64")

    model = _learning("gate")
    schedule = SharpnessSchedule(model, 1.0, 100.0, steps=2, pull=0.0)
    monkeypatch.setattr(torch.Tensor, "double", none)
    with torch.no_grad():
        model[1].log_n.add_(0.5)
    schedule.step()
    schedule.load_state_dict(schedule.state_dict())
    (offset,) = schedule.state_dict()["offsets"].values()
    assert {part.dtype for part in offset.values()} == {torch.float32}
    monkeypatch.undo()
    torch.testing.assert_close(_log_n(model), torch.full((4,), math.log(10.0) + 0.5).double(), rtol=0, atol=1e-6)


def test_a_state_without_offsets_starts_from_none() -> None:
    model = _learning("gate")
    schedule = SharpnessSchedule(model, 1.0, 100.0, steps=2)
    with torch.no_grad():
        model[1].log_n.add_(1.0)
    schedule.load_state_dict({"position": 1})
    assert _n(model[1]) == pytest.approx(10.0)


def test_misuse_is_refused() -> None:
    with pytest.raises(bevel.InvalidValue, match=r"must have a smooth activation .*; got one without"):
        SharpnessSchedule(nn.Sequential(nn.ReLU(), bevel.FReLU()), 1.0, 2.0, steps=3)
    with pytest.raises(bevel.InvalidValue, match="the sharpness n must be finite and > 0; got -1"):
        SharpnessSchedule(_model(), -1.0, 2.0, steps=3)
    for pull in (-0.1, 1.5):
        with pytest.raises(bevel.InvalidValue, match=f"pull must be from 0 to 1, .*; got {pull}"):
            SharpnessSchedule(_model(), 1.0, 2.0, steps=3, pull=pull)
    with pytest.raises(bevel.InvalidValue, match="steps must be an integer >= 1; got 0"):
        SharpnessSchedule(_model(), 1.0, 2.0, steps=0)
    with pytest.raises(bevel.InvalidValue, match=r"shape must be one of .* did you mean 'linear'"):
        SharpnessSchedule(_model(), 1.0, 2.0, steps=3, shape="liner")
