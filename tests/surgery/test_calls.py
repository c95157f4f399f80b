"""A forward that makes other calls than the example: each finds its own activation, or a sentence says why not."""

import copy
import inspect
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_models import RunsIn
from torch import Tensor, nn

import bevel
from bevel import InvalidValue
from bevel.surgery import swap

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def linear(**names: int) -> dict[str, nn.Module]:
    return {name: nn.Linear(4, width) for name, width in names.items()}


class Forward(nn.Module):
    """A model whose forward is a function of itself and any arguments."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.body = forward
        if "self.relu(" in inspect.getsource(forward):
            self.relu = nn.ReLU()
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return self.body(self, *inputs, **options)


def distinct(result: bevel.surgery.Result) -> dict[str, nn.Module]:
    """Give every new activation, by the layer that feeds it, slopes that no other has."""
    found = {}
    for number, site in enumerate(result.sites.swapped):
        module = result.activations[site.name]
        with torch.no_grad():
            module.negative.fill_(-1.0 - number)
        assert site.feeder not in found
        found[site.feeder] = module
    return found


def optional(self: Forward, x: Tensor, extra: Tensor | None = None) -> Tensor:
    if extra is not None:
        x = x + F.relu(self.m(extra))
    return F.relu(self.b(F.relu(self.a(x))))


def reused(self: Forward, x: Tensor, extra: Tensor | None = None) -> Tensor:
    if extra is not None:
        x = x + self.relu(self.m(extra))
    return self.relu(self.b(self.relu(self.a(x))))


@pytest.mark.compile
@pytest.mark.parametrize("forward", [optional, reused])
@pytest.mark.parametrize("compiled", [False, True])
def test_an_optional_part_does_not_shift_the_others(forward: Callable[..., Tensor], compiled: bool) -> None:
    model = Forward(forward, **linear(m=4, a=4, b=4))
    of = distinct(swap(model, "frelu", X, X))
    run = torch.compile(model, backend="eager", fullgraph=True) if compiled else model
    whole = of["b"](model.b(of["a"](model.a(X + of["m"](model.m(X))))))
    assert torch.equal(run(X, X), whole)
    assert torch.equal(run(X), of["b"](model.b(of["a"](model.a(X)))))


def either(self: Forward, x: Tensor, first: bool = True) -> Tensor:
    if first:
        return F.relu(self.a(x))
    return F.relu(self.b(x))


def either_on_one_line(self: Forward, x: Tensor, first: bool = True) -> Tensor:
    return F.relu(self.a(x)) if first else F.relu(self.b(x))


@pytest.mark.parametrize("forward", [either, either_on_one_line])
def test_a_function_call_that_the_example_did_not_run_stays_what_it_was(forward: Callable[..., Tensor]) -> None:
    model = Forward(forward, **linear(a=4, b=4))
    want = F.relu(model.b(X))
    (new,) = distinct(swap(model, "frelu", X)).values()
    assert torch.equal(model(X), new(model.a(X)))
    with pytest.warns(UserWarning, match=r"the example did not run .*relu.* keeps its function"):
        assert torch.equal(model(X, first=False), want)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(model(X, first=False), want)  # said once


def both(self: Forward, x: Tensor, which: str) -> Tensor:
    if "a" in which:
        x = self.relu(self.a(x))
    if "b" in which:
        x = self.relu(self.b(x))
    if "c" in which:
        x = self.relu(self.c(x))
    return x


def test_any_selection_of_the_calls_of_one_module() -> None:
    model = Forward(both, **linear(a=4, b=4, c=4))
    of = distinct(swap(model, "frelu", X, "abc"))
    for which in ("a", "b", "c", "ab", "bc", "ac", "abc", ""):
        want = X
        for name in which:
            want = of[name](getattr(model, name)(want))
        assert torch.equal(model(X, which), want), which


def test_a_call_of_a_shared_module_that_the_example_did_not_run_is_refused() -> None:
    model = Forward(both, **linear(a=4, b=4, c=4))
    swap(model, "frelu", X, "ab")
    with pytest.raises(InvalidValue, match=r"the example did not run this call of .*relu"):
        model(X, "c")
    assert model(X, "ab").shape == X.shape


def skipping(self: Forward, x: Tensor, keep: str = "012") -> Tensor:
    for name, layer in self.layers.named_children():
        if name in keep:
            x = F.relu(layer(x))
    return x


def skipping_module(self: Forward, x: Tensor, keep: str = "012") -> Tensor:
    for name, layer in self.layers.named_children():
        if name in keep:
            x = self.relu(layer(x))
    return x


@pytest.mark.compile
@pytest.mark.parametrize("forward", [skipping, skipping_module])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_loop_that_skips_finds_the_layer(forward: Callable[..., Tensor], compiled: bool) -> None:
    layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
    model = Forward(forward, layers=layers)
    of = distinct(swap(model, "frelu", X))
    torch._dynamo.reset()
    run = torch.compile(model, backend="eager", fullgraph=True) if compiled else model
    for keep in ("012", "12", "02", "0", "2", ""):
        want = X
        for name in keep:
            want = of[f"layers.{name}"](layers[int(name)](want))
        assert torch.equal(run(X, keep), want), keep


def test_stochastic_depth_over_blocks() -> None:
    """What is skipped is a block with a norm; the sum after it is what feeds the call."""

    def forward(self: Forward, x: Tensor, keep: str = "012") -> Tensor:
        for name, block in self.blocks.named_children():
            if name in keep:
                x = self.relu(x + block(x))
        return x

    blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(3)])
    model = Forward(forward, blocks=blocks)
    of = distinct(swap(model, "frelu", X))
    assert list(of) == ["blocks.0.1", "blocks.1.1", "blocks.2.1"] or len(of) == 3
    modules = list(of.values())
    for keep in ("012", "12", "0", "02"):
        want = X
        for name in keep:
            want = modules[int(name)](want + blocks[int(name)](want))
        assert torch.equal(model(X, keep), want), keep


def twice_a_layer(self: Forward, x: Tensor, keep: str = "01") -> Tensor:
    for name, layer in self.layers.named_children():
        if name in keep:
            y = layer(x)
            x = F.relu(y) - F.relu(-y)
    return x


def test_two_calls_on_one_line_after_one_layer() -> None:
    layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
    model = Forward(twice_a_layer, layers=layers)
    result = swap(model, "frelu", X)
    assert len(result.activations) == 4
    for number, module in enumerate(result.activations.values()):
        with torch.no_grad():
            module.negative.fill_(-1.0 - number)
    a, b, c, d = result.activations.values()
    y = layers[1](X)
    assert torch.equal(model(X, "1"), c(y) - d(-y))
    y = layers[0](X)
    assert torch.equal(model(X, "0"), a(y) - b(-y))


def test_calls_that_only_their_order_tells_apart_are_refused_when_one_is_missing() -> None:
    """One block without layers, used at two widths: its caller counts."""

    def block(self: Forward, x: Tensor) -> Tensor:
        return F.relu(x).cumsum(0)  # no activation itself

    def forward(self: Forward, x: Tensor, both: bool = True) -> Tensor:
        y = self.wide(x)
        first = self.act(y)[:, :4]
        return first + self.act(y[:, :4]) if both else first

    model = Forward(forward, act=Forward(block), **linear(wide=8))
    result = swap(model, "frelu", X)
    assert [m.num_parameters for m in result.activations.values()] == [8, 4]
    model(X)
    with pytest.raises(InvalidValue, match=r"relu ran 1 times in one forward but 2 .* nothing but their order"):
        model(X, both=False)


def test_copies_find_their_own() -> None:
    model = Forward(optional, **linear(m=4, a=4, b=4))
    of = distinct(swap(model, "frelu", X, X))
    want = of["b"](model.b(of["a"](model.a(X))))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(X), want)


def test_a_hook_that_calls_the_function_is_no_call_of_the_scope() -> None:
    model = RunsIn(lambda s, x: F.relu(s.b(F.relu(s.a(x)))), **linear(a=4, b=4))
    model.a.register_forward_hook(lambda m, i, o: o + F.relu(-o))
    want = model(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        swap(model, "frelu", X)
        assert torch.equal(model(X), want)


def test_an_exception_leaves_nothing_open() -> None:
    model = Forward(reused, **linear(m=4, a=4, b=4))
    of = distinct(swap(model, "frelu", X, X))
    with pytest.raises(RuntimeError):
        model(X, X[:, :3])
    assert torch.equal(model(X), of["b"](model.b(of["a"](model.a(X)))))
