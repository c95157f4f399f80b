"""What an activation saved for backward, and the sentence for a tensor that was changed since."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor

from bevel.errors import BevelError


def saved(ctx: Any, of_output: bool = False) -> tuple[Tensor, ...]:
    """What an activation saved for backward: its input or output, then its parameters.

    Raises:
        BevelError: if one of them was changed in place since.
    """
    try:
        tensors: tuple[Tensor, ...] = ctx.saved_tensors
    except RuntimeError as error:
        explain(error, of_output)
    return tensors


def explain(error: RuntimeError, of_output: bool = False, untold: bool = False) -> NoReturn:
    """Raise an error of ``ctx.saved_tensors`` again, in words that help where a tensor was changed in place.

    Args:
        error: what torch raised.
        of_output: whether the output was kept.
        untold: whether the input was kept because the output does not tell it.
    """
    if "inplace operation" not in str(error):
        raise error
    if of_output:
        raise BevelError(
            "an activation kept its output for backward, as ReLU does, and the output or a parameter was changed in "
            "place since. Write h = h + 1 for h += 1 behind the activation, or let it keep its input: "
            "module.save = 'input', swap(..., save='input')."
        ) from error
    why = ", since its output does not tell it where a slope is zero (or falls, of a smooth one)" if untold else ""
    raise BevelError(
        f"an activation kept its input for backward{why}, and the input or a parameter was changed in place since. "
        "Write h = h + 1 for h += 1 behind the activation, or change the input before it, or give it "
        "a copy: act(h.clone())."
    ) from error
