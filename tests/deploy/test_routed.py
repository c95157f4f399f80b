"""Swap, train, fold, harden: what deploying puts into a scope of replaced calls is none of the scope's own calls."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from surgery_models import Net
from torch import Tensor, nn

import bevel
from bevel.deploy import Folded, Hardened, fold, harden
from bevel.surgery import swap
from bevel.training import activation_parameters


class Silent(nn.Module):
    """One function and one module: a plan of one activation takes any number of calls, so a miscount is no error."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.act, self.two = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.two(self.act(self.one(x))))


class Nested(nn.Module):
    """A block without functions of its own, called by a scope that has one."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(F.relu(self.block(x)) - 0.3, 0.2)


MODELS: dict[str, Callable[[], nn.Module]] = {"net": Net, "silent": Silent, "nested": Nested}
SLOPES = {"relu": (0.0, 0.0), "leaky": (0.3, 0.3), "prelu": (-0.1, 0.3)}
"""Negative slopes by what remains of them."""

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def _trained(kind: str, to: str, modules: tuple[float, float], functions: tuple[float, float]) -> nn.Module:
    """A swapped model whose negative slopes, of replaced modules and of replaced functions, have moved."""
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    swap(model, to, X)
    with torch.no_grad():
        for name, p in activation_parameters(model).items():
            negative = functions if "bevel_sites" in name else modules
            p.copy_(torch.linspace(*((0.6, 1.5) if name.endswith("positive") else negative), p.numel()))
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.bias.add_(0.05)  # type: ignore[union-attr]  # what comes out is on both sides of the corners
    return model


@torch.no_grad()
def _same(result: Folded | Hardened, model: nn.Module, tolerance: float) -> None:
    want = model(X)
    assert any(row.new for row in result.rows)
    for mode in (True, False):  # what is routed is planned per mode
        result.model.train(mode)
    torch.testing.assert_close(result.model(X), want, rtol=0, atol=tolerance * max(float(want.abs().max()), 1.0))
    assert result.change is None or result.change <= tolerance


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("modules", SLOPES.values(), ids=SLOPES)
@pytest.mark.parametrize("functions", SLOPES.values(), ids=SLOPES)
def test_fold_of_a_swapped_model(kind: str, modules: tuple[float, float], functions: tuple[float, float]) -> None:
    model = _trained(kind, "frelu", modules, functions)
    _same(fold(model, X), model, 1e-5)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("modules", SLOPES.values(), ids=SLOPES)
@pytest.mark.parametrize("functions", SLOPES.values(), ids=SLOPES)
def test_harden_of_a_swapped_model(kind: str, modules: tuple[float, float], functions: tuple[float, float]) -> None:
    model = _trained(kind, "sau", modules, functions)
    for example in ((), (X,)):
        result = harden(model, 1e-3, *example)
        assert (result.change is None) == (not example)
        _same(result, model, 1e-3)


def test_hooks_move_along() -> None:
    seen = []
    model = nn.Sequential(nn.Linear(2, 2), bevel.SAU(2))
    handle = model[1].register_forward_hook(lambda *_: seen.append(1))
    harden(model, 1e-3, inplace=True)
    model(torch.ones(1, 2))
    handle.remove()
    model(torch.ones(1, 2))
    assert isinstance(model[1], nn.LeakyReLU)
    assert seen == [1]


@pytest.mark.compile
def test_hardened_and_folded_models_compile_export_and_hold_no_needless_shield() -> None:
    model = _trained("net", "sau", SLOPES["relu"], SLOPES["leaky"])
    hard = fold(harden(model, 1e-3).model, X).model
    want = hard(X).detach()
    torch.testing.assert_close(torch.compile(hard, backend="eager", fullgraph=True)(X), want)
    torch.testing.assert_close(torch.export.export(hard, (X,)).module()(X), want)
    plain = harden(nn.Sequential(nn.Linear(2, 2), bevel.SAU(2)), 1e-3).model
    assert "forward" not in plain[1].__dict__
