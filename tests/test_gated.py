"""Swish, ACON-C and SMU run as gates; their formulas are the slow twin, and stay where there is no such gate."""

import io
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import bevel
from bevel.nn import ACONC, SMU, FormulaActivation, Swish
from bevel.nn._gated import LEAST_SHARPNESS, MOST_SHARPNESS, GatedFormula
from bevel.ops import using

BACKENDS = [name for name, reason in bevel.backends().items() if reason is None and name != "triton"]
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
SETS: dict[str, tuple[type[GatedFormula], dict[str, Sequence[float]]]] = {
    "swish": (Swish, {"beta": [0.7]}),
    "swish, by channel": (Swish, {"beta": [0.01, 1.0, 30.0]}),
    "swish, turned": (Swish, {"beta": [-0.7]}),
    "swish, both signs": (Swish, {"beta": [-2.0, 1e-5, 5.0]}),
    "acon_c": (ACONC, {"p1": [1.2], "p2": [-0.4], "beta": [0.9]}),
    "acon_c, all signs": (ACONC, {"p1": [1.2, -0.4, 0.3], "p2": [-0.4, 1.2, 0.1], "beta": [0.9, 0.9, -2.0]}),
    "smu": (SMU, {"alpha": [0.25], "mu": [2.5]}),
    "smu, all signs": (SMU, {"alpha": [-0.5, 1.5, 0.25], "mu": [0.3, 2.0, -1e3]}),
}
STAY = {
    "zero": (Swish, {"beta": [1.0, 0.0, -1.0]}),
    "equal slopes": (ACONC, {"p1": [0.5], "p2": [0.5], "beta": [1.0]}),
    "one slope": (SMU, {"alpha": [1.0], "mu": [2.5]}),
    "nan": (Swish, {"beta": [1.0, float("nan"), 1.0]}),
    "too small": (Swish, {"beta": [0.9 * LEAST_SHARPNESS]}),
    "too large": (Swish, {"beta": [1.1 * MOST_SHARPNESS]}),
}


def made(kind: type[GatedFormula], values: dict[str, Sequence[float]], dtype: torch.dtype) -> GatedFormula:
    module = kind(len(next(iter(values.values()))), dtype=dtype)
    with torch.no_grad():
        for name, given in values.items():
            getattr(module, name).copy_(torch.tensor(given))
    return module


def everything(module: GatedFormula, x: Tensor, g: Tensor, formula: bool) -> list[Tensor]:
    """Value, and the gradients by x and every parameter."""
    x = x.detach().clone().requires_grad_()
    y = FormulaActivation.forward(module, x) if formula else module(x)
    return [t.detach().double() for t in (y, *torch.autograd.grad(y, (x, *module.parameters()), g))]


def as_engine(module: GatedFormula, x: Tensor) -> bool:
    return module.as_family(x) is not None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_value_and_every_gradient_are_the_formulas(backend: str, name: str, dtype: torch.dtype) -> None:
    """No farther from the formula in float64 than twice what the formula is in the dtype itself, and its rounding.

    In float64 the two differ by rounding, which an exponent of 90 makes 90 times as large.
    """
    torch.manual_seed(0)
    module = made(*SETS[name], torch.float64 if dtype == torch.float64 else torch.float32)
    x, g = (3 * torch.randn(40, 3, 7, dtype=torch.float64)).to(dtype), torch.randn(40, 3, 7).to(dtype)
    assert as_engine(module, x)
    theirs = everything(module, x, g, formula=True)
    exact = everything(made(*SETS[name], torch.float64), x.double(), g.double(), formula=True)
    with using(backend):
        ours = everything(module, x, g, formula=False)
    eps = torch.finfo(dtype).eps * (90 if dtype == torch.float64 else 1)
    for mine, other, want in zip(ours, theirs, exact, strict=True):
        rounding = eps * want.abs().max() if want.dim() == 3 else 40 * eps * want.abs().max()
        assert (mine - want).abs().max() <= 2 * (other - want).abs().max() + rounding


