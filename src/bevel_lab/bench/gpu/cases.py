"""What ``make bench-gpu`` times: the cases of the CPU's benchmark as calls on a GPU, and single passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bevel
from bevel.ops.triton import backend
from bevel_lab.bench import cases
from bevel_lab.bench.gpu.plain import PlainFrelu
from bevel_lab.bench.gpu.timing import Call


def calls(found: Iterable[cases.Case], x: list[Tensor], g: list[Tensor], what: str) -> dict[str, Call]:
    """The cases as a training step calls them, ``forward`` or ``both``; x and all parameters require gradients."""
    made: dict[str, Call] = {}
    for case in (one.to(x[0].device) for one in found):

        def forward(i: int, case: cases.Case = case) -> object:
            return case.call(x[i])

        def both(i: int, case: cases.Case = case) -> object:
            return case.gradients(case.call(x[i]), x[i], g[i])

        made[case.name] = forward if what == "forward" else both
    return made


def passes(x: list[Tensor], g: list[Tensor], what: str, channels: int, dim: int) -> dict[str, Call]:
    """Single passes without autograd, ``forward`` or ``backward`` with all parameter gradients, beside a clone.

    Backward is given x, or, ``from y``, the output, where that tells x.

    Functions of shared parameters alone have the same program in every layout, so they are in flat runs (``channels``
    is 0), and functions of a parameter per channel in the others.
    """
    made = _torchs_own(x, g, what == "forward", channels, dim)
    own = cases.bevels_own(max(channels, 1), dim)
    chosen = [case for case in own if ("(C)" in case.name) == bool(channels)]
    if not channels:
        chosen.append(cases.Case("frelu", bevel.FReLU(), ()))
        made["plain frelu"] = _plain(x, g, what == "forward")
    for case in chosen:
        module: Any = case.to(x[0].device).call
        family, parameters = module.family, [p.detach() for p in module.values()]
        needs = (True,) * (1 + len(parameters))

        def forward(i: int, family: Any = family, parameters: Any = parameters) -> object:
            return backend.forward(family, dim, x[i], parameters)

        def backward(i: int, family: Any = family, parameters: Any = parameters, needs: Any = needs) -> object:
            return backend.backward(family, dim, g[i], x[i], parameters, needs)

        def from_y(i: int, family: Any = family, parameters: Any = parameters, needs: Any = needs) -> object:
            return backend.backward_from_output(family, dim, g[i], x[i], parameters, needs)

        made[case.name] = forward if what == "forward" else backward
        if what == "backward" and backend.keeps_output(family, x[0].dtype, "output"):
            made[f"{case.name} from y"] = from_y
    return made


def _torchs_own(x: list[Tensor], g: list[Tensor], forward: bool, channels: int, dim: int) -> dict[str, Call]:
    """A clone; in flat runs relu, gelu, leaky_relu and PReLU of torch; else its PReLU per channel, on axis 1."""
    made: dict[str, Call] = {"copy": lambda i: x[i].clone()}
    aten: Any = torch.ops.aten
    weight = torch.full((max(channels, 1),), 0.25, dtype=x[0].dtype, device=x[0].device)
    shaped = weight.view(-1, *[1] * (x[0].dim() - 2)) if channels else weight
    others = [axis for axis in range(x[0].dim()) if not channels or axis != dim]

    def prelu_backward(i: int) -> object:
        dx, every = aten._prelu_kernel_backward(g[i], x[i], shaped)
        return dx, every.sum(others)

    if not channels:
        made["relu"] = (lambda i: F.relu(x[i])) if forward else lambda i: aten.threshold_backward(g[i], x[i], 0)
        made["gelu"] = (lambda i: F.gelu(x[i])) if forward else lambda i: aten.gelu_backward(g[i], x[i])
        made["leaky_relu"] = (
            (lambda i: F.leaky_relu(x[i])) if forward else lambda i: aten.leaky_relu_backward(g[i], x[i], 0.01, False)
        )
    if dim < 2:
        name = "prelu(C)" if channels else "prelu"
        made[name] = (lambda i: F.prelu(x[i], weight)) if forward else prelu_backward
    return made


def _plain(x: list[Tensor], g: list[Tensor], forward: bool) -> Call:
    a, b = (torch.full((1,), v, device=x[0].device) for v in (1.0, 0.01))
    plain = PlainFrelu(x[0].numel(), a, b)
    return (lambda i: plain.forward(x[i])) if forward else lambda i: plain.backward(g[i], x[i])


class _AddSauMul(nn.Module):
    """SAU between an addition and a product, as between a shortcut and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.act = bevel.SAU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + 0.5 * x) * x
        return y


class _BiasFrelu(nn.Module):
    """FReLU per channel after a bias per channel."""

    def __init__(self, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1, dtype=dtype))
        self.act = bevel.FReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + self.bias)
        return y


def neighbors(channels: int, dtype: torch.dtype, dry: bool) -> dict[str, list[cases.Case]]:
    """An activation and its neighbors: eager, where the activation is a program of its own, and compiled into one.

    A rehearsal traces the graph and does not compile it.
    """
    compiler = "eager" if dry else "inductor"
    made: dict[str, nn.Module] = {"add, sau, mul": _AddSauMul(), "bias, frelu(C)": _BiasFrelu(channels, dtype)}
    return {
        name: [cases.Case("eager", module, ()), cases.compiled(cases.Case("compiled", module, ()), compiler)]
        for name, module in made.items()
    }
