"""Equations: the solutions solve them, a network learns to, and ReLU's missing curvature is why it does not."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel_lab.cli import main
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS
from bevel_lab.datasets.equations import VISCOSITY, Equation, gradient, second_derivatives
from bevel_lab.experiment import ledger, settings
from bevel_lab.experiment.record import Epoch, Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import MODELS
from bevel_lab.runtime.rng import generator
from bevel_lab.training.activations import ActivationFactory
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer

FILE = Path(__file__).resolve().parents[2] / "experiments" / "small-pde.toml"
EQUATIONS = ("poisson_1d", "poisson_1d_ritz", "poisson_2d", "poisson_2d_ritz", "burgers")
RITZ = ("poisson_1d_ritz", "poisson_2d_ritz")
RECIPE: dict[str, Any] = {
    "task": "pde", "model": "pde_mlp", "dataset": "poisson_1d", "optimizer": "adam", "lr": 0.02, "batch_size": 128,
    "weight_decay": 0.0,
}  # fmt: skip
every_equation = pytest.mark.parametrize("name", EQUATIONS)


def _equation(name: str) -> Equation:
    found = DATASETS.item(name).load(Source())
    assert isinstance(found, Equation)
    return found


def _trial(spec: str = "tanh", **fields: Any) -> Trial:
    return Trial(activation=bevel.canonical(spec), **(RECIPE | fields))


def _trainer(spec: str = "tanh", **fields: Any) -> Trainer:
    return Trainer(_trial(spec, **fields), Source(), torch.device("cpu"))


def _points(equation: Equation) -> Tensor:
    return equation.test[::37].clone().requires_grad_()


# ----------------------------------------------------------------------------------------------------------- equations


@every_equation
def test_the_solution_solves_its_equation(name: str) -> None:
    """By torch's own Hessian of the exact solution, without the lab's loss."""
    equation = _equation(name)
    for point in _points(equation)[::5].detach():
        value = equation.solution(point[None])[0]
        slope = torch.autograd.functional.jacobian(lambda p: equation.solution(p[None])[0], point)
        curve = torch.autograd.functional.hessian(lambda p: equation.solution(p[None])[0], point)
        if name == "burgers":
            left_over = slope[1] + value * slope[0] - VISCOSITY * curve[0, 0]
        else:
            frequency = 2 if len(point) == 1 else 1
            source = len(point) * (frequency * math.pi) ** 2 * torch.sin(frequency * math.pi * point).prod()
            left_over = curve.diagonal().sum() + source
        assert abs(float(left_over)) < 1e-11


@every_equation
def test_the_solution_has_no_loss_and_anything_else_has(name: str) -> None:
    equation, x = _equation(name), _points(_equation(name))
    assert float(equation.density(x, equation.solution(x)).detach().abs().max()) < 1e-20
    other = equation.solution(x) + 0.1 * (1 - x * x).prod(1)
    assert float(equation.density(x, other).detach().mean()) > 1e-3


@pytest.mark.parametrize("name", RITZ)
def test_the_energy_measures_the_distance_from_the_solution(name: str) -> None:
    equation = _equation(name)
    x = equation.train.clone().requires_grad_()
    error = 0.3 * (1 - x * x).prod(1) * torch.cos(x).prod(1)
    excess = equation.density(x, equation.solution(x) + error).detach().mean()
    assert float(excess) == pytest.approx(float(gradient(error, x).detach().square().sum(1).mean() / 2), rel=1e-4)


@every_equation
def test_every_network_meets_the_conditions(name: str) -> None:
    equation = _equation(name)
    low, high = equation.train.amin(0) - equation.cell / 2, equation.train.amax(0) + equation.cell / 2
    for axis in range(len(low)):
        for end in (low,) if name == "burgers" and axis == 1 else (low, high):
            x = equation.test[::29].clone()
            x[:, axis] = end[axis]
            found = equation.ansatz(x, torch.randn(len(x), generator=torch.Generator().manual_seed(0)).double())
            torch.testing.assert_close(found, equation.solution(x), rtol=0, atol=1e-12)


@every_equation
def test_no_point_is_in_two_parts(name: str) -> None:
    equation = _equation(name)
    parts = [set(map(tuple, part.tolist())) for part in (equation.train, equation.validation, equation.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert [equation.facts[part] for part in ("train", "validation", "test")] == [len(part) for part in parts]


# ------------------------------------------------------------------------------------------------------------ the task


def test_points_are_drawn_anew_within_their_cells_and_alike_for_every_arm_and_shard() -> None:
    one, other = (_trainer(spec, dataset="burgers", train_limit=64).task for spec in ("tanh", "sau:n=1"))
    order = torch.randperm(64, generator=generator(0, "test")).split(32)
    first, again, next_epoch = (list(t.batches(order, 0, epoch)) for t, epoch in ((one, 0), (other, 0), (one, 1)))
    for samples, batch, same, fresh in zip(order, first, again, next_epoch, strict=True):
        middle = one.data.train[one.training[samples]]
        assert torch.equal(batch, same)
        assert not torch.equal(batch, fresh)
        assert bool(((batch - middle).abs() <= one.data.cell / 2).all())
    shard = list(one.batches(order, 0, 0, lambda count: (count // 2, count)))
    assert all(torch.equal(part, whole[16:]) for part, whole in zip(shard, first, strict=True))
    still = _trainer(dataset="burgers", train_limit=64, augment=False).task
    assert torch.equal(next(still.batches(order, 0, 0)), still.data.train[still.training[order[0]]])


def test_torch_drops_what_curvature_relu_has() -> None:
    """Its slope changes from point to point, so it bends; torch's second derivative is 0 at every one of them."""
    slopes, curves = {}, {}
    for spec in ("relu", "sau:n=20000", "sau:n=1"):
        network = MODELS.item("pde_mlp").build(ActivationFactory(spec), 1)
        torch.manual_seed(0)
        for part in network:
            if isinstance(part, nn.Linear):
                part.reset_parameters()
        x = torch.linspace(-1, 1, 400, dtype=torch.float64)[:, None].requires_grad_()
        slope = gradient(network(x)[:, 0], x)
        slopes[spec], curves[spec] = slope.detach()[:, 0], second_derivatives(slope, x, [0])[0].detach()
    assert int((slopes["relu"].diff().abs() > 1e-4).sum()) > 10, "kinks"
    assert not curves["relu"].any()
    assert float((curves["sau:n=20000"].abs() > 1e-6).double().mean()) < 0.1, "all but all of it is between the points"
    bent = float(slopes["sau:n=1"][-1] - slopes["sau:n=1"][0])
    assert float(curves["sau:n=1"].mean() * 2) == pytest.approx(bent, rel=0.02), "a curvature that adds up to the bend"


