"""Models that ``torch.fx`` has traced: swapped node by node, so that copies carry the swap."""

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from surgery_models import Net, RunsIn, X
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

import bevel
from bevel.surgery import find, swap

V = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Twice(nn.Module):
    """Two calls of a function, a method, and one module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(4, 4) for _ in range(4))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.a(x))))
        return self.act(self.d(self.act(self.c(x).relu())))


def traced() -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(Twice())


def moved(model: nn.Module) -> nn.Module:
    """Every slope moved, each by another amount."""
    with torch.no_grad():
        for number, p in enumerate(bevel.training.activation_parameters(model).values()):
            p.add_(0.1 * (number + 1))
    return model


def unpickled(model: nn.Module) -> nn.Module:
    found: nn.Module = pickle.loads(pickle.dumps(model))
    return found


def test_every_node_is_one_site_in_both_modes() -> None:
    model = traced()
    sites = find(model, V)
    assert [(s.function, s.feeder, s.mode, s.calls) for s in sites] == [
        ("relu", "a", "", 1),
        ("relu", "b", "", 1),
        ("relu", "c", "", 1),
        ("relu", "c", "", 1),
        ("relu", "d", "", 1),
    ]
    before = model(V)
    result = swap(model, "frelu", V)
    assert len(result.activations) == 5
    moved(model)
    assert torch.equal(model.train()(V), model.eval()(V))
    assert not torch.equal(model(V), before)
    result.restore()
    assert torch.equal(model(V), before)
    assert isinstance(model.act, nn.ReLU)


@pytest.mark.parametrize("copied", [copy.deepcopy, unpickled])
def test_a_copy_carries_the_swap(copied: Callable[[nn.Module], nn.Module]) -> None:
    model = traced()
    swap(model, "frelu", V)
    want = moved(model)(V)
    twin = copied(model)
    assert torch.equal(twin(V), want)
    moved(model)
    assert torch.equal(twin(V), want)
    assert len(find(twin, V)) == 5
    assert find(twin, V).counts() == {"frelu": 5}


def test_the_swap_stands_in_the_graph() -> None:
    model = traced()
    swap(model, "frelu", V)
    targets = [str(n.target) for n in model.graph.nodes if n.op == "call_module"]
    assert targets == [
        "a", "bevel_sites.relu", "b", "bevel_sites.relu_1", "c", "bevel_sites.relu_2", "act.0", "d", "act.1",
    ]  # fmt: skip
    again = fx.symbolic_trace(model)
    assert torch.equal(again(V), model(V))


def test_part_of_a_graph() -> None:
    model = traced()
    before = model(V)
    result = swap(model, "frelu", V, where=["bevel_sites.relu_1", "act.1"])
    assert torch.equal(model(V), before)
    assert list(result.activations) == ["bevel_sites.relu_1", "act.1"]
    moved(model)
    assert torch.equal(copy.deepcopy(model)(V), model(V))
    second = swap(model, "sau:n=50", V, what="relu", preserve=False)
    assert len(second.activations) == 3
    assert torch.equal(copy.deepcopy(model)(V), model(V))
    second.restore()
    result.restore()
    assert torch.equal(model(V), before)


def test_fold_and_harden_compare_with_the_model_given() -> None:
    model = traced()
    swap(model, "smooth_frelu:n=3", V, preserve=False)
    with torch.no_grad():
        moved(model)
    want = model(V)
    hard = bevel.harden(model, 10.0, V)
    assert hard.change == pytest.approx(float((hard.model(V) - want).detach().abs().max()))
    assert hard.change > 0.01
    folded = bevel.fold(hard.model, V)
    assert sum(row.new is not None for row in folded.rows) == 4  # one is fed by an activation
    torch.testing.assert_close(folded.model(V), hard.model(V))


def test_a_graph_within_a_model_and_a_model_within_a_graph() -> None:
    torch.manual_seed(0)

    class Leaf(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, name: str) -> bool:
            return isinstance(m, Net) or super().is_leaf_module(m, name)

    outer = nn.Sequential(nn.Conv2d(3, 3, 1), Net()).eval()
    graph = fx.GraphModule(outer, Leaf().trace(outer))
    for model in (nn.Sequential(nn.Conv2d(3, 3, 1), fx.symbolic_trace(Net())).eval(), graph.eval()):
        before = model(X)
        result = swap(model, "frelu", X)
        assert torch.equal(model(X), before)
        moved(model)
        assert len(result.activations) == 4
        assert torch.equal(copy.deepcopy(model)(X), model(X))


def test_calls_that_a_graph_does_not_make_itself_are_left_with_a_reason() -> None:
    class Leaf(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, name: str) -> bool:
            return name == "act"

    act = RunsIn(lambda s, x: F.relu(x).cumsum(0))
    whole = nn.Sequential()
    whole.add_module("wide", nn.Linear(4, 8))
    whole.add_module("act", act)
    whole.add_module("narrow", nn.Linear(8, 4))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.act, self.narrow = whole.wide, act, whole.narrow

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.narrow(self.act(self.wide(x))))

    root = Model()
    graph = fx.GraphModule(root, Leaf().trace(root))
    result = swap(graph, "frelu", V, empty_ok=True)
    assert all("act makes its calls" in s.reason for s in result.sites)
    assert all("trace the model with act as no leaf, then swap" in s.reason for s in result.sites)
    assert len(result.sites) == 2
    opened = fx.symbolic_trace(root)  # and that works
    result = swap(opened, "frelu", V)
    assert [m.num_parameters for m in result.activations.values()] == [8, 4]


def test_hooks_of_a_module_called_twice_in_a_graph() -> None:
    model = traced()
    seen = []
    handle = model.act.register_forward_hook(lambda *_: seen.append(1))
    swap(model, "frelu", V)
    model(V)
    assert len(seen) == 2
    handle.remove()
    model(V)
    assert len(seen) == 2


@pytest.mark.compile
def test_an_exported_program_says_that_it_has_no_sites() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(Twice(), (V,)).module()
        with pytest.raises(bevel.InvalidValue, match="would change nothing"):
            swap(exported, "frelu", V)


def test_a_swapped_root_is_not_traced_past_its_swap() -> None:
    """The old functions came back in silence."""

    def forward(self: RunsIn, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return F.relu(self.b(x))

    model = RunsIn(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    result = swap(model, "frelu", V)
    for swapped in (model, copy.deepcopy(model)):
        with pytest.raises(bevel.BevelError, match=r"torch\.fx cannot trace .* Trace first, then swap"):
            fx.symbolic_trace(swapped)
    outer = nn.Sequential(model)  # inside another model its forward runs
    moved(outer)
    assert torch.equal(fx.symbolic_trace(outer)(V), outer(V))
    parameters = dict(model.named_parameters())
    graph = make_fx(lambda p, x: torch.func.functional_call(model, p, (x,)))(parameters, V)
    assert torch.equal(graph(parameters, V), model(V))
    assert len(list(model.named_modules())) == 6
    result.restore()
    fx.symbolic_trace(model)
