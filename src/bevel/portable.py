"""What changes under export: a graph that leaves torch must use operators that every runtime has.

ONNX has neither ``erfcx`` nor ``hypot``, and they are there for accuracy that no float32 graph shows: the portable
forms agree to rounding of the result's own size, but lose relative accuracy far out in a tail.
"""

from __future__ import annotations

import torch
from torch import Tensor


def exporting() -> bool:
    """Whether ``torch.export`` or ``torch.onnx.export`` is recording."""
    return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()


def hypot(a: Tensor, b: Tensor) -> Tensor:
    """``√(a² + b²)``; without overflow or underflow in between, except under export (then |a|, |b| < 1e19)."""
    return torch.sqrt(a * a + b * b) if exporting() else torch.hypot(a, b)
