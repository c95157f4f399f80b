"""What ``make bench-gpu`` times: the cases of the CPU's benchmark as calls on a GPU, and the Triton programs alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

import bevel
from bevel.ops.triton import backend
from bevel_lab.bench import cases
from bevel_lab.bench.gpu.timing import Call

LAYOUTS = {"nchw": 1, "channels_last": 1, "btc": -1}  # layout → axis of the channels


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


def passes(x: list[Tensor], g: list[Tensor], what: str) -> dict[str, Call]:
    """A copy and the backend's programs, ``forward`` or ``backward`` with all parameter gradients, without autograd."""
    y = [torch.empty_like(t) for t in x]
    made: dict[str, Call] = {"copy": lambda i: y[i].copy_(x[i])}
    if what == "forward":
        made["relu"] = lambda i: torch.relu(x[i])
    for case in [*cases.bevels_own(x[0].shape[1], 1), cases.Case("frelu", bevel.FReLU(), ())]:
        module: Any = case.to(x[0].device).call
        family, own = module.family, [p.detach() for p in module.values()]
        needs = (True,) * (1 + len(own))

        def forward(i: int, family: Any = family, own: Any = own) -> object:
            return backend.forward(family, 1, x[i], own)

        def backward(i: int, family: Any = family, own: Any = own, needs: Any = needs) -> object:
            return backend.backward(family, 1, g[i], x[i], own, needs)

        made[case.name] = forward if what == "forward" else backward
    return made


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
