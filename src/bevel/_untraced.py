"""What Python does while ``torch.compile`` traces its caller. Only then is it imported: it brings the compiler."""

from __future__ import annotations

from collections.abc import Callable

import torch


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def call(function: Callable[..., object], *arguments: object) -> bool:
    """Call a function for what it does, with constants."""
    function(*arguments)
    return True
