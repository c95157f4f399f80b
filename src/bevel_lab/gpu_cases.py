"""What ``make bench-gpu`` times: bevel's programs, torch's own activations, the formula as people write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bevel
from bevel.ops import _triton


@dataclass(frozen=True)
class Case:
    """Something to time.

    Attributes:
        name: what it is.
        call: one call on the buffers of the given turn.
        moved: bytes it must move, 0 where that is not the question.
    """

    name: str
    call: Callable[[int], object]
    moved: int = 0


class SauFormula(nn.Module):
    """SAU as it is usually written."""

    def __init__(self, n: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([0.15]))
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        e = torch.exp(-((self.n * x) ** 2) / 2)
        line = (1 + self.alpha) / 2 * x + (1 - self.alpha) / 2 * x * torch.erf(self.n * x * 2**-0.5)
        y: Tensor = (2 / torch.pi) ** 0.5 / (2 * self.n) * e + line
        return y


def shape_of(size: int, dtype: torch.dtype, dry: bool) -> tuple[int, int, int, int]:
    """An NCHW shape of about so many bytes with 64 channels of 56 x 56 (4 x 4 in a rehearsal)."""
    channels, side = (4, 4) if dry else (64, 56)
    elements = size // torch.empty(0, dtype=dtype).element_size()
    return max(1, elements // (channels * side * side)), channels, side, side


def kernel_cases(x: list[Tensor], g: list[Tensor]) -> list[Case]:
    """One pass each: copy, torch's relu, and the backend's programs with all parameter gradients."""
    size = x[0].numel() * x[0].element_size()
    y = [torch.empty_like(t) for t in x]
    channels = x[0].shape[1]
    cases = [
        Case("copy", lambda i: y[i].copy_(x[i]), 2 * size),
        Case("relu forward", lambda i: torch.relu(x[i]), 2 * size),
    ]
    modules: dict[str, bevel.nn.Activation] = {
        "SAU": bevel.SAU(),
        "SAU(n=1)": bevel.SAU(n=1.0),
        "FReLU": bevel.FReLU(),
        "FReLU(C)": bevel.FReLU(channels),
        "SmoothFReLU(C)": bevel.SmoothFReLU(channels),
    }
    for name, module in modules.items():
        family, own = module.family, [p.detach() for p in module.to(x[0].device).values()]
        needs = (True,) * (1 + len(own))

        def forward(i: int, family: Any = family, own: Any = own) -> object:
            return _triton.forward(family, 1, x[i], own)

        def backward(i: int, family: Any = family, own: Any = own, needs: Any = needs) -> object:
            return _triton.backward(family, 1, g[i], x[i], own, needs)

        cases += [Case(f"{name} forward", forward, 2 * size), Case(f"{name} backward", backward, 3 * size)]
    return cases


def call_cases(x: list[Tensor], g: list[Tensor], dry: bool, *, formulas: bool) -> list[Case]:
    """Forward and backward as a training step calls them."""
    channels, dtype, device = x[0].shape[1], x[0].dtype, x[0].device
    modules: dict[str, nn.Module] = {"relu": nn.ReLU(), "gelu": nn.GELU(), "prelu(C)": nn.PReLU(channels).to(dtype)}
    modules |= {"SAU": bevel.SAU(), "FReLU(C)": bevel.FReLU(channels), "SmoothFReLU(C)": bevel.SmoothFReLU(channels)}
    if formulas:
        modules["SAU formula"] = SauFormula(20000.0)
        if not dry:
            compiled = SauFormula(20000.0)
            compiled.compile()
            modules["SAU formula, torch.compile"] = compiled
    cases = []
    for name, module in modules.items():
        own = list(module.to(device).parameters())

        def both(i: int, module: nn.Module = module, own: list[nn.Parameter] = own) -> object:
            return torch.autograd.grad(module(x[i]), [x[i], *own], g[i])

        cases.append(Case(f"{name} forward + backward", both))
    return cases


def small_cases(x: Tensor, g: Tensor) -> list[Case]:
    sau = bevel.SAU().to(x.device)
    (alpha,) = sau.parameters()
    return [
        Case("gelu forward", lambda i: F.gelu(x)),
        Case("SAU forward", lambda i: sau(x)),
        Case("gelu forward + backward", lambda i: torch.autograd.grad(F.gelu(x), x, g)),
        Case("SAU forward + backward", lambda i: torch.autograd.grad(sau(x), [x, alpha], g)),
    ]
