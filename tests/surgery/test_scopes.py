"""The calls that a swapped model's scopes count: their own, in order, whatever runs around and inside them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_models import RunsIn
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bevel import InvalidValue
from bevel.surgery import find, swap


def deep(self: RunsIn, x: Tensor) -> Tensor:
    for _ in range(self.steps):  # type: ignore[arg-type]
        x = F.relu(self.cell(x))
    return x


def test_a_loop_over_one_layer_may_run_longer_than_it_was_seen_to() -> None:
    model = RunsIn(deep, cell=nn.Linear(4, 4))
    model.steps = 3  # type: ignore[assignment]
    x = torch.randn(2, 4)
    swap(model, "frelu", x)
    model.steps = 9  # type: ignore[assignment]
    assert model(x).shape == (2, 4)


def widths(self: RunsIn, x: Tensor) -> Tensor:
    for layer in list(self.layers) + list(self.more):  # type: ignore[arg-type]
        x = F.relu(layer(x))
    return x


def test_a_loop_over_widths_that_runs_longer_says_so() -> None:
    model = RunsIn(widths, layers=nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 2)]), more=nn.ModuleList())
    x = torch.randn(2, 4)
    result = swap(model, "frelu", x)
    assert [m.num_parameters for m in result.activations.values()] == [8, 2]
    model.more.append(nn.Linear(2, 2))
    with pytest.raises(InvalidValue, match="relu ran 3 times in one forward but 2 times when it was swapped"):
        model(x)


def test_the_count_of_a_scope_is_its_own() -> None:
    inner = RunsIn(lambda s, x: F.relu(s.fc(x)), fc=nn.Linear(4, 6))
    model = RunsIn(
        lambda s, x: F.relu(s.out(s.act(F.relu(s.inner(F.relu(s.fc(x))))))),
        fc=nn.Linear(3, 4), inner=inner, act=nn.ReLU(), out=nn.Linear(6, 2),
    )  # fmt: skip
    x = torch.randn(5, 3)
    before = model(x)
    # What stays in between, and what takes over, calls F.relu itself: neither may be counted by the scope around it.
    for options in ({"to": "frelu"}, {"to": "frelu", "where": "bevel_sites*"}, {"to": "relu"}):
        result = swap(model, options["to"], x, where=options.get("where"))
        assert torch.equal(model(x), before)
        outer = [m for name, m in result.activations.items() if name.startswith("bevel_sites")]
        assert len(outer) == 3
        result.restore()


class Passing(TorchFunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


def within(self: RunsIn, x: Tensor) -> Tensor:
    with Passing() if self.plain else torch.device("cpu"):
        x = self.inner(F.relu(self.fc(x)))
    return F.relu(self.out(x))


@pytest.mark.compile
@pytest.mark.parametrize("plain", [False, True])
def test_the_count_of_a_scope_is_its_own_under_other_modes(plain: bool) -> None:
    inner = RunsIn(lambda s, x: F.relu(s.fc(x)) + torch.zeros(6), fc=nn.Linear(4, 6))
    model = RunsIn(within, fc=nn.Linear(3, 4), inner=inner, out=nn.Linear(6, 2))
    model.plain = plain  # type: ignore[assignment]
    x = torch.randn(5, 3)
    before = model(x)
    modes = torch._C._len_torch_function_stack()
    # inner is a scope of its own, or shielded from the scope around it
    for options, sites in (({}, 3), ({"where": "bevel_sites*"}, 2)):
        result = swap(model, "frelu", x, **options)
        assert len(result.activations) == sites
        assert torch.equal(model(x), before)
        torch._dynamo.reset()
        if plain:  # torch.compile cannot enter the other
            assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(x), before)
        assert torch._C._len_torch_function_stack() == modes
        result.restore()


def test_the_count_of_a_scope_swapped_twice_is_its_own() -> None:
    inner = RunsIn(lambda s, x: F.gelu(F.relu(s.fc(x))), fc=nn.Linear(4, 5))
    model = RunsIn(
        lambda s, x: F.relu(F.gelu(s.out(s.inner(F.gelu(F.relu(s.fc(x))))))),
        fc=nn.Linear(3, 4), inner=inner, out=nn.Linear(5, 2),
    )  # fmt: skip
    x = torch.randn(2, 3)
    before = model(x)
    first = swap(model, "frelu", x)
    second = swap(model, "gelu", x, what="gelu", where="bevel_sites*")
    assert torch.equal(model(x), before)
    second.restore()
    first.restore()
    assert torch.equal(model(x), before)


def again(self: RunsIn, x: Tensor) -> Tensor:
    x = F.relu(self.down(x))
    return F.relu(self.up(torch.cat([x[:1], self(x[1:])]) if len(x) > 3 else x))


def test_the_count_of_a_scope_that_calls_itself_is_each_runs_own() -> None:
    model = RunsIn(again, down=nn.Linear(4, 4), up=nn.Linear(4, 4))
    x = torch.randn(5, 4)
    before = model(x)
    # What the swap leaves goes on to F.relu, not to an outer run.
    result = swap(model, "frelu", x, where="bevel_sites.relu")
    assert torch.equal(model(x), before)
    result.restore()
    assert torch.equal(model(x), before)


def test_two_swaps_one_after_the_other() -> None:
    model = RunsIn(lambda s, x: F.gelu(s.two(F.relu(s.one(x)))), one=nn.Linear(3, 4), two=nn.Linear(4, 5))
    x = torch.randn(2, 3)
    before = model(x)
    first = swap(model, "frelu", x)
    second = swap(model, "gelu", x, what="gelu")
    assert torch.equal(model(x), before)
    assert [type(m).__name__ for m in model.bevel_sites.values()] == ["FReLU", "GELU"]
    assert find(model, x).counts(units=False) == {"frelu": 1, "gelu": 1}
    second.restore()
    first.restore()
    assert torch.equal(model(x), before)


def test_two_swaps_of_one_function_do_not_share() -> None:
    """What the second swap adds lies beside what the first did, under a name of its own."""
    model = RunsIn(
        lambda s, x: F.relu(s.three(F.relu(s.two(F.relu(s.one(x)))))),
        one=nn.Linear(3, 4), two=nn.Linear(4, 4), three=nn.Linear(4, 5),
    )  # fmt: skip
    x = torch.randn(2, 3)
    before = model(x)
    first = swap(model, "frelu", x, where="bevel_sites.relu_1")
    held = dict(model.bevel_sites.named_children())
    names = [site.name for site in find(model, x)]
    assert len(set(names)) == 3
    second = swap(model, "frelu", x, what="relu")
    assert torch.equal(model(x), before)
    assert len(model.bevel_sites) == 3
    assert all(model.bevel_sites[name] is m for name, m in held.items())
    assert [m.num_parameters for m in second.activations.values()] == [4, 5]
    second.restore()
    assert dict(model.bevel_sites.named_children()) == held
    assert torch.equal(model(x), before)
    first.restore()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("unit", [nn.GELU(), nn.ReLU()])
def test_a_decoder_layer_whose_activation_is_a_module(unit: nn.Module) -> None:
    """torch's own deepcopy of it computes ReLU, whatever the module."""
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, activation=unit, batch_first=True).eval()
    x = (torch.randn(2, 3, 8), torch.randn(2, 4, 8))
    (site,) = [site for site in find(layer, *x) if site.unit]
    assert (site.name, site.function) == ("activation", type(unit).__name__.lower())
    before = layer(*x)
    result = swap(layer, "sau:n=1", *x, preserve=False)
    assert [s.name for s in result.sites if s.new] == ["activation"]
    assert not torch.allclose(layer(*x), before)
    result.restore()
    assert torch.equal(layer(*x), before)
