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


def _multiplied_by_others(x: Tensor) -> Tensor:
    opened = torch.sigmoid(x)
    gated = opened * torch.full_like(x, 3.0)
    return x * opened + gated + 2 * opened


def _result_changed(x: Tensor) -> Tensor:
    opened = torch.sigmoid(x)
    opened.mul_(2)
    return x * opened


def _multiple_changed(x: Tensor) -> Tensor:
    multiple = 1.702 * x
    multiple += 1
    return x * torch.sigmoid(multiple)


def _overwritten(x: Tensor) -> Tensor:
    x = x.clone()
    return x * x.sigmoid_()


PRODUCTS: dict[str, tuple[Formula, str, str, float]] = {
    "silu": (_named, "silu", "x * sigmoid(x)", 1.0),
    "methods": (lambda x: x.sigmoid().multiply(x), "silu", "x * sigmoid(x)", 1.0),
    "expit": (lambda x: torch.multiply(x, torch.special.expit(x)), "silu", "x * sigmoid(x)", 1.0),
    "a factor behind": (lambda x: x * torch.sigmoid(x * 1.702), "quick_gelu", "x * sigmoid(1.702 * x)", 1.702),
    "quick gelu": (lambda x: x * F.sigmoid(x * 1.702), "quick_gelu", "x * sigmoid(1.702 * x)", 1.702),
    "a quotient": (lambda x: x * (x / 2).sigmoid_(), "swish", "x * sigmoid(0.5 * x)", 0.5),
    "used twice": (_used_twice, "quick_gelu", "x * sigmoid(1.702 * x)", 1.702),
    "multiplied by others": (_multiplied_by_others, "silu", "x * sigmoid(x)", 1.0),
}
OTHERS: dict[str, Formula] = {
    "changed between": _changed,
    "of its mean": lambda x: x * torch.sigmoid(x.mean(1, keepdim=True)),
    "of a copy": lambda x: x.clone() * torch.sigmoid(x),
    "shifted": lambda x: x * torch.sigmoid(x + 1),
    "in place": lambda x: x.clone().mul_(x.sigmoid()),
    "its result changed": _result_changed,
    "its multiple changed": _multiple_changed,
    "overwritten": _overwritten,
    "rounded": lambda x: x * torch.sigmoid(torch.div(x, 2, rounding_mode="floor")),
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


class Inner(nn.Module):
    """A formula of two tensors, with a layer that it does not use: else it were an activation itself."""

    def __init__(self, formula: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.formula = formula

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.formula(x, other)


class Apart(nn.Module):
    """Parts of the product in two forwards."""

    def __init__(self, outer: Callable[[Tensor, nn.Module], Tensor], inner: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.inner = nn.Linear(3, 5), Inner(inner)
        self.outer = outer

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.one(x), self.inner)


APART: dict[str, tuple[Callable[[Tensor, nn.Module], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "the sigmoid": (lambda x, inner: x * inner(x, x), lambda x, _: torch.sigmoid(x)),
    "the product": (lambda x, inner: inner(x, torch.sigmoid(x)), lambda x, opened: x * opened),
    "the multiple": (lambda x, inner: inner(x, 1.702 * x), lambda x, multiple: x * torch.sigmoid(multiple)),
}


@pytest.mark.parametrize("part", APART)
def test_a_product_over_two_forwards_is_none(part: str) -> None:
    assert {site.function for site in find(Apart(*APART[part]), torch.randn(6, 3))} == {"sigmoid"}


class Path(nn.Module):
    """A sigmoid of a multiple, and then whatever path is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 5)
        self.path: Callable[[Tensor, Tensor], Tensor] = lambda x, opened: x * opened

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.path(x, torch.sigmoid(1.702 * x))


PATHS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "another tensor": lambda x, opened: (x + 1) * opened,
    "a number": lambda x, opened: 2 * opened,
    "changed": lambda x, opened: x * opened.mul_(2),
    "another result": lambda x, opened: torch.mul(x, opened, out=torch.empty_like(x)),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_the_example_did_not_take_keeps_its_meaning(name: str) -> None:
    torch.manual_seed(0)
    model, x = Path(), torch.randn(6, 3)
    before = model(x).detach()
    gate = next(iter(swap(model, "gate", x).activations.values()))
    with torch.no_grad():
        gate.log_n.add_(1.0)
    assert not torch.allclose(model(x), before, atol=1e-3)
    model.path = PATHS[name]
    with torch.no_grad():
        h = model.one(x)
        assert torch.equal(model(x), model.path(h, torch.sigmoid(1.702 * h)))


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


class Chain(nn.Module):
    """The products one after another, but that of F.sigmoid, which torch.compile shows to no mode."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 5)
        self.formulas = [formula for name, (formula, *_) in PRODUCTS.items() if name != "quick gelu"]

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        for formula in self.formulas:
            x = formula(x)
        return x


@pytest.mark.compile
def test_swapped_products_are_compiled_and_exported() -> None:
    torch.manual_seed(0)
    model, x = Chain(), torch.randn(6, 3)
    gates = swap(model, "gate", x).activations.values()
    assert len(gates) == len(model.formulas)
    with torch.no_grad():
        for gate in gates:
            gate.log_n.add_(0.5)
    want = model(x)
    got = torch.compile(model, backend="eager", fullgraph=True)(x)
    torch.testing.assert_close(got, want)
    wanted, found = (torch.autograd.grad(y.sum(), [gate.log_n for gate in gates]) for y in (want, got))
    assert all(bool(g.any()) for g in wanted)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), want)
