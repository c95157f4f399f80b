"""A swapped forward that ``torch.compile`` gives up on: what it calls is compiled all the same, and finds its own."""

import copy
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.surgery import Result, apply_plan, swap

pytestmark = pytest.mark.compile
X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Three layers of one width."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
        self.layers = nn.ModuleList([self.a, self.b, self.c])
        if type(self).__name__ in ("Shared", "Loop", "Plain"):
            self.act = nn.ReLU()


def untraceable() -> None:
    """Make ``torch.compile`` give up on the function that calls this from within a ``try``."""
    torch._dynamo.graph_break()


class Function(Net):
    def forward(self, x: Tensor) -> Tensor:
        try:
            untraceable()
        finally:
            pass
        return F.relu(self.b(F.relu(self.a(x)))) + F.relu(self.c(x))


class Shared(Net):
    def forward(self, x: Tensor) -> Tensor:
        try:
            untraceable()
        finally:
            pass
        return self.act(self.b(self.act(self.a(x)))) + self.act(self.c(x))


class Loop(Net):
    """The layers before the calls tell them apart."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            try:
                untraceable()
            finally:
                pass
            x = self.act(layer(x))
        return x


class Generator(Net):
    """A generator's calls have other lines while it is traced: those of where it was made."""

    def parts(self, x: Tensor) -> Iterator[Tensor]:
        yield F.relu(self.b(F.relu(self.a(x))))
        yield F.relu(self.c(x))

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.parts(x), torch.zeros(()))


def helper(x: Tensor) -> Tensor:
    return F.relu(x)


class Helper(Net):
    """What is compiled on its own serves several calls."""

    def forward(self, x: Tensor) -> Tensor:
        try:
            untraceable()
        finally:
            pass
        return helper(self.b(helper(self.a(x)))) + helper(self.c(x))


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Without gradients: torch warns of those of inner tensors where it compiles a part on its own."""
    torch._dynamo.reset()
    with torch.no_grad():
        yield
    torch._dynamo.reset()


NETS = [Function, Shared, Loop, Generator, Helper]


def swapped(kind: Callable[[], nn.Module]) -> tuple[nn.Module, Result]:
    model = kind()
    result = swap(model, "frelu", X)
    for number, module in enumerate(result.activations.values()):
        module.negative.fill_(-1.0 - number)
    assert len(result.activations) == 3
    return model, result


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("first", ["eager", "compiled"])
def test_every_call_finds_its_own_activation(kind: Callable[[], nn.Module], first: str) -> None:
    model, _ = swapped(kind)
    compiled = torch.compile(model, backend="eager")
    runs = [model, compiled] if first == "eager" else [compiled, model]
    results = [run(X) for run in (*runs, *runs)]
    assert not torch.equal(results[0], torch.zeros_like(results[0]))
    for result in results[1:]:
        assert torch.equal(result, results[0])


def test_a_layer_that_is_compiled_on_its_own_leaves_its_mark() -> None:
    class Plain(Net):
        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = self.act(layer(x))
            return x

    model, _ = swapped(Plain)
    want = model(X)
    for layer in model.layers:
        layer.compile(backend="eager")
    assert torch.equal(model(X), want)


def test_a_part_of_a_forward_is_not_compiled_as_a_whole() -> None:
    class Part(Net):
        part = staticmethod(helper)

        def forward(self, x: Tensor) -> Tensor:
            return self.part(self.b(self.part(self.a(x)))) + self.part(self.c(x))

    model, _ = swapped(Part)
    model.part = torch.compile(helper, backend="eager", fullgraph=True)  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="Compile the whole swapped module"):
        model(X)


def beside_the_compiler(function: Callable[[], Any]) -> Any:
    """Run a function while ``torch.compile`` watches every call, as after it has given up on a caller."""

    def watched() -> Any:
        try:
            untraceable()
        finally:
            pass
        return function()

    return torch.compile(watched, backend="eager")()


@pytest.mark.parametrize("kind", [Function, Generator, Helper])
def test_a_plan_serves_however_python_runs_a_call(kind: Callable[[], nn.Module]) -> None:
    """Where the compiler watches, Python 3.11 says that a running call is at another place of its instruction."""
    plain = kind()
    again = copy.deepcopy(plain)
    model, result = swapped(lambda: plain)
    apply_plan(again, beside_the_compiler(lambda: swap(copy.deepcopy(again), "frelu", X).plan()))
    again.load_state_dict(model.state_dict())
    want = model(X)
    assert result.sites
    assert torch.equal(again(X), want)
    assert torch.equal(beside_the_compiler(lambda: again(X)), want)
    assert torch.equal(beside_the_compiler(lambda: model(X)), want)


@pytest.mark.parametrize("kind", NETS)
def test_python_may_specialise_a_forward(kind: Callable[[], nn.Module]) -> None:
    """After some runs Python 3.11 makes a call of a builtin, as ``sum``, at another instruction than before."""
    forward = kind.forward  # type: ignore[attr-defined]
    unused = FunctionType(forward.__code__.replace(), forward.__globals__)
    model, _ = swapped(type(kind.__name__, (kind,), {"forward": unused}))  # type: ignore[arg-type]
    want = model(X)
    for _ in range(20):
        assert torch.equal(model(X), want)
