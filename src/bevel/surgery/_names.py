"""The names of activation functions, and every function or method of torch that computes one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F

from bevel._torch_private import hidden_functions

UNITS = (
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
    "rrelu",
    "elu",
    "celu",
    "selu",
    "gelu",
    "quick_gelu",
    "silu",
    "mish",
    "hardswish",
    "threshold",
    "relu_squared",
)
"""Functions that separate layers. A swap replaces them unless ``what=`` says otherwise."""

LEFT_ALONE = (
    "softplus",
    "sigmoid",
    "tanh",
    "hardsigmoid",
    "hardtanh",
    "logsigmoid",
    "softsign",
    "softmax",
    "log_softmax",
    "hardshrink",
    "softshrink",
    "tanhshrink",
)
"""Functions whose range matters: gates, read-outs, shrinkages, and softplus, which makes numbers positive (Mamba's time
steps, variances). ``find`` lists them; a swap replaces them only if ``what=`` names them."""

_ALIASES = {"expit": "sigmoid", "softmax": "softmax", "log_softmax": "log_softmax"}
"""What ``torch.special`` calls functions that have another name elsewhere."""

Kind = Literal["module", "function", "method"]


@dataclass(frozen=True)
class Spelling:
    """One callable of torch.

    Attributes:
        name: the activation function that it computes, e.g. ``relu``.
        kind: how a model calls it.
        written: how a person writes it, e.g. ``F.relu_``.
    """

    name: str
    kind: Kind
    written: str


def _spellings() -> dict[Callable[..., Any], Spelling]:
    found: dict[Callable[..., Any], Spelling] = {}
    for name in (*UNITS, *LEFT_ALONE):
        for suffix in ("", "_"):
            for holder, written in (
                (F, "F"),
                (torch, "torch"),
                (torch.Tensor, "Tensor"),
                (hidden_functions(), "torch._C._nn"),
            ):
                function = getattr(holder, name + suffix, None)
                if function is not None:
                    kind: Kind = "method" if holder is torch.Tensor else "function"
                    found.setdefault(function, Spelling(name, kind, f"{written}.{name}{suffix}"))
    for alias, name in _ALIASES.items():
        found.setdefault(getattr(torch.special, alias), Spelling(name, "function", f"torch.special.{alias}"))
    return found


SPELLINGS = _spellings()


def spelled(names: Iterable[str]) -> dict[Callable[..., Any], str]:
    """Map every callable of torch that computes one of the named functions to that function's name."""
    wanted = set(names)
    return {function: s.name for function, s in SPELLINGS.items() if s.name in wanted}
