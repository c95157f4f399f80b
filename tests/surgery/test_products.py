"""``x·sigmoid(a·x)`` written out in a forward is one site; what only looks like it stays what it is."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bevel
from bevel.surgery import apply_plan, find, swap

Formula = Callable[[Tensor], Tensor]


def _named(x: Tensor) -> Tensor:
    opened = torch.sigmoid(x)
    return torch.mul(opened, x)


def _changed(x: Tensor) -> Tensor:
    x = x.clone()
    opened = torch.sigmoid(x)
    x.add_(1)
    return x * opened


def _used_twice(x: Tensor) -> Tensor:
    opened = torch.sigmoid(1.702 * x)
    return x * opened + opened


PRODUCTS: dict[str, tuple[Formula, str, str, float]] = {
    "silu": (_named, "silu", "x * sigmoid(x)", 1.0),
    "methods": (lambda x: x.sigmoid().multiply(x), "silu", "x * sigmoid(x)", 1.0),
    "expit": (lambda x: torch.multiply(x, torch.special.expit(x)), "silu", "x * sigmoid(x)", 1.0),
    "quick gelu": (lambda x: x * F.sigmoid(x * 1.702), "quick_gelu", "x * sigmoid(1.702 * x)", 1.702),
    "a quotient": (lambda x: x * (x / 2).sigmoid_(), "swish", "x * sigmoid(0.5 * x)", 0.5),
    "used twice": (_used_twice, "quick_gelu", "x * sigmoid(1.702 * x)", 1.702),
}
OTHERS: dict[str, Formula] = {
    "changed between": _changed,
    "of its mean": lambda x: x * torch.sigmoid(x.mean(1, keepdim=True)),
    "of a copy": lambda x: x.clone() * torch.sigmoid(x),
    "shifted": lambda x: x * torch.sigmoid(x + 1),
    "in place": lambda x: x.clone().mul_(x.sigmoid()),
}


class Block(nn.Module):
    """A layer and a formula behind it; twice."""

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 5), nn.Linear(5, 4)
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(self.two(self.formula(self.one(x))))


def _block(formula: Formula) -> tuple[Block, Tensor, Tensor]:
    torch.manual_seed(0)
    model, x = Block(formula), torch.randn(6, 3)
    return model, x, model(x).detach()


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_one_site_and_is_kept(name: str) -> None:
    formula, function, written, n = PRODUCTS[name]
    model, x, want = _block(formula)
    result = swap(model, "gate", x)
    assert [(s.function, s.written, s.channels, s.axis) for s in result.sites] == [
        (function, written, 5, -1),
        (function, written, 4, -1),
    ]
    for gate in result.activations.values():
        assert isinstance(gate, bevel.nn.Gate)
        assert gate.log_n.exp().tolist() == pytest.approx([n] * gate.num_parameters)
    got = model(x)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    got.sum().backward()
    assert all(bool(gate.log_n.grad.any()) for gate in result.activations.values())
    assert torch.equal(result.restore()(x), want)


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_a_product_stays_a_sigmoid(name: str) -> None:
    model, x, want = _block(OTHERS[name])
    assert {site.function for site in find(model, x)} == {"sigmoid"}
    assert torch.equal(swap(model, "gate", x, empty_ok=True).model(x), want)


class Opened(nn.Module):
    """The sigmoid of its input, with a layer that it does not use: else it were an activation itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


class Apart(nn.Module):
    """The product in another forward than the sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.opened = nn.Linear(3, 5), Opened()

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return x * self.opened(x)


def test_a_product_over_two_forwards_is_none() -> None:
    assert {site.function for site in find(Apart(), torch.randn(6, 3))} == {"sigmoid"}


def test_calls_and_products_of_one_function_in_one_forward() -> None:
    def formula(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x) + torch.sigmoid(x)

    model, x, want = _block(formula)
    sites = swap(model, "gate", x).sites
    assert [(s.function, bool(s.new)) for s in sites] == [("silu", True), ("sigmoid", False)] * 2
    torch.testing.assert_close(model(x), want, rtol=1e-5, atol=1e-6)


def test_a_graph_is_left_as_it_is() -> None:
    model, x, want = _block(lambda x: x * torch.sigmoid(x))
    graph = torch.fx.symbolic_trace(model)
    assert {site.function for site in find(graph, x)} == {"sigmoid"}
    assert torch.equal(swap(graph, "gate", x, empty_ok=True).model(x), want)


def test_a_swapped_product_is_planned_copied_and_pickled() -> None:
    model, x, want = _block(_named)
    plan = swap(model, "gate", x).plan()
    again = apply_plan(_block(_named)[0], plan)
    assert again.sites.counts() == {"silu": 2}
    for other in (again.model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [type(m).__name__ for m in other.modules()].count("Gate") == 2
        with torch.no_grad():
            other.bevel_sites["sigmoid"].log_n.add_(1.0)
            assert not torch.allclose(other(x), want, atol=1e-3), "its product goes through its gate"


@pytest.mark.compile
def test_a_swapped_product_is_compiled_and_exported() -> None:
    model, x, want = _block(lambda x: x * torch.sigmoid(1.702 * x))
    gates = swap(model, "gate", x).activations.values()
    with torch.no_grad():
        for gate in gates:
            gate.log_n.add_(0.5)
    want = model(x).detach()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), want)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), want)
