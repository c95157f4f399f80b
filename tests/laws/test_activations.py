"""Every activation of the catalog keeps the laws, on every backend that can be used here."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.gradcheck import GradcheckError

import bevel
from bevel import ACTIVATIONS
from bevel.ops import using
from bevel.ops._inverse import may_keep_output
from bevel.testing import check_activation, not_applicable

OWNED = [name for name in ACTIVATIONS if ACTIVATIONS[name].owned]
ENGINE = [name for name in OWNED if isinstance(bevel.create(name), bevel.nn.Activation)]
MORE = [
    "sau:n=3,form=exact,learn_n=true",
    "sau:n=3,form=centred,learn_n=true",
    "sau:n=3,learn_n=true",
    "sau:learn_alpha=false",
    *(f"smooth_frelu:kernel={k},n=1.5" for k, it in bevel.KERNELS.items() if it.has_moment and it.native > 0),
    *(f"gate:kernel={k},n=1.5,positive=-0.5,negative=1.25,learn_slopes=true" for k in ("logistic", "student", "box")),
    "mollified:f=hardtanh,kernel=triweight,n=2,learn=n+left+offset+knots+jumps+steps",
    "mollified:f=soft_shrink(0.3),kernel=student,n=2,learn=knots",
    "mollified:f=step,kernel=cauchy,n=2,learn=n+steps",
    "mollified:f=hardswish,kernel=gaussian,n=3,learn=n+bends+left_bend+jumps+knots",
    "mollified:f=relu_squared,kernel=box,n=2",
    "mollified:f=relu6,kernel=triangle,n=2,learn=bends",
    "xiprelu:learn_beta=true",
]
TORCHS_OWN_LIMITS = {  # laws that torch's own modules do not keep
    "hardsigmoid": "no second derivative",
    "logsigmoid": "loses channels_last",
    "rrelu": "loses channels_last",
    "softsign": "keeps two full-size tensors",
}


@pytest.mark.parametrize("num_parameters", [1, 3])
@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in TORCHS_OWN_LIMITS])
def test_activation_laws(name: str, num_parameters: int) -> None:
    module = bevel.create(name, num_parameters=num_parameters).eval()  # in training some are random
    assert "gradgradcheck" in check_activation(module)


@pytest.mark.parametrize("backend", [b for b, reason in bevel.backends().items() if not reason and b != "triton"])
@pytest.mark.parametrize("spec", [*ENGINE, *MORE])
def test_engine_laws_on_every_backend(spec: str, backend: str) -> None:
    module = bevel.create(spec, num_parameters=3)
    with using(backend):
        if module.family.only_formulas() and backend not in ("reference", "analytic"):
            with pytest.raises(bevel.BackendUnavailable, match="it knows no"):
                module(torch.zeros(2, 3))
        elif backend == "reference":  # it keeps what autograd keeps
            with pytest.raises(AssertionError, match="one saved tensor"):
                check_activation(module)
        else:
            assert "one saved tensor" in check_activation(module)


TELL = [spec for spec in (*ENGINE, *MORE) if may_keep_output(bevel.create(spec, num_parameters=3).family)]
"""Those whose output may tell the input; the laws above hold under ``auto``."""


@pytest.mark.parametrize(
    ("spec", "rule"), [*((spec, "output") for spec in TELL), *((spec, "input") for spec in TELL if spec in ENGINE)]
)
def test_laws_with_each_rule_of_saving(spec: str, rule: str) -> None:
    module = bevel.create(spec, num_parameters=3)
    module.save = rule
    assert "gradgradcheck" in check_activation(module)


@pytest.mark.parametrize("dim", [-1, 0, 2, 3])
@pytest.mark.parametrize("spec", ["sau:n=3", "frelu", "swish"])
def test_laws_along_any_axis(spec: str, dim: int) -> None:
    assert "gradgradcheck" in check_activation(bevel.create(spec, num_parameters=5, dim=dim))


@pytest.mark.parametrize(
    ("spec", "laws", "left_out"),
    [
        ("sau", {"the proven bound"}, {"monotone where f is"}),
        ("sau:form=exact", {"the proven bound", "monotone where f is"}, set()),
        ("sau:form=centred", {"the proven bound"}, {"monotone where f is"}),
        ("frelu", {"the proven bound", "monotone where f is"}, set()),
        ("swish", set(), {"the proven bound", "monotone where f is"}),
    ],
)
def test_bound_and_monotonicity_hold_or_are_named(spec: str, laws: set[str], left_out: set[str]) -> None:
    module = bevel.create(spec)
    found = check_activation(module)
    assert laws == {"the proven bound", "monotone where f is"} & set(found)
    assert left_out == set(not_applicable(module))


def test_every_channel_is_held_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    module = bevel.SAU(3, n=3.0)
    with torch.no_grad():
        module.alpha.copy_(torch.tensor([0.1, 0.2, 0.9]))
    forward = bevel.SAU.forward

    def shifted(self: bevel.SAU, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad:  # the laws of layouts come first, and are not what is broken here
            return forward(self, x)
        third = torch.tensor([0.0, 0.0, 0.2], dtype=x.dtype).reshape(3, 1, 1)
        return forward(self, x) + third / (1 + x.square())

    monkeypatch.setattr(bevel.SAU, "forward", shifted)
    with pytest.raises(AssertionError, match=r"the proven bound: .* in channel 2"):
        check_activation(module)


def test_the_module_stays_as_it_is() -> None:
    module = bevel.SAU(n=3.0).double()
    check_activation(module)
    assert module.alpha.dtype == torch.float64
    assert module.alpha.grad is None


class _Pole(nn.Module):
    """Finite everywhere but at zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1 / x


def test_zero_is_among_the_inputs() -> None:
    with pytest.raises(AssertionError, match="stays finite"):
        check_activation(_Pole())


@pytest.mark.parametrize("fast", [False, True])
def test_a_wrong_activation_breaks_a_law(fast: bool) -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clamp(min=0).detach() + 0 * x

    with pytest.raises((AssertionError, GradcheckError), match=r"Jacobian mismatch|law broken|Gradients failed"):
        check_activation(Rounded(), fast=fast)


class _OffAtOne(torch.autograd.Function):
    """ReLU whose gradient is a tenth too large at the greatest element alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        off = 1 + 0.1 * (x == x.max()).to(x.dtype) if x.numel() else 1
        return gradients[0] * (x > 0) * off


@pytest.mark.parametrize("fast", [False, True])
def test_one_wrong_slope_among_many_breaks_a_law(fast: bool) -> None:
    class Off(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = _OffAtOne.apply(x)
            return y

    with pytest.raises(GradcheckError):
        check_activation(Off(), fast=fast)


@pytest.mark.parametrize("name", OWNED)
def test_parameters_are_one_dimensional_float32(name: str) -> None:
    for p in bevel.create(name, num_parameters=4).parameters():
        assert p.shape == (4,)
        assert p.dtype == torch.float32
