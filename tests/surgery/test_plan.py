"""``result.plan()`` and ``apply_plan``: a swap done again to a new model, without an example."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_models import Net, RunsIn, X
from torch import Tensor, fx, nn

import bevel
from bevel import InvalidValue
from bevel.surgery import Result, apply_plan, swap

V = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Loop(nn.Module):
    """A loop over layers, whose calls need marks, an in-place call whose input is read, and a float64 part."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.out = nn.Linear(4, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, keep: str = "012") -> Tensor:
        for name, layer in self.layers.named_children():
            if name in keep:
                x = F.relu(layer(x))
        y = self.out(x)
        self.act(y)
        return y * 2


def leaky() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.2), nn.Linear(6, 5), nn.PReLU(5), nn.Linear(5, 3), nn.ReLU6())


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor, str]] = {
    "net": (lambda: Net().eval(), X, "frelu"),
    "net, sau": (lambda: Net().eval(), X, "sau:n=5"),
    "loop": (Loop, V, "frelu"),
    "leaky": (leaky, V, "sau"),
    "float64": (lambda: leaky().double(), V.double(), "frelu"),
    "arguments": (leaky, V, "mollified:n=3"),
    "graph": (lambda: fx.symbolic_trace(Net()).eval(), X, "smooth_frelu"),
}


def swapped(kind: str) -> tuple[nn.Module, Result]:
    make, x, to = MODELS[kind]
    model = make()
    result = swap(model, to, x)
    with torch.no_grad():
        for number, p in enumerate(result.parameters.values()):
            p.add_(0.1 * (number + 1))
    return model, result


@pytest.mark.parametrize("kind", MODELS)
def test_a_plan_makes_the_same_model(kind: str) -> None:
    make, x, _ = MODELS[kind]
    model, result = swapped(kind)
    plan = json.loads(json.dumps(json.loads(result.plan())))
    again = make()
    applied = apply_plan(again, plan)
    assert list(again.state_dict()) == list(model.state_dict())
    assert [p.dtype for p in again.parameters()] == [p.dtype for p in model.parameters()]
    again.load_state_dict(model.state_dict())
    for training in (True, False):
        assert torch.equal(again.train(training)(x), model.train(training)(x))
    assert [(s.name, s.new, s.bound, s.feeder) for s in applied.sites] == [
        (s.name, s.new, s.bound, s.feeder) for s in result.sites.swapped
    ]
    assert applied.plan() == result.plan()
    before = make()
    before.load_state_dict({k: v for k, v in model.state_dict().items() if k in before.state_dict()}, strict=False)
    applied.restore()
    assert list(again.state_dict()) == list(before.state_dict())
    assert [type(m).__name__ for m in again.modules()] == [type(m).__name__ for m in before.modules()]


def test_the_calls_of_a_planned_model_find_their_own() -> None:
    model, result = swapped("loop")
    again = Loop()
    apply_plan(again, result.plan())
    again.load_state_dict(model.state_dict())
    for keep in ("012", "12", "02", "0"):
        assert torch.equal(again(V, keep), model(V, keep))


