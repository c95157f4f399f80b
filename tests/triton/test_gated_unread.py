"""Swish, ACON-C and SMU on a GPU: no value of a parameter is read, and every sign, also 0, gives the formula."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import bevel
from bevel.nn import ACONC, SMU, FormulaActivation, Swish, _gated
from bevel.ops import using

pytestmark = pytest.mark.usefixtures("one_program")

SIGNS = (
    (Swish, {"beta": [1.5, 0.0, -0.7]}),
    (ACONC, {"p1": [1.2, 0.3, 0.1], "p2": [-0.4, 0.3, 0.9], "beta": [0.9, 2.0, 1.0]}),
    (SMU, {"alpha": [0.25, 1.0, 1.5], "mu": [2.5, 1.0, 2.0]}),
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("kind", "values"), SIGNS, ids=lambda v: getattr(v, "__name__", ""))
def test_no_value_is_read(
    kind: type[_gated.GatedFormula],
    values: dict[str, Sequence[float]],
    dtype: torch.dtype,
    device: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    module = kind(3, dtype=torch.float64 if dtype == torch.float64 else torch.float32).to(device)
    with torch.no_grad():
        for name, given in values.items():
            getattr(module, name).copy_(torch.tensor(given))
    x, g = torch.randn(2, 20, 3, 5, dtype=torch.float64).to(device, dtype).unbind(0)

    def everything(formula: bool) -> list[Tensor]:
        at = x.clone().requires_grad_()
        y = FormulaActivation.forward(module, at) if formula else module(at)
        first = torch.autograd.grad(y, (at, *module.parameters()), g, create_graph=True)
        second = torch.autograd.grad(sum(t.float().sum() for t in first[:2]), (at, *module.parameters()))
        return [t.detach().double() for t in (y, *first, *second)]

    want = everything(formula=True)
    monkeypatch.setattr(_gated, "reading_waits", lambda s: True)
    monkeypatch.setattr(_gated, "is_sharpness", lambda s: pytest.fail("a value was read"))
    with using("triton"):
        ours = everything(formula=False)
    eps = torch.finfo(dtype).eps
    for mine, other in zip(ours, want, strict=True):
        assert (mine - other).abs().max() <= 50 * eps * other.abs().max()


def test_zero_is_a_line_far_out(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gated, "reading_waits", lambda s: True)
    x = torch.tensor([-1e7, -1.0, 0.0, 1e7], device=device)
    with using("triton"):
        torch.testing.assert_close(bevel.nn.Swish(beta=0.0).to(device)(x), x / 2, rtol=1e-6, atol=0)
