"""What happens where a forward writes on tensors that an activation has kept, and far out."""

import pytest
import torch
from torch import nn

import bevel

OWN = [name for name, entry in bevel.ACTIVATIONS.items() if entry.owned and name != "erelu"]  # it keeps its slopes


@pytest.mark.parametrize("name", OWN)
def test_an_input_that_is_changed_afterwards_is_an_error_with_the_ways_out(name: str) -> None:
    layer, act = nn.Linear(4, 4), bevel.create(name, 4)
    if isinstance(act, bevel.nn.Activation):
        act.save = "input"  # tests/test_save.py has the output
    h = layer(torch.randn(3, 4))
    y = act(h)
    h += 1
    with pytest.raises(bevel.BevelError, match=r"kept its input .* Write h = h \+ 1 .* act\(h\.clone\(\)\)"):
        y.sum().backward()
    h = layer(torch.randn(3, 4))
    y = act(h.clone())
    h += 1
    y.sum().backward()


def test_a_slope_of_zero_is_named_as_the_reason_why_the_input_was_kept() -> None:
    layer, act = nn.Linear(4, 4), bevel.FReLU(4, negative=0.0)
    for save, reason in (
        ("auto", "kept its input for backward, since its output does not tell it where a slope is zero"),
        ("input", "kept its input for backward, and the input or a parameter was"),
    ):
        act.save = save
        h = layer(torch.randn(3, 4))
        y = act(h)
        h += 1
        with pytest.raises(bevel.BevelError, match=reason):
            y.sum().backward()


def test_other_errors_of_backward_stay_torchs_own() -> None:
    y = bevel.FReLU(4)(nn.Linear(4, 4)(torch.randn(3, 4))).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pau_far_out(dtype: torch.dtype) -> None:
    """At 1e8 it was inf: x⁵ overflows."""
    module = bevel.create("pau").double() if dtype == torch.float64 else bevel.create("pau")
    x = torch.tensor([1e8, -1e8, 3.0, -2.0, 1.0, 0.5, 0.0], dtype=dtype, requires_grad=True)
    y = module(x)
    wide = x.detach().double()
    coefficients = [float(p.detach()) for p in module.parameters()]
    a, b = coefficients[:6], coefficients[6:]
    top = sum(c * wide**k for k, c in enumerate(a))
    bottom = sum(c * wide ** (k + 1) for k, c in enumerate(b))
    close = 1e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(y.double(), top / (1 + bottom.abs()), rtol=close, atol=close)
    assert float(y.detach()[0]) == pytest.approx(5.05e7, rel=1e-2)
    y.sum().backward()
    assert x.grad is not None
    assert float(x.grad[0]) == pytest.approx(0.15213793 / 0.301253, rel=1e-2)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())