class Changed(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def _with(**modules: nn.Module) -> nn.Module:
    model = Net()
    for name, module in modules.items():
        setattr(model, name, module)
    return model


OTHERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a wider layer": (
        lambda: _with(three=nn.Conv2d(4, 8, 1)),
        r"site 'bevel_sites.relu' needs a layer 'three' with parameters of shape .*; found \[\[8",
    ),
    "another activation": (lambda: _with(act=nn.GELU()), r"site 'act.0' needs a ReLU .relu. at 'act'; found a GELU"),
    "another layer": (lambda: _with(norm=nn.Identity()), r"site 'act.0' needs a layer 'norm'"),
    "nothing there": (
        lambda: nn.Sequential(nn.Linear(3, 6)),
        r"site 'act.0' needs a ReLU .relu. at 'act'; found nothing",
    ),
    "another class": (Changed, r"site 'act.0' needs a Net at 'the root'; found a Changed"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_model_that_differs_is_refused_with_the_site(case: str) -> None:
    make, text = OTHERS[case]
    _, result = swapped("net")
    model = make()
    state = list(model.state_dict())
    with pytest.raises(InvalidValue, match=f"not the one that the plan was made of: {text}"):
        apply_plan(model, result.plan())
    assert list(model.state_dict()) == state


def test_a_forward_that_was_edited_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, result = swapped("net")

    def forward(self: Net, x: Tensor) -> Tensor:
        return self.head(F.relu(self.one(x)).mean((2, 3)))

    monkeypatch.setattr(Net, "forward", forward)
    with pytest.raises(InvalidValue, match=r"needs the forward that Net had; found another one"):
        apply_plan(Net(), result.plan())


def test_a_model_that_is_swapped_already_is_refused() -> None:
    model, result = swapped("net")
    with pytest.raises(InvalidValue, match=r"not the one that the plan was made of: site 'act\.0'"):
        apply_plan(model, result.plan())
    functions = RunsIn(lambda s, x: F.relu(s.fc(x)), fc=nn.Linear(4, 4))
    plan = swap(functions, "frelu", V).plan()
    with pytest.raises(InvalidValue, match="needs a model that is not swapped; found one that has an activation there"):
        apply_plan(functions, plan)


def test_what_is_no_plan_is_refused() -> None:
    _, result = swapped("net")
    plan = json.loads(result.plan())
    for bad, text in (
        ("{", "a plan must be JSON"),
        ("3", "as result.plan.. writes it; got something else"),
        ([], "got something else"),
        (plan | {"bevel_plan": 3}, "must have version 1 to 2 in this bevel; got 3"),
        ({k: v for k, v in plan.items() if k != "sites"}, "the plan is damaged .KeyError: 'sites'"),
        (plan | {"held": 3}, "the plan is damaged"),
    ):
        with pytest.raises(InvalidValue, match=text):
            apply_plan(Net(), bad)  # type: ignore[arg-type]
    with pytest.raises(bevel.UnknownName, match="did you mean 'frelu'"):
        apply_plan(Net(), plan | {"to": "freluu"})
    plan["sites"][0]["arguments"]["inplace"] = True
    with pytest.raises(InvalidValue, match=r"the plan is damaged: frelu takes no argument 'inplace'"):
        apply_plan(Net(), plan)


def test_classes_have_plans_and_functions_do_not() -> None:
    model = Net().eval()
    result = swap(model, bevel.FReLU, X)
    assert json.loads(result.plan())["to"] == "frelu"
    result.restore()
    with pytest.raises(InvalidValue, match="a plan must name its activation by a spec string"):
        swap(model, lambda: nn.GELU(), X, preserve=False).plan()


# ------------------------------------------------------------------------------------------------- the optimizer


def test_the_result_says_that_new_parameters_need_an_optimizer() -> None:
    result = swap(Net().eval(), "frelu", X)
    assert "8 new parameters: an optimizer that was made before does not train them" in str(result)
    assert "new parameters" not in str(swap(Net().eval(), "relu6", X, preserve=False))


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, weight_decay=0.5),
    "named": lambda m: torch.optim.AdamW(m.named_parameters(), lr=0.1, weight_decay=0.5),
    "without decay": lambda m: torch.optim.Rprop(m.parameters()),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_optimizer_of_before_trains_the_new_parameters(kind: str, net: Net) -> None:
    model = net
    optimizer = OPTIMIZERS[kind](model)
    groups = len(optimizer.param_groups)
    result = swap(model, "frelu", X, optimizer=optimizer)
    assert "8 new parameters were added to the optimizer, without weight decay" in str(result)
    assert optimizer.param_groups[-1].get("weight_decay", 0.0) == 0.0
    before = {name: p.detach().clone() for name, p in result.parameters.items()}
    model(X).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(p, before[name]) for name, p in result.parameters.items())
    optimizer.load_state_dict(optimizer.state_dict())
    result.restore()
    assert len(optimizer.param_groups) == groups
    optimizer.step()


def test_an_alternating_optimizer_gets_them_among_the_activations() -> None:
    model = nn.Sequential(nn.Linear(4, 4), bevel.FReLU(4), nn.Linear(4, 4), nn.ReLU())
    weights, slopes = bevel.parameter_groups(model, lr=0.1)
    optimizer = bevel.Alternating(torch.optim.SGD([weights]), torch.optim.SGD([slopes]))
    result = swap(model, "frelu", V, what="relu", optimizer=optimizer)
    assert len(optimizer.activations_optimizer.param_groups) == 2
    for _ in range(2):
        optimizer.zero_grad()
        model(V).sum().backward()
        optimizer.step()
    assert len(optimizer.state_dict()["param_groups"]) == 3
    assert result.optimized


def test_what_is_no_optimizer_is_refused_and_the_model_stays() -> None:
    model = Net().eval()
    with pytest.raises(InvalidValue, match=r"optimizer must be a torch\.optim\.Optimizer; got a list"):
        swap(model, "frelu", X, optimizer=[])  # type: ignore[arg-type]
    assert isinstance(model.act, nn.ReLU)


# ------------------------------------------------------------------------------------------------- loading elsewhere


def test_transformers_from_pretrained(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = transformers.T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, vocab_size=99)
        model = transformers.T5EncoderModel(config).eval()
        ids = {"input_ids": torch.randint(3, 90, (2, 7))}
        plan = swap(model, "sau:n=5", kwargs=ids, preserve=False).plan()

        class Swapped(transformers.T5EncoderModel):  # type: ignore[misc,name-defined]
            def __init__(self, config: Any) -> None:
                super().__init__(config)
                apply_plan(self, plan)

        with torch.no_grad():
            for name, p in bevel.training.activation_parameters(model).items():
                p.fill_(0.1 + 0.01 * len(name))
        model.save_pretrained(tmp_path)
        loaded = Swapped.from_pretrained(tmp_path).eval()
        want, found = model(**ids).last_hidden_state, loaded(**ids).last_hidden_state
    torch.testing.assert_close(found, want)


def test_lightning_load_from_checkpoint(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    plan = swap(Net().eval(), "frelu", X).plan()

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()
            apply_plan(self.net, plan)

    first = Module().eval()
    with torch.no_grad():
        for p in bevel.training.activation_parameters(first).values():
            p.uniform_(0.5, 1.5)
    torch.save(
        {"state_dict": first.state_dict(), "pytorch-lightning_version": lightning.__version__}, tmp_path / "a.ckpt"
    )
    again = Module.load_from_checkpoint(tmp_path / "a.ckpt").eval()
    assert torch.equal(again.net(X), first.net(X))
