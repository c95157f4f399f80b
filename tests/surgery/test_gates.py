"""``swap(model, "gate", x)`` chooses kernel, sharpness and slopes for each site; other specs say that it would."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bevel
from bevel.errors import InvalidValue
from bevel.surgery import swap

FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], str, float, tuple[float, float]]] = {
    "gelu": (F.gelu, "gaussian", 1.0, (1.0, 0.0)),
    "gelu by tanh": (nn.GELU(approximate="tanh"), "gelu_tanh", 1.0, (1.0, 0.0)),
    "silu": (F.silu, "logistic", 1.0, (1.0, 0.0)),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), "logistic", 1.702, (1.0, 0.0)),
    "hardswish": (F.hardswish, "box", 1 / 3, (1.0, 0.0)),
    "another": (lambda x: x * (0.25 - 0.75 * torch.sigmoid(2.5 * x)), "logistic", 2.5, (-0.5, 0.25)),
    "relu": (F.relu, "gaussian", 20000.0, (1.0, 0.0)),
    "leaky relu": (nn.LeakyReLU(0.25), "gaussian", 20000.0, (1.0, 0.25)),
}


class Of(nn.Module):
    """A function as a module, which transformers has for each of its own."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gate_that_a_site_has_is_found(name: str) -> None:
    function, kernel, n, slopes = FUNCTIONS[name]
    model = nn.Sequential(nn.Linear(3, 5), Of(function))
    x = 3 * torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    want = model(x)
    (site,) = swap(model, "gate", x, what="of" if name == "another" else None).sites
    gate = model[1]
    assert isinstance(gate, bevel.nn.Gate)
    assert (gate.family.kernel.name, gate.log_n.exp().tolist()) == (kernel, pytest.approx([n] * 5))
    assert (gate.given["positive"], gate.given["negative"]) == pytest.approx(slopes)
    assert site.bound is not None
    assert site.bound <= (0.17 / n * abs(slopes[0] - slopes[1]) if n == 20000 else 1e-6)
    torch.testing.assert_close(model(x), want, atol=site.bound, rtol=1e-6)


def test_prelus_slopes_stay_learnt() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4)), torch.randn(8, 3)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.1, -0.5, 1.2, 2.0]))
    want = model(x)
    (site,) = swap(model, "gate", x).sites
    assert site.bound == pytest.approx(0.17 / 20000 * 1.5, rel=1e-3)
    assert model[1].negative.tolist() == pytest.approx([0.1, -0.5, 1.2, 2.0])
    torch.testing.assert_close(model(x), want, atol=site.bound, rtol=1e-6)


def test_a_spec_is_held_to_what_it_names() -> None:
    x = torch.randn(8, 3)

    def swapped(to: str, *activations: nn.Module) -> bevel.surgery.Sites:
        model = nn.Sequential(*(m for a in activations for m in (nn.Linear(3, 3), a)))
        return swap(model, to, x, empty_ok=True).sites

    kept, left = swapped("gate:kernel=gaussian", nn.GELU(), nn.SiLU())
    assert (kept.new, left.new) == ("gate:kernel=gaussian", "")
    assert left.reason.startswith(
        "gate:kernel=gaussian cannot equal silu with kernel=gaussian; 'gate' can; preserve=False"
    )
    (site,) = swapped("gate:kernel=box,n=40", nn.ReLU())
    assert site.bound == pytest.approx(0.125 / 40, rel=1e-5)
    (site,) = swapped("gate:n=1.5", nn.SiLU())
    assert not site.new


def test_who_cannot_keep_a_function_says_who_can() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.ReLU6(), nn.Mish(), nn.ReLU())
    gelu, relu6, mish, relu = swap(model, "frelu", torch.randn(8, 3)).sites
    assert "frelu cannot equal gelu; 'gate' can; preserve" in gelu.reason
    assert "frelu cannot equal relu6; 'mollified:n=50' can, within 1.6e-02; preserve" in relu6.reason
    assert "frelu cannot equal mish; preserve" in mish.reason
    assert relu.new == "frelu"
    with pytest.raises(InvalidValue, match="'gate' can"):
        swap(model, "frelu", torch.randn(8, 3), what="gelu")


def test_a_plan_holds_what_was_chosen() -> None:
    def build() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.GELU(approximate="tanh"), nn.Linear(4, 4), nn.SiLU())

    model, x = build(), torch.randn(8, 3)
    plan = swap(model, "gate", x).plan()
    again = bevel.surgery.apply_plan(build(), plan).model
    again.load_state_dict(model.state_dict())
    assert [m.family.kernel.name for m in again if isinstance(m, bevel.nn.Gate)] == ["gelu_tanh", "logistic"]
    assert torch.equal(again(x), model(x))