@pytest.mark.parametrize("name", STAY)
def test_where_there_is_no_gate_the_formula_stays_to_the_bit(name: str) -> None:
    module, x = made(*STAY[name], torch.float32), torch.randn(4, 3, 5)
    assert not as_engine(module, x)
    both = [everything(module, x, torch.ones_like(x), formula) for formula in (False, True)]
    for mine, other in zip(*both, strict=True):
        assert torch.equal(mine.nan_to_num(7.0), other.nan_to_num(7.0))


@pytest.mark.parametrize("name", SETS)
def test_second_derivatives_are_the_formulas(name: str) -> None:
    torch.manual_seed(0)
    module = made(*SETS[name], torch.float64)
    x, g, h = torch.randn(3, 10, 3, 4, dtype=torch.float64).unbind(0)
    results = []
    for forward in (module, lambda at: FormulaActivation.forward(module, at)):
        inputs = [x.clone().requires_grad_(), *module.parameters()]
        first = torch.autograd.grad(forward(inputs[0]), inputs, g, create_graph=True)
        results.append(torch.autograd.grad((first[0] * h).sum() + sum(t.sum() for t in first[1:]), inputs))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-13 * float(other.abs().max()))


@pytest.mark.parametrize(("spec", "value"), [("swish", 3.0), ("acon_c", 3.0), ("smu", 3.0)])
def test_at_infinity_it_has_limits(spec: str, value: float) -> None:
    module = bevel.create(spec)
    infinite = torch.tensor([torch.inf, -torch.inf, torch.nan])
    y = module(infinite)
    assert y[0] == torch.inf
    assert not y[1].isnan()  # the formula's is −∞·0
    assert y[2].isnan()


def test_it_keeps_its_input_alone() -> None:
    for name, (kind, values) in SETS.items():
        module, x = made(kind, values, torch.float32), torch.randn(8, 3, 64, requires_grad=True)
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=kept: to.append(t) or t, lambda t: t):
            module(x)
        assert {t.data_ptr() for t in kept if t.numel() == x.numel()} == {x.data_ptr()}, name


def test_states_and_copies_know_nothing_of_it() -> None:
    module = made(*SETS["acon_c"], torch.float32)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again = ACONC()
    again.load_state_dict(torch.load(file))
    x = torch.randn(5)
    assert torch.equal(again(x), module(x))
    assert list(module.state_dict()) == ["p1", "p2", "beta"]


def test_a_gated_block_takes_it_in_one_pass() -> None:
    """``act_and_mul`` asks for the family; its gradients go through the coefficients to the parameters."""
    torch.manual_seed(0)
    gate, up = torch.randn(2, 6, 3, requires_grad=True).unbind(0)
    for name in SETS:
        module = made(*SETS[name], torch.float32)
        y = bevel.functional.act_and_mul(gate, up, module)
        want = FormulaActivation.forward(module, gate) * up
        torch.testing.assert_close(y, want)
        for mine, other in zip(*(torch.autograd.grad(t.sum(), [*module.parameters()]) for t in (y, want)), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


class _Doubled(Swish):
    """A user's subclass with a forward of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_a_forward_of_ones_own_is_called() -> None:
    gate, up = torch.randn(2, 6, 3).unbind(0)
    torch.testing.assert_close(bevel.functional.act_and_mul(gate, up, _Doubled()), 2 * gate * gate.sigmoid() * up)


def test_a_subclass_with_a_formula_of_its_own_computes_it() -> None:
    class Raised(bevel.nn.Swish):
        @staticmethod
        def formula(x: Tensor, *parameters: Tensor) -> Tensor:
            return bevel.nn.Swish.formula(x, *parameters) + 100

    assert Raised()(torch.zeros(3)).tolist() == [100.0] * 3
    both = bevel.nn.ActAndMul(Raised)
    assert both(torch.zeros(3), torch.ones(3)).tolist() == [100.0] * 3
