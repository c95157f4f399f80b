"""Gradients of the parameters where the line's x alone would drown them: at ±inf and far out in a tail."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import bevel
from bevel.functional import frelu, sau

NATIVE = pytest.mark.xfail(
    strict=True, reason="the native library sums g·x over both sides of a knot and subtracts afterwards"
)
BACKENDS = [
    pytest.param(b, marks=NATIVE) if b == "cpu" else b
    for b, reason in bevel.backends().items()
    if not reason and b != "triton"
]
INF = float("inf")
ENDS: dict[str, tuple[Callable[..., Tensor], list[float], list[float]]] = {
    # gradients of two parameters at −inf, then at inf: what a side does not depend on is 0 there, not inf − inf
    "published": (lambda x, *p, backend: sau(x, *p, "published", backend=backend), [-INF, 0], [0, 0]),
    "exact": (lambda x, *p, backend: sau(x, *p, "exact", backend=backend), [-INF, 0], [0, 0]),
    "centred": (lambda x, *p, backend: sau(x, *p, "centred", backend=backend), [-INF, 0], [0, 0]),
    "frelu": (frelu, [0, -INF], [INF, 0]),
}
TAILS = {  # mpmath, 40 digits: x·Φ(−x), and minus φ(x), at x = 6 and 8
    "published": [5.9195258702261888442e-9, 4.9767684594174272988e-15],
    "exact": [-1.5635697959709664279e-10, -7.5502624119464989137e-17],
    "centred": [5.9195258702261888442e-9, 4.9767684594174272988e-15],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("function", ENDS)
def test_limits_at_the_ends(function: str, backend: str) -> None:
    call, *wanted = ENDS[function]
    for end, want in zip((-INF, INF), wanted, strict=True):
        parameters = torch.tensor([0.5], requires_grad=True), torch.tensor([2.0], requires_grad=True)
        y = call(torch.tensor([end, 0.3]), *parameters, backend=backend)
        assert [float(d) for d in torch.autograd.grad(y[0], parameters)] == want


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", TAILS)
def test_alpha_keeps_its_digits_in_the_tail(form: str, backend: str) -> None:
    x = torch.tensor([6.0, 8.0], dtype=torch.float64)
    alpha = torch.full((2,), 0.15, dtype=torch.float64, requires_grad=True)
    (got,) = torch.autograd.grad(sau(x, alpha, 1.0, form, dim=0, backend=backend).sum(), alpha)
    torch.testing.assert_close(got, torch.tensor(TAILS[form], dtype=torch.float64), rtol=1e-13, atol=0)
