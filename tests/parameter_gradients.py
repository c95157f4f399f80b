"""A law for the tests of every backend: the gradients of the parameters where the x of the line would hide them."""

from collections.abc import Callable

import torch
from torch import Tensor

from bevel.functional import frelu, sau

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


def check_the_ends(function: str, backend: str, device: torch.device | str = "cpu") -> None:
    """At ±inf the gradients are their limits."""
    call, *wanted = ENDS[function]
    for end, want in zip((-INF, INF), wanted, strict=True):
        parameters = [torch.tensor([value], device=device, requires_grad=True) for value in (0.5, 2.0)]
        y = call(torch.tensor([end, 0.3], device=device), *parameters, backend=backend)
        assert [float(d) for d in torch.autograd.grad(y[0], parameters)] == want


def check_the_tail(form: str, backend: str, device: torch.device | str = "cpu", rtol: float = 1e-13) -> None:
    """Far right of the knot ∂α is small and good to ``rtol`` of itself; in float32 where ``rtol`` allows that."""
    dtype = torch.float64 if rtol < 1e-7 else torch.float32
    x = torch.tensor([6.0, 8.0], dtype=dtype, device=device)
    alpha = torch.full((2,), 0.15, dtype=dtype, device=device, requires_grad=True)
    (got,) = torch.autograd.grad(sau(x, alpha, 1.0, form, dim=0, backend=backend).sum(), alpha)
    torch.testing.assert_close(got.cpu(), torch.tensor(TAILS[form], dtype=dtype), rtol=rtol, atol=0)
