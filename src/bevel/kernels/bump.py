"""The bump: the C^∞ mollifier with compact support of the textbooks. It has no closed integrals, so it is tabulated."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel.tabulated import TabulatedKernel


def _bump(u: Tensor) -> Tensor:
    inside = u.abs() < 1
    return torch.where(inside, torch.exp(-1 / torch.where(inside, 1 - u * u, torch.ones_like(u))), torch.zeros_like(u))


ENTRIES = {"bump": TabulatedKernel(_bump, name="bump", formula="C·exp(-1/(1-u²)) on (-1, 1)")}
