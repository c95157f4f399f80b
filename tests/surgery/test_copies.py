"""Models in which a forward has left tensors of autograd's, which ``copy.deepcopy`` refuses, are like fresh ones."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bevel
from bevel.testing import check_activation

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


class Keeps(nn.Module):
    """Keeps a loss and, in a list, what it has computed; where it asks for a number it does not run on fake tensors."""

    def __init__(self, asks: bool = False) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)
        self.asks = asks

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.first(x))
        self.loss, self.seen = h.square().mean(), [h]
        return self.last(h) * (2.0 if self.asks and float(h.detach().sum()) < 0 else 1.0)


class Remembers(nn.Module):
    """An activation that keeps its output."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = F.relu(x)
        return self.last


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        self.last = x.sin()
        return self.last


def _normed() -> nn.Module:
    from torch.nn.utils import weight_norm

    return nn.Sequential(weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 2))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "a loss and a list": Keeps,
    "the same on real tensors": lambda: Keeps(asks=True),
    "an activation's output": lambda: nn.Sequential(nn.Linear(4, 8), Remembers(), nn.Linear(8, 2)),
    "weight_norm": _normed,
}
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


@pytest.mark.parametrize("kept", MODELS)
def test_a_trained_model_is_swapped_and_shipped_as_a_fresh_one(kept: str) -> None:
    model = MODELS[kept]()
    fresh = [(site.name, site.kind, site.function, site.channels) for site in bevel.find(model, X)]
    model(X).sum().backward()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    assert [(site.name, site.kind, site.function, site.channels) for site in bevel.find(model, X)] == fresh
    swapped = bevel.swap(model, "frelu", X, inplace=False).model
    want = swapped(X)
    torch.testing.assert_close(want, model(X))
    want.sum().backward()
    torch.testing.assert_close(bevel.fold(swapped, X).model(X), want)
    torch.testing.assert_close(bevel.harden(swapped, 0.1, X).model(X), want)


def test_an_activation_that_keeps_its_output_is_checked() -> None:
    module = Sine()
    module(X.clone().requires_grad_())
    assert "gradcheck" in check_activation(module)
