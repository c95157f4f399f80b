"""What the example never calls is named: in the result, in its text, in one warning, and where a swap is refused."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel import InvalidValue
from bevel.surgery import find, swap

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Expert(nn.Module):
    """A functional activation in its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)))


class ByMethod(Expert):
    def forward(self, x: Tensor) -> Tensor:
        return self.hidden(x)

    def hidden(self, x: Tensor) -> Tensor:
        return self.down(self.up(x).relu_())


class ByAttribute(Expert):
    def __init__(self) -> None:
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = F.relu

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class ByModule(Expert):
    """Its module is named relu; what it calls is not the function of that name."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.relu(self.up(x)))


class Mixture(nn.Module):
    """Two experts, of which the first gets everything."""

    def __init__(self, expert: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleList([expert() for _ in range(2)])
        self.head = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: Tensor, which: int = 0) -> Tensor:
        return self.head(self.experts[which](x))


def modules() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))


UNREACHED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a module": (modules, "experts.1.1"),
    "a function": (Expert, "experts.1"),
    "a method's function": (ByMethod, "experts.1"),
    "a function in an attribute": (ByAttribute, "experts.1"),
}


@pytest.mark.parametrize("kind", UNREACHED)
def test_what_the_example_never_calls_is_named_once(kind: str) -> None:
    make, name = UNREACHED[kind]
    with pytest.warns(UserWarning, match="what the example never calls") as said:
        result = swap(Mixture(make), "frelu", X)
    text = f"what the example never calls is left as it is: {name}. Give an example that calls it"
    assert [text in str(one.message) for one in said] == [True]
    assert said[0].filename == __file__
    assert result.unreached == (name,)
    assert text in str(result)


def test_a_mixture_whose_experts_all_run_says_nothing() -> None:
    class All(Mixture):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.experts[0](x) + self.experts[1](x))

    for make in (modules, Expert, ByMethod, ByAttribute):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = swap(All(make), "frelu", X)
        assert result.unreached == ()
        assert "never calls" not in str(result)


def test_containers_names_and_code_that_ran_elsewhere_are_no_false_alarm() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleDict({"a": nn.Linear(4, 4)})

        def features(self, x: Tensor) -> Tensor:
            return F.relu(self.blocks["a"](x))

        def forward(self, x: Tensor) -> Tensor:
            return self.features(x).mean(0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Backbone()
            self.never = ByModule()

        def forward(self, x: Tensor) -> Tensor:
            return self.backbone.features(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert swap(Model(), "frelu", X).unreached == ()


def test_where_and_what_narrow_what_is_named() -> None:
    options: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
        ({"where": "head.*"}, ()),
        ({"where": ["head.*", "experts.1"]}, ("experts.1",)),
        ({"what": "relu"}, ("experts.1",)),
    )
    for options_, named in options:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert swap(Mixture(Expert), "frelu", X, **options_).unreached == named
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wide = swap(Mixture(modules), "frelu", X, where=lambda site: site.channels > 4)
    assert list(wide.activations) == ["experts.0.1"]  # and of a module that never ran no width is known
    assert wide.unreached == ("experts.1.1",)


def test_a_swap_that_changes_nothing_names_them_too() -> None:
    class Nothing(Mixture):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    for make, names in ((modules, "experts.0.1, experts.1.1"), (Expert, "experts.0, experts.1")):
        model = Nothing(make)
        del model.head
        with pytest.raises(InvalidValue, match=f"makes no activation call; it never calls {names}. Say empty_ok"):
            swap(model, "frelu", X)
        assert len(find(model, X)) == 0
