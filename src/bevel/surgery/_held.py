"""What holds the activations of a scope's function calls, and what cannot be done with a model that has them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.fx import Tracer

from bevel.errors import BevelError

UNSCRIPTABLE = (
    "torch.jit.script cannot compile a forward in which a swap replaced calls; torch.export.export, torch.compile and "
    "torch.jit.trace can."
)

UNTRACEABLE = (
    "torch.fx cannot trace a swapped model whose own forward calls the functions that were replaced: it would go past "
    "the swap to the old ones. Trace first, then swap; torch.export.export and torch.jit.trace take a swapped model."
)

HOLDER = "bevel_sites"
"""The name under which a scope holds the activations of its function calls."""


class Held(nn.ModuleDict):
    """The activations of a scope's function calls, by key.

    ``torch.fx`` traces the class's forward of the root, past the one that routes the calls, and so would lose them in
    silence. All that it does with the instance is to list its modules.
    """

    routed = False  # whether the scope's forward routes its calls; a graph calls the activations itself

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        prefix = args[1] if len(args) > 1 else kwargs.get("prefix", "")
        if self.routed and prefix == HOLDER and not torch.compiler.is_compiling() and _lists_for_a_trace():
            raise BevelError(UNTRACEABLE)
        listed: Iterator[tuple[str, nn.Module]] = super().named_modules(*args, **kwargs)
        return listed

    def __prepare_scriptable__(self) -> nn.Module:
        raise BevelError(UNSCRIPTABLE)  # the scope's class knows nothing of them: its functions would come back


def _lists_for_a_trace() -> bool:
    """Whether ``torch.fx.Tracer.trace`` lists the modules of its root; the root's own listing stands between."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(3):
        if frame is not None and frame.f_code is not Tracer.trace.__code__:
            frame = frame.f_back
    return frame is not None and frame.f_code is Tracer.trace.__code__
