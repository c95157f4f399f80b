"""A deep copy that computes what the model computes."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from bevel._torch_private import submodules


def faithful(model: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """``copy.deepcopy(model, memo)``, with submodules that the copying hid laid open again.

    torch's TransformerDecoderLayer, when it is copied or unpickled, puts ``F.relu`` over an activation that is a
    module, whatever it is: the copy computes another function.
    """
    twin: nn.Module = copy.deepcopy(model, memo)
    for mine, theirs in zip(model.modules(), twin.modules(), strict=True):
        for name in submodules(mine).keys() & (theirs.__dict__.keys() - mine.__dict__.keys()):
            del theirs.__dict__[name]
    return twin
