"""Copy a model so that the copy computes what the model computes."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from bevel._torch_private import submodules


def copy_model(model: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Deepcopy a model and restore submodules that a custom ``__setstate__`` replaced.

    torch's TransformerDecoderLayer, when it is copied or unpickled, puts ``F.relu`` over an activation that is a
    module, whatever it is: the copy computes another function.

    Args:
        model: the model.
        memo: copies that are made already, by the id of the original, as for ``copy.deepcopy``.
    """
    twin: nn.Module = copy.deepcopy(model, memo)
    for mine, theirs in zip(model.modules(), twin.modules(), strict=True):
        for name in submodules(mine).keys() & (theirs.__dict__.keys() - mine.__dict__.keys()):
            del theirs.__dict__[name]
    return twin
