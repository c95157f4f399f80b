"""What ``make bench-gpu`` times: the cases of the CPU's bench as calls on a GPU, and the Triton programs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import bevel
from bevel.ops.triton import backend
from bevel_lab.bench import cases

KINDS = ("forward", "forward + backward")
LAYOUTS = {"nchw": 1, "channels_last": 1, "btc": -1}  # and the axis of the channels


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


def shape_of(size: int, dtype: torch.dtype, dry: bool) -> tuple[int, int, int, int]:
    """An NCHW shape of about so many bytes with 64 channels of 56 x 56 (4 x 4 in a rehearsal)."""
    channels, side = (4, 4) if dry else (64, 56)
    elements = size // torch.empty(0, dtype=dtype).element_size()
    return max(1, elements // (channels * side * side)), channels, side, side


def buffers(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device, turns: int, layout: str
) -> list[Tensor]:
    """Normal numbers, as many tensors as there are turns; ``btc`` is (batch, pixels, channels)."""
    batch, channels, height, width = shape
    if layout == "btc":
        return [torch.randn(batch, height * width, channels, device=device, dtype=dtype) for _ in range(turns)]
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    made = [torch.empty(shape, device=device, dtype=dtype, memory_format=memory) for _ in range(turns)]
    return [t.normal_() for t in made]


def on(device: torch.device, found: Iterable[cases.Case]) -> list[cases.Case]:
    """The bench's cases with their modules moved there."""
    moved = []
    for case in found:
        if isinstance(case.call, nn.Module):
            module = case.call.to(device)
            case = cases.Case(case.name, module, tuple(module.parameters()))
        moved.append(case)
    return moved


def basic(channels: int, dim: int, dtype: torch.dtype) -> list[cases.Case]:
    """A copy, torch's own activations, and bevel's."""
    return [cases.copy(), *cases.torchs_own(channels, dim, dtype), *cases.ours(channels, dim, dtype)]


def calls(found: Sequence[cases.Case], x: list[Tensor], g: list[Tensor], kind: str) -> list[Case]:
    """Calls as a training step makes them; x asks for gradients, and so do all parameters."""
    made = []
    for case in on(x[0].device, found):

        def forward(i: int, case: cases.Case = case) -> object:
            return case.call(x[i])

        def both(i: int, case: cases.Case = case) -> object:
            y = case.call(x[i])
            return g[i].clone() if case.name == "copy" else torch.autograd.grad(y, [x[i], *case.parameters], g[i])

        made.append(Case(f"{case.name} {kind}", forward if kind == "forward" else both))
    return made


def kernel_cases(x: list[Tensor], g: list[Tensor]) -> list[Case]:
    """One pass each: copy, torch's relu, and the backend's programs with all parameter gradients."""
    size = x[0].numel() * x[0].element_size()
    y = [torch.empty_like(t) for t in x]
    made = [
        Case("copy", lambda i: y[i].copy_(x[i]), 2 * size),
        Case("relu forward", lambda i: torch.relu(x[i]), 2 * size),
    ]
    shared = cases.Case("frelu", bevel.FReLU(), ())
    for case in on(x[0].device, [*cases.ours(x[0].shape[1], 1, x[0].dtype), shared]):
        module: Any = case.call
        family, own = module.family, [p.detach() for p in module.values()]
        needs = (True,) * (1 + len(own))

        def forward(i: int, family: Any = family, own: Any = own) -> object:
            return backend.forward(family, 1, x[i], own)

        def backward(i: int, family: Any = family, own: Any = own, needs: Any = needs) -> object:
            return backend.backward(family, 1, g[i], x[i], own, needs)

        made += [Case(f"{case.name} forward", forward, 2 * size), Case(f"{case.name} backward", backward, 3 * size)]
    return made


class _AddSauMul(nn.Module):
    """SAU between an addition and a product of its own size, as between a shortcut and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.act = bevel.SAU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + 0.5 * x) * x
        return y


class _BiasFrelu(nn.Module):
    """FReLU per channel behind a bias per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.act = bevel.FReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + self.bias)
        return y


def neighbours(channels: int, dtype: torch.dtype, dry: bool) -> dict[str, list[cases.Case]]:
    """An activation and its neighbours: eager, where it is a program of ours, and compiled, where all is one.

    A rehearsal traces the graph and leaves it at that.
    """
    found = {}
    made: dict[str, nn.Module] = {"add, sau, mul": _AddSauMul(), "bias, frelu(C)": _BiasFrelu(channels)}
    for name, module in made.items():
        if isinstance(module, _BiasFrelu):
            module.bias.data = module.bias.data.to(dtype)
        compiled = torch.compile(module, dynamic=False, fullgraph=True, backend="eager" if dry else "inductor")
        found[name] = [cases.Case("eager", module, ()), cases.Case("compiled", compiled, ())]
    return found