def _learned(spec: str, **fields: Any) -> tuple[dict[str, float], Record]:
    """What the test part says before training, and the record."""
    untrained = _trainer(spec, **fields)
    return untrained.evaluate(untrained.task.test), run_trial(_trial(spec, **fields))


def test_a_smooth_network_learns_and_relu_learns_something_else() -> None:
    before, smooth = _learned("tanh", epochs=4)
    assert smooth.test["relative_l2"] < 0.5 * before["relative_l2"]
    assert smooth.test["loss"] < 0.1 * before["loss"]
    assert (smooth.metric, smooth.lower_is_better, smooth.log_scale) == ("relative_l2", True, True)
    before, kinked = _learned("relu", epochs=4)
    assert kinked.test["loss"] < 0.7 * before["loss"], "it lowers what torch computes"
    assert kinked.test["relative_l2"] > 0.9, "and comes no nearer to the solution"
    _, energy = _learned("relu", epochs=4, dataset="poisson_1d_ritz")
    assert energy.test["relative_l2"] < 0.5, "first derivatives are enough for it"


def test_the_rest_of_the_equations_are_learned() -> None:
    for name in ("poisson_2d_ritz", "burgers"):
        before, after = _learned("tanh", epochs=2, dataset=name)
        assert after.test["relative_l2"] < 0.7 * before["relative_l2"], name
        assert after.data["note"].startswith(("Δu", "u_t"))


def test_everything_is_float64() -> None:
    trainer = _trainer("smooth_frelu")
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float64}
    loss, _ = trainer.task.loss(trainer.model, next(trainer.task.batches([torch.arange(4)], 0, 0)))
    assert loss.dtype == torch.float64
    assert _trainer("prelu").before, "torch's own takes no float32 input with float64 slopes"


class _Stopped(Exception):
    pass


def test_a_trial_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    trial, state = _trial("smooth_frelu", epochs=2, train_limit=512), tmp_path / "state.pt"

    def stop(done: int, epoch: Epoch) -> None:
        raise _Stopped

    with pytest.raises(_Stopped):
        run_trial(trial, state=state, state_every=0.0, on_epoch=stop)
    resumed: list[int] = []
    found = run_trial(trial, state=state, on_epoch=lambda done, epoch: resumed.append(done))
    assert resumed == [2], "it went on, it did not start again"
    assert found.result == run_trial(trial).result


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"precision": "bfloat16"}, "precision must be float32 for pde"),
        ({"compile": True}, "compile must be false for pde"),
        ({"mixup": 0.2}, "mixup must be 0 for pde"),
        ({"model": "mlp"}, "model 'mlp' is for classification"),
    ],
)
def test_what_has_no_second_derivative_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        _trainer(**fields)


# ------------------------------------------------------------------------------------------------------ the experiment


def test_the_experiment_asks_at_which_sharpness_smoothness_pays() -> None:
    experiment = settings.resolve(settings.read(FILE))
    assert sorted(dataset for dataset, _ in experiment.cells) == sorted(EQUATIONS)
    labels = [arm.label for arm in experiment.arms]
    sharpness = {"sau:n=1", "sau:n=5", "sau:n=20000"}
    assert set(labels) >= sharpness | {"relu", "leaky_relu", "tanh", "gelu", "softplus", "smooth_frelu"}
    mollified = [bevel.create(label) for label in labels if label.startswith("mollified:")]
    assert len(mollified) == 3
    x = torch.linspace(-40, 40, 80001, dtype=torch.float64, requires_grad=True)
    for module in mollified:  # ∫ x²·f''(x) dx is the variance of a kernel, and all have the same
        slope = torch.autograd.grad(module.double()(x).sum(), x, create_graph=True)[0]
        density = torch.autograd.grad(slope.sum(), x)[0]
        assert float((density * x.detach() ** 2).sum() * 1e-3) == pytest.approx(1.0, abs=5e-3)


@pytest.mark.process
def test_the_experiment_ends_in_a_report(tmp_path: Path) -> None:
    command = ["run", str(FILE), "--dataset", "poisson_1d", "--activations", "relu", "sau:n=1", "--epochs", "1"]
    command += ["--seeds", "1", "--train-limit", "16", "--workers", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    records = list(ledger.parse(tmp_path / ledger.LEDGER)[0].values())
    assert {dataclasses.asdict(record.trial)["task"] for record in records} == {"pde"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for part in ("pde_mlp on poisson_1d", "relative L2", "test point 1", "4π² sin 2πx"):
        assert part in page
