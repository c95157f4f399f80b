"""What torch expects of a module: initialization that can be deferred and repeated, placement, and plain arguments."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import bevel
from bevel.deploy._kinked import Kinked
from bevel.nn import Activation, LearnableModule

Make = Callable[..., nn.Module]

SPECS: dict[str, dict[str, object]] = {
    **{name: {} for name in bevel.ACTIVATIONS},
    "sau:n=5,learn_n=true": {},
    "sau:n=5,learn_n=true,learn_alpha=false,form=centred": {},
    "smooth_frelu:kernel=bump,n=3": {},
    "mollified:f=hard_sigmoid,kernel=epanechnikov,n=2,learn=left+offset+knots+jumps+steps+n": {},
    "mollified:f=relu6,kernel=box,n=2": {},
}


def _made(spec: str, count: int, **place: object) -> nn.Module:
    return bevel.create(spec, count, **place).eval()  # type: ignore[arg-type]  # in training some are random


def _same(module: nn.Module, fresh: nn.Module) -> None:
    """Same parameters and buffers, to the bit, and the same function."""
    for kind in ("named_parameters", "named_buffers"):
        got, want = dict(getattr(module, kind)()), dict(getattr(fresh, kind)())
        assert got.keys() == want.keys()
        for name, value in want.items():
            assert torch.equal(got[name], value), name
            assert got[name].dtype == value.dtype
            assert got[name].requires_grad == value.requires_grad
    x = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), fresh(x), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("spec", SPECS)
def test_a_module_built_on_meta_is_initialized_when_it_gets_memory(spec: str, count: int) -> None:
    fresh = _made(spec, count)
    with torch.device("meta"):
        module = _made(spec, count)
    assert all(t.is_meta for t in (*module.parameters(), *module.buffers()))
    module.to_empty(device="cpu")
    for t in (*module.parameters(), *module.buffers()):
        t.detach().fill_(math.nan)  # memory that is empty holds anything
    for m in module.modules():
        if hasattr(m, "reset_parameters"):
            m.reset_parameters()
    _same(module, fresh)


@pytest.mark.parametrize("spec", [s for s in SPECS if bevel.ACTIVATIONS[s.partition(":")[0]].owned])
def test_every_module_of_bevel_can_be_reset(spec: str) -> None:
    module = _made(spec, 3)
    assert isinstance(module, LearnableModule)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3)
    before = list(module.parameters())
    module.reset_parameters()
    _same(module, _made(spec, 3))
    assert all(a is b for a, b in zip(before, module.parameters(), strict=True)), "an optimizer holds the old ones"
    assert all(p.requires_grad and p.is_leaf for p in module.parameters())


def test_a_hardened_activation_resets_to_what_it_was_hardened_from() -> None:
    soft = bevel.Mollified(3, "hard_sigmoid", n=1e4, learn="jumps+n")
    with torch.no_grad():
        soft.get_parameter("jumps_0").copy_(torch.tensor([0.1, 0.2, 0.3]))
    hard = bevel.harden(nn.Sequential(soft), 1.0).model[0]
    assert isinstance(hard, Kinked)
    want = hard.get_parameter("jumps_0").detach().clone()
    with torch.no_grad():
        hard.get_parameter("jumps_0").zero_()
    hard.reset_parameters()
    assert torch.equal(hard.get_parameter("jumps_0"), want)


def test_a_whole_model_is_initialized_late() -> None:
    """As FSDP has it: build on meta, shard, give memory, then every module resets itself."""

    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 8), bevel.SAU(8), nn.Linear(8, 2), bevel.SmoothFReLU())

    with torch.device("meta"):
        model = build()
    model.to_empty(device="cpu")
    model.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    assert model[1].alpha.tolist() == [pytest.approx(0.15)] * 8
    assert float(model[3].log_n.detach().exp()) == pytest.approx(5.0)


@pytest.mark.parametrize("spec", ["sau", "prelu", "silu"])
def test_the_product_of_a_gate_is_initialized_late(spec: str) -> None:
    fresh = bevel.nn.ActAndMul(spec, num_parameters=3)
    with torch.device("meta"):
        module = bevel.nn.ActAndMul(spec, num_parameters=3)
    module.to_empty(device="cpu")
    for reset in (module.reset_parameters, lambda: module.apply(lambda m: getattr(m, "reset_parameters", int)())):
        for t in (*module.parameters(), *module.buffers()):
            t.detach().fill_(math.nan)
        reset()
        assert [p.tolist() for p in module.parameters()] == [p.tolist() for p in fresh.parameters()]


# ------------------------------------------------------------------------------------------------ device and dtype

LEARNING = [s for s in SPECS if list(_made(s, 1).parameters())]


@pytest.mark.parametrize("spec", LEARNING)
def test_device_and_dtype_as_in_torchs_factories(spec: str) -> None:
    placed = _made(spec, 3, device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in placed.parameters()} == {("meta", torch.float64)}
    assert {p.dtype for p in _made(spec, 3, device="cpu").parameters()} == {torch.float32}


@pytest.fixture
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("spec", LEARNING)
@pytest.mark.usefixtures("double_by_default")
def test_the_default_dtype_is_respected(spec: str) -> None:
    module = _made(spec, 3)
    assert {p.dtype for p in module.parameters()} == {torch.float64}
    assert {p.dtype for p in _made(spec, 3, dtype=torch.float32).parameters()} == {torch.float32}


@pytest.mark.usefixtures("double_by_default")
def test_initial_values_have_the_dtypes_digits() -> None:
    module = bevel.SAU()
    assert module.alpha.item() == 0.15
    module.alpha.data.zero_()
    module.reset_parameters()
    assert module.alpha.item() == 0.15


@pytest.mark.usefixtures("double_by_default")
def test_a_swap_does_not_depend_on_the_default_dtype() -> None:
    model = nn.Sequential(nn.Linear(3, 3, dtype=torch.float32), nn.LeakyReLU(0.2))
    bevel.swap(model, "sau", torch.randn(2, 3, dtype=torch.float32))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model[1].alpha[0].item() == pytest.approx(0.2, rel=1e-7)


# ----------------------------------------------------------------------------------------------------- arguments

KEYWORDS = ("dim", "backend", "device", "dtype", "inplace")
PUBLIC = [getattr(bevel, n) for n in bevel.__all__] + [getattr(bevel.nn, n) for n in bevel.nn.__all__]
CALLABLES = {
    f"{f.__module__}.{f.__qualname__}": f
    for f in (*PUBLIC, bevel.functional.sau, bevel.functional.frelu, bevel.PiecewiseLinear.__call__)
    if callable(f) and not isinstance(f, bevel.kernel.Kernel) and "bevel" in getattr(f, "__module__", "")
}


@pytest.mark.parametrize("name", CALLABLES)
def test_what_places_a_call_is_given_by_name(name: str) -> None:
    try:
        parameters = inspect.signature(CALLABLES[name]).parameters
    except ValueError:  # a class of the standard library's making
        return
    for key in KEYWORDS:
        if key in parameters:
            assert parameters[key].kind is inspect.Parameter.KEYWORD_ONLY, f"{key} of {name}"


@pytest.mark.parametrize("name", [n for n in bevel.ACTIVATIONS if bevel.ACTIVATIONS[n].owned])
def test_modules_take_the_same_arguments_in_the_same_places(name: str) -> None:
    parameters = inspect.signature(bevel.ACTIVATIONS[name].factory).parameters
    positional = [k for k, p in parameters.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    by_name = [k for k, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    last = ["dim", "inplace", "device", "dtype"]
    if name in ("squareplus", "smelu", "relu_squared", "erelu"):  # nothing of theirs is learnt
        assert by_name == last[1:]
    else:
        assert positional[0] == "num_parameters"
        assert by_name[-4:] == last
        assert all(k.startswith("learn") for k in by_name[:-4])
    order = ("num_parameters", "f", "positive", "negative", "kernel", "alpha", "n", "form")
    known = [k for k in positional if k in order]
    assert known == sorted(known, key=order.index)


@pytest.mark.parametrize("name", [n for n in bevel.ACTIVATIONS if bevel.ACTIVATIONS[n].owned])
def test_forward_takes_input(name: str) -> None:
    module = bevel.create(name).eval()
    assert list(inspect.signature(module.forward).parameters) == ["input"]
    x = torch.randn(3)
    assert torch.equal(module(input=x), module(x))


def test_functions_take_input_first() -> None:
    for f in (bevel.smooth, bevel.functional.sau, bevel.functional.frelu):
        assert next(iter(inspect.signature(f).parameters)) == "input"


@pytest.mark.parametrize("spec", ["sau", "swish", "frelu", "pau", "mollified"])
def test_a_bad_initial_value_is_named(spec: str) -> None:
    factory = bevel.ACTIVATIONS[spec].factory
    bad = {"sau": "alpha", "swish": "beta", "frelu": "negative", "mollified": "n", "pau": ""}[spec]
    if bad:
        with pytest.raises(bevel.InvalidValue, match=f"{bad} must be"):
            factory(**{bad: math.nan})


# ------------------------------------------------------------------------------------------------------- scripting

BASES = {"Activation", "FormulaActivation", "LearnableModule"}
CLASSES = [
    name
    for name, value in vars(bevel.nn).items()
    if inspect.isclass(value) and issubclass(value, nn.Module) and name not in BASES
]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("name", CLASSES)
def test_scripting_is_refused_in_a_sentence(name: str) -> None:
    module: nn.Module = getattr(bevel.nn, name)()
    module.reset_parameters()  # which every one of them has
    for given in (module, nn.Sequential(nn.Linear(2, 2), module)):
        with pytest.raises(bevel.BevelError, match=rf"^torch.jit.script cannot compile {name}; torch.export"):
            torch.jit.script(given)


@pytest.mark.compile
def test_what_the_sentence_names_works() -> None:
    module, x = bevel.SAU(3, n=5.0), torch.randn(2, 3)
    exported: Tensor = torch.export.export(module, (x,)).module()(x)
    torch.testing.assert_close(exported, module(x))
    compiled: Tensor = torch.compile(module, backend="eager", fullgraph=True)(x)
    torch.testing.assert_close(compiled, module(x))


def test_an_activation_of_the_engine_is_one() -> None:
    assert isinstance(bevel.SAU(), Activation)
    assert not isinstance(bevel.nn.Swish(), Activation)
