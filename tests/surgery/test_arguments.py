"""``where=``, ``*example``, ``kwargs=`` and ``inplace=`` mean one thing in find, swap, watch, fold and harden."""

import inspect
import pkgutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from surgery_models import RunsIn
from torch import Tensor, nn

import bevel
from bevel import InvalidValue
from bevel.surgery import Site


def smooth_model() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 4), bevel.SAU(4), nn.Sequential(nn.Linear(4, 5), bevel.SAU(5)), nn.Linear(5, 2), bevel.SAU(2)
    )


X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))

PICKS: dict[str, Callable[[nn.Module, Any], list[str]]] = {
    "swap": lambda m, where: list(bevel.swap(m, "frelu", X, preserve=False, where=where).activations),
    "watch": lambda m, where: list(bevel.watch(m, where=where).sites),
    "fold": lambda m, where: [row.name for row in bevel.fold(m, X, where=where).rows],
    "harden": lambda m, where: [row.name for row in bevel.harden(m, 1.0, where=where).rows],
    "schedule": lambda m, where: list(bevel.SharpnessSchedule(m, 2.0, 3.0, steps=1, where=where).sites),
}

WHERE: dict[str, tuple[Any, list[str]]] = {
    "nothing": (None, ["1", "2.1", "4"]),
    "a name": ("2.1", ["2.1"]),
    "a pattern": ("2.*", ["2.1"]),
    "several": (["1", "4"], ["1", "4"]),
    "an iterator": (iter(["2.*", "4"]), ["2.1", "4"]),
    "a function of the name": (lambda site: site.name != "4", ["1", "2.1"]),
    "a function of the module": (lambda site: site.module.num_parameters == 5, ["2.1"]),
    "a function of channels": (lambda site: site.channels == 2, ["4"]),
    "a function of the function": (lambda site: site.function == "sau" and site.kind == "module", ["1", "2.1", "4"]),
}


@pytest.mark.parametrize("who", PICKS)
@pytest.mark.parametrize("case", WHERE)
def test_where_means_one_thing(who: str, case: str) -> None:
    where, names = WHERE[case]
    if case == "an iterator":
        where = iter(["2.*", "4"])  # used up by the one before
    assert PICKS[who](smooth_model(), where) == names


@pytest.mark.parametrize("who", PICKS)
def test_what_is_no_where_is_refused(who: str) -> None:
    with pytest.raises(InvalidValue, match=r"must take one argument, a Site .* Write where=lambda site"):
        PICKS[who](smooth_model(), lambda name, module: True)
    for bad in (3, [smooth_model()[1]], []):
        with pytest.raises(
            InvalidValue, match="where= must be a name, glob patterns of names, or a function of a Site"
        ):
            PICKS[who](smooth_model(), bad)


@pytest.mark.parametrize("who", PICKS)
def test_a_where_that_picks_nothing_is_an_error(who: str) -> None:
    with pytest.raises(InvalidValue, match="where"):
        PICKS[who](smooth_model(), "layer9.*")
    with pytest.raises(InvalidValue, match="where"):
        PICKS[who](smooth_model(), lambda site: False)


def test_a_name_is_one_name_where_a_call_writes_back() -> None:
    def forward(self: RunsIn, x: Tensor) -> Tensor:
        y = self.one(x)
        self.act(y)
        return self.two(y)

    model = RunsIn(forward, one=nn.Linear(3, 4), act=nn.ReLU(inplace=True), two=nn.Linear(4, 2))
    names = list(bevel.swap(model, "sau", X).activations)
    assert names == ["act"]
    assert [row.name for row in bevel.harden(model, 1e-3, X, where="act").rows] == names
    assert list(bevel.watch(model, where="act").sites) == names


