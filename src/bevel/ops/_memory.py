"""Which tensors are dense memory of their own: the one place that decides whether an address may be taken."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel._torch_private import dispatch_mode_active, is_zero_tensor
from bevel.errors import InvalidValue

OWN = frozenset((Tensor, torch.nn.Parameter))
"""Types of tensors without a ``__torch_dispatch__``; a subclass may have no memory of its own."""


def no_address(*tensors: Tensor) -> str | None:
    """Return why a native program may not read or write these tensors by address; None if it may.

    Every backend that takes addresses asks this for all that it reads, in forward and in backward. Where it may not,
    the formulas are right: they are torch operations, which know every kind of tensor and are seen by modes.
    """
    if dispatch_mode_active():
        return "a TorchDispatchMode is active, which would not see what is computed"
    for t in tensors:
        if type(t) not in OWN:
            return f"a {type(t).__name__} is given, whose memory is not its own"
        if t.is_neg():
            return "a lazily negated view is given, whose memory holds the negative"
        try:
            address = t.data_ptr()
        except RuntimeError:  # what vmap and functionalize wrap, sparse, mkldnn
            return "a tensor is given that has no address"
        if not address and t.numel():
            return "a tensor is given that has no memory"
    return None


def in_memory(t: Tensor) -> Tensor:
    """Give zeros that torch keeps without memory what torch's own activations give them: memory.

    ``torch.compile`` gives all that a graph returns memory, and cannot trace the question.
    """
    return t.clone() if not torch.compiler.is_compiling() and is_zero_tensor(t) else t


def check_layout(x: Tensor) -> None:
    """Refuse an input that is not dense: f(0) need not be 0, so that a sparse one would become dense."""
    if x.is_nested:
        out = "x.values() of a jagged one" if x.layout == torch.jagged else "torch.nested.to_padded_tensor(x, 0.0)"
        raise InvalidValue(f"input must be a dense tensor; got a nested one. Use {out}.")
    if x.layout != torch.strided:
        kind = "an mkldnn" if x.is_mkldnn else f"a sparse ({str(x.layout).removeprefix('torch.')})"
        raise InvalidValue(f"input must be a dense tensor; got {kind} one. Use x.to_dense().")
