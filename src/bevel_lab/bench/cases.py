"""What is timed: bevel's activations, torch's own, the formulas as people write them, and a plain copy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import bevel


@dataclass(frozen=True)
class Case:
    """A function of x and the tensors whose gradients are asked for beside x's."""

    name: str
    call: Callable[[Tensor], Tensor]
    parameters: tuple[Tensor, ...]


class SauFormula(nn.Module):
    """SAU as it is usually written, under autograd."""

    def __init__(self, n: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([0.15]))
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        e = torch.exp(-((self.n * x) ** 2) / 2)
        line = (1 + self.alpha) / 2 * x + (1 - self.alpha) / 2 * x * torch.erf(self.n * x / math.sqrt(2))
        return math.sqrt(2 / math.pi) / (2 * self.n) * e + line


class FreluFormula(nn.Module):
    """FReLU as it is usually written: a where of two products."""

    def __init__(self, channels: int, dim: int, rank: int) -> None:
        super().__init__()
        shape = [1] * rank
        shape[dim] = channels
        self.a = nn.Parameter(torch.full(shape, 1.0))
        self.b = nn.Parameter(torch.full(shape, 0.01))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, self.a * x, self.b * x)


class SmoothFreluFormula(FreluFormula):
    """SmoothFReLU written out, with n learnt."""

    def __init__(self, channels: int, dim: int, rank: int) -> None:
        super().__init__(channels, dim, rank)
        self.log_n = nn.Parameter(torch.full_like(self.a.data, math.log(5.0)))

    def forward(self, x: Tensor) -> Tensor:
        n = self.log_n.exp()
        cdf = 0.5 * (1 + torch.erf(n * x / math.sqrt(2)))
        e = torch.exp(-((n * x) ** 2) / 2) / math.sqrt(2 * math.pi)
        return self.b * x + (self.a - self.b) * (x * cdf + e / n)


def _module(name: str, module: nn.Module, dtype: torch.dtype) -> Case:
    if not isinstance(module, bevel.nn.Activation):
        module = module.to(dtype)  # torch's own and the formulas want parameters in the input's dtype
    return Case(name, module, tuple(p for p in module.parameters()))


def copy() -> Case:
    """Read once, write once: what memory costs. Its backward is another copy."""
    return Case("copy", torch.clone, ())


def torchs_own(channels: int, dim: int, dtype: torch.dtype) -> list[Case]:
    """relu, leaky_relu and gelu; PReLU per channel where torch supports the axis (dim 1)."""
    found = [
        _module("relu", nn.ReLU(), dtype),
        _module("leaky_relu", nn.LeakyReLU(), dtype),
        _module("gelu", nn.GELU(), dtype),
    ]
    if dim == 1:
        found.append(_module("prelu(C)", nn.PReLU(channels), dtype))
    return found


def ours(channels: int, dim: int, dtype: torch.dtype) -> list[Case]:
    """The rows that targets are set for."""
    named = {
        "sau": bevel.SAU(),
        "sau:n=1": bevel.SAU(n=1.0),
        "frelu(C)": bevel.FReLU(channels, dim=dim),
        "smooth_frelu(C)": bevel.SmoothFReLU(channels, dim=dim),
    }
    return [_module(name, module, dtype) for name, module in named.items()]


def every_kernel() -> list[Case]:
    """ReLU with each kernel at n = 1: one kink, nothing learnt but the slope and n."""
    return [
        _module(f"mollified({k})", bevel.Mollified(f="relu", kernel=k, learn="jumps+n"), torch.float32)
        for k in bevel.KERNELS
        if bevel.KERNELS[k].has_moment
    ]


def formulas(channels: int, dim: int, rank: int, dtype: torch.dtype) -> dict[str, nn.Module]:
    """The same functions as plain torch expressions, by the name of ours that they stand beside."""
    made: dict[str, nn.Module] = {
        "sau": SauFormula(20000.0),
        "sau:n=1": SauFormula(1.0),
        "frelu(C)": FreluFormula(channels, dim, rank),
        "smooth_frelu(C)": SmoothFreluFormula(channels, dim, rank),
    }
    return {name: module.to(dtype) for name, module in made.items()}


def eager_and_compiled(channels: int, dim: int, rank: int, dtype: torch.dtype, compiled: bool) -> list[Case]:
    """The formulas in eager mode and, if asked for, through ``torch.compile``."""
    cases: list[Case] = []
    for name, module in formulas(channels, dim, rank, dtype).items():
        cases.append(_module(f"formula {name}", module, dtype))
        if compiled:
            made = torch.compile(module, dynamic=False, fullgraph=True)
            cases.append(Case(f"compiled {name}", made, tuple(module.parameters())))
    return cases
