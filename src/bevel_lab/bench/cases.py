"""What is timed: bevel's activations, torch's own, the formulas as people write them, and a plain copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import bevel
from bevel.kernel import Kernel
from bevel_lab.runtime.memory import SavedBytes


@dataclass(frozen=True)
class Case:
    """A function of x, and the tensors whose gradients backward computes beside that of x."""

    name: str
    call: Callable[[Tensor], Tensor]
    parameters: tuple[Tensor, ...]

    def gradients(self, y: Tensor, x: Tensor, g: Tensor) -> Sequence[Tensor]:
        """Run backward: gradients of x and of all parameters. A plain copy is copied once more."""
        return [g.clone()] if self.name == "copy" else torch.autograd.grad(y, [x, *self.parameters], g)

    def saved_bytes(self, x: Tensor) -> int:
        """Count the bytes that autograd keeps for backward."""
        watch = SavedBytes()
        with watch.watch(self.call if isinstance(self.call, nn.Module) else nn.Identity()):
            self.call(x.detach().requires_grad_())
        return watch.total

    def to(self, device: torch.device) -> Case:
        """Move the case's module to the device."""
        return _case(self.name, self.call.to(device)) if isinstance(self.call, nn.Module) else self


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
    """SmoothFReLU written out, with n learned."""

    def __init__(self, channels: int, dim: int, rank: int) -> None:
        super().__init__(channels, dim, rank)
        self.log_n = nn.Parameter(torch.full_like(self.a.data, math.log(5.0)))

    def forward(self, x: Tensor) -> Tensor:
        n = self.log_n.exp()
        cdf = 0.5 * (1 + torch.erf(n * x / math.sqrt(2)))
        e = torch.exp(-((n * x) ** 2) / 2) / math.sqrt(2 * math.pi)
        return self.b * x + (self.a - self.b) * (x * cdf + e / n)


def _case(name: str, module: nn.Module, dtype: torch.dtype | None = None) -> Case:
    if dtype and not isinstance(module, bevel.nn.Activation):
        module = module.to(dtype)  # torch's modules and the formulas need parameters in the input's dtype
    return Case(name, module, tuple(module.parameters()))


def copy() -> Case:
    """A copy reads and writes x once: it shows what memory alone costs."""
    return Case("copy", torch.clone, ())


def torchs_own(channels: int, dim: int, dtype: torch.dtype) -> list[Case]:
    """torch's relu, leaky_relu and gelu, and PReLU per channel where torch supports the axis (dim 1)."""
    made: dict[str, nn.Module] = {"relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(), "gelu": nn.GELU()}
    if dim == 1:
        made["prelu(C)"] = nn.PReLU(channels)
    return [_case(name, module, dtype) for name, module in made.items()]


def bevels_own(channels: int, dim: int) -> list[Case]:
    """bevel's activations that targets are set for."""
    made = {
        "sau": bevel.SAU(),
        "sau:n=1": bevel.SAU(n=1.0),
        "frelu(C)": bevel.FReLU(channels, dim=dim),
        "smooth_frelu(C)": bevel.SmoothFReLU(channels, dim=dim),
    }
    return [_case(name, module) for name, module in made.items()]


def basic(channels: int, dim: int, dtype: torch.dtype) -> list[Case]:
    """A copy, torch's own activations, and bevel's."""
    return [copy(), *torchs_own(channels, dim, dtype), *bevels_own(channels, dim)]


def every_kernel(takes: Callable[[Kernel], bool] = lambda kernel: True) -> list[Case]:
    """ReLU smoothed at n = 1 with each kernel that the backend takes; its slope and n are learned."""
    return [
        _case(f"mollified({k})", bevel.Mollified(f="relu", kernel=k, learn="jumps+n"))
        for k in bevel.KERNELS
        if bevel.KERNELS[k].has_moment and bevel.KERNELS[k].native > 0 and takes(bevel.KERNELS[k])
    ]


def catalog() -> list[Case]:
    """A copy and every activation of the catalog as a name alone makes it: what is learned is one value each."""
    return [copy(), *(_case(name, bevel.create(name)) for name in bevel.ACTIVATIONS)]


def formulas(channels: int, dim: int, rank: int, dtype: torch.dtype) -> list[Case]:
    """bevel's functions as plain torch expressions; each is named after the one that it stands beside."""
    made: dict[str, nn.Module] = {
        "sau": SauFormula(20000.0),
        "sau:n=1": SauFormula(1.0),
        "frelu(C)": FreluFormula(channels, dim, rank),
        "smooth_frelu(C)": SmoothFreluFormula(channels, dim, rank),
    }
    return [_case(f"formula {name}", module, dtype) for name, module in made.items()]


def compiled(case: Case, backend: str = "inductor") -> Case:
    """Compile a formula with ``torch.compile``."""
    made = torch.compile(case.call, dynamic=False, fullgraph=True, backend=backend)
    return Case(case.name.replace("formula", "compiled"), made, case.parameters)


def swapped(model: nn.Module, spec: str, example: Tensor) -> nn.Module:
    """Replace the model's ReLUs by the activation."""
    if spec != "relu":
        bevel.swap(model, spec, example, preserve=False)
    return model


def training_step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """Return a call that makes one step of SGD with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
        optimizer.step()

    return step
