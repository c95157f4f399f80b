"""``Alternating``: one set moves, the other does not move at all, and every trainer takes it for an optimizer."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bevel
from bevel.training import Alternating, activation_parameters, parameter_groups


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), bevel.FReLU(6), nn.Linear(6, 6), nn.PReLU(), nn.Linear(6, 1))


def _optimizer(model: nn.Module, **schedule: Any) -> Alternating:
    weights, slopes = parameter_groups(model, lr=0.1, weight_decay=0.1, activation_lr=0.05)
    return Alternating(
        torch.optim.SGD([weights], momentum=0.9),
        torch.optim.AdamW([slopes], weight_decay=0.3),
        **(schedule or {"weights_steps": 2, "activation_steps": 1}),
    )


def _batch(step: int) -> Tensor:
    return torch.randn(16, 4, generator=torch.Generator().manual_seed(step))


def _loss(model: nn.Module, step: int) -> Tensor:
    x = _batch(step)
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


def _advance(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        _loss(model, step).backward()
        optimizer.step()


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_groups_part_the_activations_and_do_not_decay_them() -> None:
    model = _model()
    model[0].bias.requires_grad_(False)
    weights, slopes = parameter_groups(model, lr=0.1, weight_decay=0.5)
    assert [p.shape for p in slopes["params"]] == [(6,), (6,), (1,)]
    assert len(weights["params"]) == 5  # three weights, two biases that learn
    assert (weights["lr"], weights["weight_decay"], weights["name"]) == (0.1, 0.5, "weights")
    assert (slopes["lr"], slopes["weight_decay"], slopes["name"]) == (0.1, 0.0, "activations")
    assert parameter_groups(model, 0.1, activation_lr=0.01)[1]["lr"] == 0.01
    assert list(activation_parameters(model)) == ["1.positive", "1.negative", "3.weight"]
    tied = nn.Sequential(model[1], model[1])
    assert len(parameter_groups(tied, 0.1)[1]["params"]) == 2


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"lr": float("nan")}, {"weight_decay": -0.1}, {"activation_lr": -2.0}])
def test_rates_that_are_none_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(bevel.InvalidValue, match=rf"{next(iter(bad))} must be finite and >= 0; got"):
        parameter_groups(_model(), **({"lr": 0.1} | bad))
    assert parameter_groups(_model(), lr=torch.tensor(0.1))[0]["lr"] == torch.tensor(0.1)


def test_a_model_without_learnable_activations_still_trains() -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.ReLU())
    groups = parameter_groups(model, lr=0.1, weight_decay=0.1, activation_lr=1.0)
    assert groups[1]["params"] == []
    _advance(model, torch.optim.SGD(groups), range(2))


def test_every_activation_of_the_catalog_is_seen() -> None:
    for name in bevel.ACTIVATIONS:
        module = bevel.create(name, 3)
        assert len(activation_parameters(nn.Sequential(module))) == len(list(module.parameters())), name


def test_one_set_moves_and_the_other_stays_to_the_bit() -> None:
    model = _model()
    optimizer = _optimizer(model)
    ours = set(activation_parameters(model))
    phases = []
    for step in range(9):
        before, phase = _state(model), optimizer.phase
        inner = optimizer.activations_optimizer if phase == "weights" else optimizer.weights_optimizer
        frozen = copy.deepcopy(inner.state_dict()["state"])
        _advance(model, optimizer, range(step, step + 1))
        moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert moved == (set(before) - ours if phase == "weights" else ours)
        assert str(inner.state_dict()["state"]) == str(frozen), "momentum or step count of the frozen set moved"
        assert all(p.requires_grad and p.grad is not None for p in model.parameters())
        phases.append(phase[0])
    assert "".join(phases) == "wwawwawwa"


def test_it_equals_two_optimizers_stepped_by_hand() -> None:
    ours, theirs = _model(), _model()
    _advance(ours, _optimizer(ours), range(8))
    by_hand = _optimizer(theirs)
    for step in range(8):
        theirs.zero_grad()
        _loss(theirs, step).backward()
        (by_hand.activations_optimizer if step % 3 == 2 else by_hand.weights_optimizer).step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_zero_grad_clears_the_frozen_set_too() -> None:
    model = _model()
    optimizer = _optimizer(model)
    _loss(model, 0).backward()
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_gradient_accumulation() -> None:
    whole, parts = _model(), _model()
    for model, pieces in ((whole, 1), (parts, 4)):
        optimizer = _optimizer(model)
        for step in range(6):
            optimizer.zero_grad()
            for x in _batch(step).chunk(pieces):
                ((model(x) - x.sum(1, keepdim=True)).square().mean() / pieces).backward()
            optimizer.step()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_closure_is_passed_on() -> None:
    model, twin = _model(), _model()
    optimizer = _optimizer(model)

    def closure() -> float:
        optimizer.zero_grad()
        loss = _loss(model, 0)
        loss.backward()
        return float(loss.detach())

    losses = [optimizer.step(closure) for _ in range(3)]
    twin_optimizer = _optimizer(twin)
    for _ in range(3):
        _advance(twin, twin_optimizer, range(1))
    assert losses[0] == pytest.approx(float(_loss(_model(), 0).detach()))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))

    weights, slopes = parameter_groups(model, lr=1.0)
    del weights["weight_decay"], weights["name"]
    lbfgs = Alternating(torch.optim.LBFGS(weights["params"], max_iter=5), torch.optim.SGD([slopes], lr=0.01))
    optimizer = lbfgs
    first = lbfgs.step(closure)
    assert float(_loss(model, 0).detach()) < first


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_saving_in_any_phase_and_going_on_is_as_if_never_stopped(stop: int) -> None:
    straight = _model()
    _advance(straight, _optimizer(straight), range(8))
    model = _model()
    optimizer = _optimizer(model)
    _advance(model, optimizer, range(stop))
    stream = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, stream)
    stream.seek(0)
    saved = torch.load(stream, weights_only=True)
    fresh = _model()
    fresh.load_state_dict(saved["model"])
    resumed = _optimizer(fresh)
    resumed.load_state_dict(saved["optimizer"])
    assert resumed.phase == optimizer.phase
    _advance(fresh, resumed, range(stop, 8))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), fresh.parameters(), strict=True))


def test_state_dict_has_the_standard_form() -> None:
    model = _model()
    optimizer = _optimizer(model)
    _advance(model, optimizer, range(3))
    saved = optimizer.state_dict()
    assert set(saved) == {"state", "param_groups"}
    assert [g["name"] for g in saved["param_groups"]] == ["weights", "activations"]
    assert sorted(saved["state"]) == list(range(9))
    assert len(optimizer.state) == 9
    assert all(p in optimizer.state for p in model.parameters())
    with pytest.raises(bevel.InvalidValue, match=r"as many parameter groups .* \(2\); got 1"):
        optimizer.load_state_dict({"state": {}, "param_groups": saved["param_groups"][:1]})


def test_state_is_written_through() -> None:
    model = _model()
    optimizer = _optimizer(model)
    _advance(model, optimizer, range(3))
    for p, values in list(optimizer.state.items()):  # what moving an optimizer to a device does
        optimizer.state[p] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in values.items()} | {"mark": 1}
    inner = (optimizer.weights_optimizer, optimizer.activations_optimizer)
    assert [len(o.state) for o in inner] == [6, 3]
    assert all(s["mark"] == 1 for o in inner for s in o.state.values())


def test_hooks_run() -> None:
    model = _model()
    optimizer = _optimizer(model)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.register_load_state_dict_post_hook(lambda *_: seen.append("loaded"))
    optimizer.register_load_state_dict_pre_hook(lambda _, state: seen.append("loading"))
    _advance(model, optimizer, range(1))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["before", "after", "loading", "loaded"]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies(how: Callable[[Any], Any]) -> None:
    model = _model()
    optimizer = _optimizer(model)
    _advance(model, optimizer, range(2))
    again_model, again = how((model, optimizer))
    assert again.phase == "activations"
    _advance(model, optimizer, range(2, 6))
    _advance(again_model, again, range(2, 6))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again_model.parameters(), strict=True))


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, [lambda t: 0.9**t, lambda t: 0.5**t]),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, [0.1, 0.05], total_steps=20, cycle_momentum=False),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "sequence": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.LinearLR(o, total_iters=2), torch.optim.lr_scheduler.ExponentialLR(o, 0.5)],
        [2],
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_learning_rate_schedulers(name: str) -> None:
    model = _model()
    optimizer = _optimizer(model)
    scheduler = SCHEDULERS[name](optimizer)
    rates = []
    for step in range(6):
        _advance(model, optimizer, range(step, step + 1))
        scheduler.step(*([1.0] if name == "plateau" else []))
        rates.append([g["lr"] for g in optimizer.param_groups])
        inner = (optimizer.weights_optimizer, optimizer.activations_optimizer)
        assert [o.param_groups[0]["lr"] for o in inner] == rates[-1]
    assert len({tuple(r) for r in rates}) > 1


CYCLES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, [0.1, 0.05], total_steps=20, max_momentum=0.9),
    "cyclic": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3, base_momentum=0.7),
}
OPTIMIZERS: dict[str, Callable[[list[Any]], torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9),
    "adam": torch.optim.AdamW,
    "plain": lambda groups: torch.optim.Adagrad(groups, lr=0.1),  # has no momentum to cycle
}


def _momentum(group: dict[str, Any]) -> float:
    return float(group["betas"][0] if "betas" in group else group["momentum"])


@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("first", OPTIMIZERS)
@pytest.mark.parametrize("second", OPTIMIZERS)
def test_both_momenta_are_cycled(cycle: str, first: str, second: str) -> None:
    """With AdamW first it was a KeyError; with SGD first Adam's betas never moved."""
    model = _model()
    weights, slopes = parameter_groups(model, lr=0.1, activation_lr=0.05)
    optimizers = OPTIMIZERS[first]([weights]), OPTIMIZERS[second]([slopes])
    optimizer = Alternating(*optimizers)
    if first == second == "plain":
        with pytest.raises(ValueError, match="optimizer must support momentum"):
            CYCLES[cycle](optimizer)
        return
    alone = [CYCLES[cycle](_alone(o)) for o, name in zip(optimizers, (first, second), strict=True) if name != "plain"]
    scheduler = CYCLES[cycle](optimizer)
    for step in range(8):
        _advance(model, optimizer, range(step, step + 1))
        _advance(model, optimizer, range(step, step + 1))  # both phases
        kept = [o for o, name in zip(optimizers, (first, second), strict=True) if name != "plain"]
        for inner, single in zip(kept, alone, strict=True):
            assert _momentum(inner.param_groups[0]) == pytest.approx(_momentum(single.optimizer.param_groups[0]))
        scheduler.step()
        for single in alone:
            single.optimizer.step()
            single.step()
    optimizer.load_state_dict(optimizer.state_dict())


