"""Functions with equal bytecode that a forward calls from one place: each call finds its own activation."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.surgery import Result, swap
from bevel.surgery._calls import Slot

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """Two layers, and helpers whose bytecode is the same."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, width), nn.Linear(width, 4)
        if "shared" in type(self).__name__.lower():
            self.act = nn.ReLU()
        self.ls = nn.ModuleList([self.a, self.b])

    def first(self, x: Tensor) -> Tensor:
        return F.relu(self.a(x))

    def second(self, x: Tensor) -> Tensor:
        return F.relu(self.b(x))

    def first_shared(self, x: Tensor) -> Tensor:
        return self.act(self.a(x))

    def second_shared(self, x: Tensor) -> Tensor:
        return self.act(self.b(x))

    def first_constant(self, x: Tensor) -> Tensor:
        return F.relu(self.ls[0](x))

    def second_constant(self, x: Tensor) -> Tensor:
        return F.relu(self.ls[1](x))


class Names(Two):
    def forward(self, x: Tensor) -> Tensor:
        for f in (self.first, self.second):
            x = f(x)
        return x


class Shared(Two):
    def forward(self, x: Tensor) -> Tensor:
        for f in (self.first_shared, self.second_shared):
            x = f(x)
        return x


class Constants(Two):
    def forward(self, x: Tensor) -> Tensor:
        for f in (self.first_constant, self.second_constant):
            x = f(x)
        return x


class Lambdas(Two):
    def forward(self, x: Tensor) -> Tensor:
        for f in (
            lambda x: F.relu(self.a(x)),
            lambda x: F.relu(self.b(x)),
        ):
            x = f(x)
        return x


class Equal(Two):
    """Two lambdas that are equal in all but their lines."""

    def forward(self, x: Tensor) -> Tensor:
        for f in (
            lambda x, layer=self.a: F.relu(layer(x)),
            lambda x, layer=self.b: F.relu(layer(x)),
        ):
            x = f(x)
        return x


class EqualShared(Two):
    def forward(self, x: Tensor) -> Tensor:
        for f in (
            lambda x, layer=self.a: self.act(layer(x)),
            lambda x, layer=self.b: self.act(layer(x)),
        ):
            x = f(x)
        return x


TWINS = [Names, Shared, Constants, Lambdas, Equal, EqualShared]


def distinct(result: Result) -> list[nn.Module]:
    """Give the activations different slopes; in the order of the calls."""
    modules = [result.activations[site.name] for site in result.sites.swapped]
    with torch.no_grad():
        for number, module in enumerate(modules):
            module.negative.fill_(-1.0 - number)
    return modules


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("kind", TWINS)
def test_each_helper_has_its_own(kind: type[Two], width: int) -> None:
    model = kind(width)
    a, b = distinct(swap(model, "frelu", X))
    want = b(model.b(a(model.a(X))))
    assert torch.equal(model(X), want)
    assert torch.equal(model.eval()(X), want)


@pytest.mark.compile
@pytest.mark.parametrize("kind", [Names, Shared, Equal])
def test_each_helper_has_its_own_compiled(kind: type[Two]) -> None:
    model = kind()
    a, b = distinct(swap(model, "frelu", X))
    want = b(model.b(a(model.a(X))))
    torch._dynamo.reset()
    assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(X), want)


@pytest.mark.parametrize("kind", TWINS)
def test_copies_know_them_too(kind: type[Two]) -> None:
    model = kind()
    a, b = distinct(swap(model, "frelu", X))
    want = b(model.b(a(model.a(X))))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(X), want)


def test_a_slot_of_an_older_pickle_is_read() -> None:
    """It had its one field as state; nothing is open in what was read."""
    slot = Slot()
    slot.__setstate__({"traced": None})
    assert (slot.traced, slot.eager) == (None, 0)
    assert vars(pickle.loads(pickle.dumps(slot))) == vars(Slot())
