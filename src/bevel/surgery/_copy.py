"""Copy a model so that the copy computes what the model computes."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bevel._torch_private import submodules


class _Detached(TorchFunctionMode):
    """Deepcopies tensors that autograd made without their past, which torch refuses to copy."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            return func(args[0].detach(), *args[1:])  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def copy_model(model: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Deepcopy a model and restore submodules that a custom ``__setstate__`` replaced.

    A forward may have left tensors in the model: a loss, an attention map, a weight under ``weight_norm``. They are
    copied without their gradient's past.

    torch's TransformerDecoderLayer, when it is copied or unpickled, puts ``F.relu`` over an activation that is a
    module, whatever it is: the copy computes another function.

    Args:
        model: the model.
        memo: copies that are made already, by the id of the original, as for ``copy.deepcopy``.
    """
    with _Detached():
        twin: nn.Module = copy.deepcopy(model, memo)
    for mine, theirs in zip(model.modules(), twin.modules(), strict=True):
        for name in submodules(mine).keys() & (theirs.__dict__.keys() - mine.__dict__.keys()):
            del theirs.__dict__[name]
    return twin
