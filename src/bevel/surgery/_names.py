"""Activation functions as torch spells them: every function and method object, and the one name it goes by."""

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
    "softplus",
    "hardswish",
    "threshold",
)
"""What a network's layers are separated by: swapped unless ``what`` says otherwise."""

GATES = (
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
"""What scales, selects, reads out or shrinks: listed by ``find``, left alone unless ``what`` names them."""

_ALIASES = {"expit": "sigmoid", "softmax": "softmax", "log_softmax": "log_softmax"}
"""Names of ``torch.special`` for functions that have another elsewhere."""

Kind = Literal["module", "function", "method"]


@dataclass(frozen=True)
class Spelling:
    """One callable of torch: the function it computes, how it is called, and how a person writes it."""

    name: str
    kind: Kind
    written: str


def _spellings() -> dict[Callable[..., Any], Spelling]:
    found: dict[Callable[..., Any], Spelling] = {}
    for name in (*UNITS, *GATES):
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
    """The function objects that compute the named functions, each with the name."""
    wanted = set(names)
    return {function: s.name for function, s in SPELLINGS.items() if s.name in wanted}
