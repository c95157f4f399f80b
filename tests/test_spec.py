"""Spec strings: parsing, canonical form, messages."""

import pickle

import pytest
import torch
from torch import nn

import bevel


def test_arguments_reach_the_module() -> None:
    sau = bevel.create("sau:n=5,alpha=0.25", num_parameters=64)
    assert sau.alpha.shape == (64,)
    assert sau.alpha.tolist() == [0.25] * 64
    assert sau.family.n == 5.0
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    relu6 = bevel.create("mollified:f=relu6,kernel=epanechnikov,n=2")
    torch.testing.assert_close(relu6(x), bevel.mollify(bevel.kinked.relu6(), "epanechnikov", 2.0)(x))
    leaky = bevel.create("mollified:f=leaky_relu(0.1),n=1e6")
    torch.testing.assert_close(leaky(x), nn.functional.leaky_relu(x, 0.1), atol=1e-6, rtol=0)
    assert bevel.create("prelu:init=0.15", num_parameters=3).weight.tolist() == pytest.approx([0.15] * 3)
    assert bevel.create("sau:num_parameters=2", num_parameters=64).alpha.shape == (2,)


def test_classes_and_functions_are_specs_too() -> None:
    assert isinstance(bevel.create(nn.GELU), nn.GELU)
    assert bevel.create(bevel.FReLU, num_parameters=5).positive.shape == (5,)
    assert isinstance(bevel.create(lambda: nn.ReLU()), nn.ReLU)
    with pytest.raises(bevel.InvalidValue, match="factory must return a"):
        bevel.create(lambda: 3)
    with pytest.raises(bevel.InvalidValue, match="got 7"):
        bevel.create(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", bevel.ACTIVATIONS)
def test_canonical_is_a_fixed_point(name: str) -> None:
    full = bevel.canonical(name)
    assert bevel.canonical(full) == full
    torch.manual_seed(0)
    x = torch.randn(7)
    assert torch.equal(bevel.create(full).eval()(x), bevel.create(name).eval()(x))  # in training some are random


def test_canonical_forgets_how_it_was_typed() -> None:
    assert bevel.canonical("sau:n=5,alpha=0.25") == bevel.canonical(" sau:alpha=0.250, n=5.0")
    assert bevel.canonical("sau") != bevel.canonical("sau:n=5")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sauu", "unknown activation 'sauu'; did you mean 'sau'"),
        ("funnel_relu", r"'funnel_relu'; it is Funnel ReLU \(Ma et al. 2020\), another function than any here"),
        ("FlexibleReLU", r"it is Flexible ReLU \(Qiu et al. 2018\), another function"),
        ("dprelu", "'dprelu'; did you mean 'frelu'\\?$"),
        ("DP-ReLU", "did you mean 'frelu'\\?$"),
        ("mollified:f=dprelu", "unknown kinked function 'dprelu'; did you mean 'frelu'\\?$"),
        ("sau:m=3", "'sau' takes no argument 'm'"),
        ("sau:alpa=3", "did you mean 'alpha'"),
        ("sau:n=abc", "sau's n must be a finite number; got 'abc'"),
        ("sau:n=-1", "finite and > 0; got -1.0"),
        ("sau:n=inf", "finite number; got 'inf'"),
        ("sau:learn_n=maybe", "learn_n must be true or false; got 'maybe'"),
        ("sau:num_parameters=1.5", "num_parameters must be an integer; got '1.5'"),
        ("sau:num_parameters=0", "integer >= 1; got 0"),
        ("sau:", "Leave the colon out"),
        ("sau:n", "key=value"),
        ("sau:n=1,n=2", "comes twice"),
        ("sau:form=exakt", "did you mean 'exact'"),
        ("mollified:f=relu7", "unknown kinked function 'relu7'; did you mean 'relu'"),
        ("mollified:f=relu(1", "one pair of brackets"),
        ("mollified:f=relu(1)", "'relu' takes no arguments"),
        ("mollified:f=leaky_relu(x)", "arguments of 'leaky_relu' must be numbers; got 'x'"),
        ("mollified:kernel=cauchy", "finite first moment"),
        ("mollified:kernel=gausian", "did you mean 'gaussian'"),
        ("mollified:learn=slopes", "got 'slopes'"),
        ("relu:a=1", "it takes none"),
        ("gelu:approximate=foo", "'gelu:approximate=foo' cannot be made .*give it other arguments"),
        ("hardtanh:min_val=2,max_val=1", "cannot be made"),
        ("celu:alpha=0", "alpha cannot be 0"),
        ("softplus:beta=0", r"is not finite on \[-2, 2\]"),
        ("sau:alpha=1e39", "which ends at 3.4e38"),
        ("sau:n=1e-300", "must fit float32"),
        ("swish:beta=1e39", "which ends at 3.4e38"),
        ("squareplus:b=-1", "b must be finite and > 0; got -1.0"),
    ],
)
def test_messages(spec: str, message: str) -> None:
    with pytest.raises(bevel.BevelError, match=message) as caught:
        bevel.canonical(spec)
    assert "\n" not in str(caught.value)


def test_torchs_own_are_made_where_they_are_asked_for() -> None:
    with torch.device("meta"):
        assert bevel.create("prelu:init=0.1", num_parameters=3).weight.device.type == "meta"
        assert isinstance(bevel.create("elu:alpha=2"), nn.ELU)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("sau:n=5,form=exact", ["alpha=0.15", "n=5", "form='exact'", "learn_n=False"]),
        ("frelu", ["positive=1", "negative=0.01"]),
        ("smooth_frelu:kernel=box", ["kernel='box'", "n=5", "learn_n=True"]),
        ("mollified:f=relu6,n=2,learn=n+jumps", ["f='relu6'", "kernel='gaussian'", "n=2", "learn='n+jumps'"]),
    ],
)
def test_the_repr_shows_what_was_asked_for(spec: str, words: list[str]) -> None:
    text = repr(bevel.create(spec, num_parameters=3))
    assert [w for w in ["num_parameters=3", *words, "dim=1"] if w not in text] == []


def test_kernels_stay_the_one_object() -> None:
    module = pickle.loads(pickle.dumps(bevel.SmoothFReLU(kernel="bump")))
    assert module.family.kernel is bevel.KERNELS["bump"]
    assert pickle.loads(pickle.dumps(bevel.FReLU())).family.kernel is bevel.FReLU().family.kernel


def test_ambiguous_abbreviations_are_not_accepted() -> None:
    assert [name for name in bevel.ACTIVATIONS if "frelu" in name] == ["frelu", "smooth_frelu"]


@pytest.mark.parametrize("name", [n for n in bevel.ACTIVATIONS if isinstance(bevel.create(n), bevel.nn.Activation)])
def test_the_rule_of_saving_stands_in_no_spec_nor_state(name: str) -> None:
    module = bevel.create(name)
    told = bevel.canonical(name), repr(module), list(module.state_dict())
    module.save = "input"
    assert told == (bevel.canonical(name), repr(module), list(module.state_dict()))
    with pytest.raises(bevel.UnknownName, match="takes no argument 'save'"):
        bevel.create(f"{name}:save=input")