def _alone(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same kind of optimizer with two groups, for a scheduler of its own."""
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.1, 0.05)]
    return OPTIMIZERS["adam" if "betas" in optimizer.defaults else "sgd"](groups)


def _steps(optimizer: Alternating) -> int:
    """The number of steps made, as checkpoints have it."""
    return int(optimizer.state_dict()["param_groups"][0]["alternating_count"])


def test_grad_scaler() -> None:
    model, plain = _model(), _model()
    _advance(plain, optimizer := _optimizer(plain), range(6))
    optimizer = _optimizer(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    skipped = 0
    for step in (0, 1, 1, 2, 3, 4, 5):  # the second one overflows and is made again
        poison = step == 1 and skipped == 0
        optimizer.zero_grad()
        scaler.scale(_loss(model, step) * (float("inf") if poison else 1.0)).backward()
        scaler.unscale_(optimizer)
        before = optimizer.phase, _steps(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if poison:
            skipped += 1
            assert (optimizer.phase, _steps(optimizer)) == before, "a skipped step moved the schedule"
    assert skipped == 1
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def _converges(lr: float, momentum: float, turns: int) -> bool:
    """Whether SGD goes to the minimum of (w² + a²)/2 + 0.9·w·a; ``turns`` of 0 steps are both at once."""
    w, a = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (1.0, -0.5))
    optimizer: torch.optim.Optimizer = torch.optim.SGD([w, a], lr, momentum)
    if turns:
        both = (torch.optim.SGD([p], lr, momentum) for p in (w, a))
        optimizer = Alternating(*both, weights_steps=turns, activation_steps=turns)
    for _ in range(2000):
        optimizer.zero_grad()
        ((w * w + a * a) / 2 + 0.9 * w * a).backward()
        optimizer.step()
    return max(abs(w.item()), abs(a.item())) < 1e-3


@pytest.mark.parametrize(
    ("momentum", "turns", "limit"), [(0.9, 0, 2.0), (0.9, 1, 0.22), (0.9, 50, 3.7), (0.0, 0, 1.05), (0.0, 1, 2.0)]
)
def test_momentum_and_short_phases_do_not_go_together(momentum: float, turns: int, limit: float) -> None:
    """The rates that the docs name: the largest at which it converges, to a tenth."""
    assert _converges(0.9 * limit, momentum, turns)
    assert not _converges(1.1 * limit, momentum, turns)


def test_by_epoch() -> None:
    for signal in (2, "manual"):
        model = _model()
        optimizer = _optimizer(model, by="epoch", weights_steps=1, activation_steps=2, steps_per_epoch=signal)
        phases = ""
        for _ in range(6):
            for _ in range(2):
                phases += optimizer.phase[0]
                _advance(model, optimizer, range(1))
            if signal == "manual":
                optimizer.end_epoch()
        assert phases == "wwaaaawwaaaa"


def test_an_epoch_signal_that_cannot_be_right_is_refused() -> None:
    model = _model()
    with pytest.raises(bevel.InvalidValue, match="must know when an epoch ends: give steps_per_epoch="):
        _optimizer(model, by="epoch")
    with pytest.raises(bevel.InvalidValue, match="steps_per_epoch is for by='epoch'; got 5"):
        _optimizer(model, by="step", steps_per_epoch=5)
    with pytest.raises(bevel.InvalidValue, match="steps_per_epoch must be an integer >= 1; got 0"):
        _optimizer(model, by="epoch", steps_per_epoch=0)
    with pytest.raises(bevel.InvalidValue, match="by must be 'step' or 'epoch'; got 'epochs'; did you mean 'epoch'"):
        _optimizer(model, by="epochs")
    with pytest.raises(bevel.InvalidValue, match=r"end_epoch\(\) is for .* counts by itself"):
        _optimizer(model).end_epoch()
    manual = _optimizer(model, by="epoch", steps_per_epoch="manual")
    with pytest.raises(bevel.InvalidValue, match="at least one step"):
        manual.end_epoch()
    _advance(model, manual, range(1))
    manual.end_epoch()
    with pytest.raises(bevel.InvalidValue, match="at least one step"):
        manual.end_epoch()


def test_other_misuse_is_refused() -> None:
    model = _model()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(bevel.InvalidValue, match="different parameters; 9 are in both"):
        Alternating(sgd, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(bevel.InvalidValue, match="activations_optimizer must have parameters"):
        Alternating(sgd, torch.optim.SGD(parameter_groups(nn.Linear(2, 2), 0.1)[1:]))
    with pytest.raises(bevel.InvalidValue, match=r"weights_optimizer must be a torch.optim.Optimizer; got list"):
        Alternating([], sgd)
    for bad in (0, 1.5, True):
        with pytest.raises(bevel.InvalidValue, match="weights_steps must be an integer >= 1"):
            _optimizer(model, weights_steps=bad)
    with pytest.raises(bevel.InvalidValue, match="call add_param_group on"):
        _optimizer(model).add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    assert "2 × SGD" in repr(_optimizer(model))