class Keywords(nn.Module):
    """A model whose keywords are all called like ours."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act = nn.Linear(3, 4), nn.ReLU()

    def forward(self, x: Tensor, *, where: float, inplace: bool, kwargs: Tensor, what: str = "") -> Tensor:
        assert not inplace
        y: Tensor = self.act(self.layer(x)) * where + kwargs
        return y


def test_the_models_keywords_go_into_one_dictionary() -> None:
    model = Keywords()
    own = {"where": 3.0, "inplace": False, "kwargs": torch.ones(4), "what": "it"}
    assert [site.name for site in bevel.find(model, X, kwargs=own)] == ["act"]
    before = model(X, **own)
    assert list(bevel.swap(model, "frelu", X, kwargs=own, where="act").activations) == ["act"]
    assert torch.equal(model(X, **own), before)
    assert [row.name for row in bevel.fold(model, X, kwargs=own, where="act").rows] == ["act"]
    bevel.swap(model, "sau", X, kwargs=own, preserve=False)
    assert bevel.harden(model, 1e-3, X, kwargs=own).change is not None
    assert bevel.harden(model, 1e-3, kwargs={"x": X} | own).change is not None


CALLS: dict[str, Callable[..., Any]] = {
    "find": lambda *a, **k: bevel.find(smooth_model(), *a, **k),
    "swap": lambda *a, **k: bevel.swap(smooth_model(), "frelu", *a, **k),
    "fold": lambda *a, **k: bevel.fold(smooth_model(), *a, **k),
    "harden": lambda *a, **k: bevel.harden(smooth_model(), 1e-3, *a, **k),
}


@pytest.mark.parametrize("who", CALLS)
def test_loose_keywords_are_one_clear_error(who: str) -> None:
    rule = rf"^{who} has the keywords kwargs.*; got input, mask\. .*dictionary: kwargs=\{{'input': …, 'mask': …\}}\.$"
    with pytest.raises(InvalidValue, match=rule):
        CALLS[who](input=X, mask=None)
    with pytest.raises(InvalidValue, match=r"kwargs must be a dictionary .* got \[\]"):
        CALLS[who](X, kwargs=[])


def test_inplace_means_one_thing() -> None:
    for inplace in (True, False):
        model = smooth_model()
        swapped = bevel.swap(model, "frelu", X, preserve=False, inplace=inplace)
        hardened = bevel.harden(smooth := smooth_model(), 1e-3, X, inplace=inplace)
        folded = bevel.fold(folding := nn.Sequential(nn.Linear(3, 4), bevel.FReLU(4, 2.0)), X, inplace=inplace)
        for given, result, old in (
            (model, swapped, bevel.SAU),
            (smooth, hardened, bevel.SAU),
            (folding, folded, bevel.FReLU),
        ):
            assert (result.model is given) == inplace
            assert not isinstance(result.model[1], old)
            assert isinstance(given[1], old) != inplace
        assert isinstance(swapped.restore()[1], bevel.SAU)


def test_no_public_function_shadows_a_module() -> None:
    """``bevel.watch`` was a function and a folder: ``bevel.watch.learnt`` could not be had."""
    assert bevel.learnt(bevel.FReLU(1)) == {"left": [pytest.approx(0.01)], "right": [1.0]}
    packages = ["bevel", *(m.name for m in pkgutil.walk_packages(bevel.__path__, "bevel.") if m.ispkg)]
    for package in (p for p in packages if "triton" not in p):
        module = __import__(package, fromlist=["__all__"])
        for name in getattr(module, "__all__", ()):
            if inspect.isfunction(getattr(module, name)):
                assert find_spec(f"{package}.{name}") is None, f"{package}.{name} is a function and a module"


def test_a_site_owns_its_module() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    (site,) = bevel.find(model, X)
    assert site.module is model[1]
    (site,) = bevel.swap(model, "frelu", X).sites
    assert isinstance(site, Site)
    assert site.module is model[1]
    (function,) = bevel.find(RunsIn(lambda s, x: torch.relu(s.fc(x)), fc=nn.Linear(3, 4)), X)
    assert function.module is None
