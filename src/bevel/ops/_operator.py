"""Backend ``operator``: the native library, called through operators on torch's stable ABI (``native/torch/``).

They compute what backend ``cpu`` computes, bit for bit; what is saved is the Python around the call, which on small
tensors costs more than the pass. An operator takes tensors and allocates its results itself. A family goes to it as a
tensor of bytes, packed once and kept with the family.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bevel._tabulated import TabulatedKernel
from bevel._torch_private import operator_function
from bevel.errors import BevelError
from bevel.family import Affine, Family, constant_of
from bevel.ops import _cpu

refuses = _cpu.refuses


class Prepared(NamedTuple):
    """What a call needs: the packed family, and the operators."""

    packed: Tensor
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    forward_sharp: Callable[..., Any]
    backward_sharp: Callable[..., Any]
    forward_smooth: Callable[..., Any]
    backward_smooth: Callable[..., Any]
    inverse: Callable[..., Any]
    second: Callable[..., Any]
    pair_forward: Callable[..., Any]
    pair_backward: Callable[..., Any]


# ----------------------------------------------------------------------------------------------------- the operators


@functools.cache
def load() -> tuple[Callable[..., Any], ...] | str:
    """Return the operators in the order of :class:`Prepared`, or the reason why there are none."""
    if (reason := _cpu.unavailable()) is not None:
        return reason
    from bevel.ops import _operator_build  # only here, because most processes never build anything

    native = _cpu.library()
    try:
        path = _operator_build.find(Path(native._name).parent)
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
        bound = ctypes.CDLL(str(path)).bevel_operator_bind(
            *(
                ctypes.cast(f, ctypes.c_void_p)
                for f in (
                    *(native.bevel_forward, native.bevel_backward, native.bevel_message),
                    *(native.bevel_output_tells, native.bevel_inverse, native.bevel_backward_from_output),
                    *(native.bevel_second, native.bevel_pair_forward, native.bevel_pair_backward),
                )
            )
        )
        if bound != _cpu.ABI:
            return f"the operator has interface {bound}, this bevel needs {_cpu.ABI}; reinstall bevel"
        return tuple(operator_function("bevel_operator", name) for name in list(Prepared.__annotations__)[1:])
    except _operator_build.NoOperator as error:
        return f"{error}; backend cpu calls the library through ctypes"
    except (OSError, AttributeError, RuntimeError) as error:
        return f"the operator does not load: {error}; backend cpu calls the library through ctypes"


def unavailable() -> str | None:
    found = load()
    return found if isinstance(found, str) else None


# ------------------------------------------------------------------------------------------------------ packed family


@functools.lru_cache(maxsize=256)  # where a kernel is tabulated, each holds a copy of its table
def prepared(family: Family) -> Prepared | None:
    """Return what a call of the family needs, None where there are no operators or no native code for it."""
    found = load()
    if isinstance(found, str) or _cpu.no_code_for(family) is not None:
        return None
    packed = torch.frombuffer(bytearray(_pack(family)), dtype=torch.uint8).clone()
    return Prepared(packed, *found)


def _pack(family: Family) -> bytes:
    """Return the family as operator.cpp unpacks it: the numbers that ``bevel_plan`` begins with, then its arrays."""
    terms, slots = family.terms, _cpu.slots(family)
    weights, pairs = _cpu.moves(slots)
    count = 1 + max((j for s in slots if isinstance(s, Affine) for j in s.indices()), default=-1)
    panels, tables = 0, b""
    if isinstance(family.kernel, TabulatedKernel):
        panels, tables = family.kernel.table.shape[1], packed_tables(family.kernel)
    knots = len(terms.knots)
    shape = (_cpu.ABI, family.kernel.native, knots, terms.multiplies_cdf, family.log_n, count, len(weights), panels)
    constants = struct.pack(f"{len(slots)}d", *(constant_of(s) for s in slots))
    return (
        struct.pack("10i", *shape, bool(terms.curve), len(pairs))
        + constants
        + b"".join(struct.pack("iid", *w) for w in weights)
        + b"".join(struct.pack("4id", *p) for p in pairs)
        + tables
    )


@functools.lru_cache(maxsize=16)  # a schedule of n makes a family for each step, all with one kernel
def packed_tables(kernel: TabulatedKernel) -> bytes:
    """Return the kernel's table, and the float one where that is accurate enough."""
    table = _cpu.table(kernel)
    single = torch.empty(_cpu.library().bevel_table_floats(), dtype=torch.float32)
    usable = _cpu.library().bevel_table_single(table.data_ptr(), kernel.table.shape[1], single.data_ptr())
    return bytes(table.numpy().data) + (bytes(single.numpy().data) if usable else b"")


# ---------------------------------------------------------------------------------------------------------- the calls


def _asked_for(family: Family) -> Prepared:
    found = prepared(family)
    assert found is not None
    return found


def forward(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    packed, run, *_ = _asked_for(family)
    y: Tensor | None = run((x, *parameters), packed, dim)
    if y is None:
        raise BevelError("the operator refuses what has passed the checks of bevel.smooth; please report this.")
    return y


def backward(
    family: Family, dim: int, g: Tensor, x: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    packed, _, run, *_ = _asked_for(family)
    found: list[Tensor | None] = run(g, (x, *parameters), packed, dim, mask(needs))
    return found


def backward_from_output(
    family: Family, dim: int, g: Tensor, y: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """Return what :func:`backward` does, from y, of a smooth family whose y tells x."""
    ready = _asked_for(family)
    found: list[Tensor | None] = ready.backward_smooth(g, y, None, list(parameters), ready.packed, dim, mask(needs))
    return found


def inverse(family: Family, dim: int, y: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return x from y; the operator must have said that y tells x."""
    x: Tensor = _asked_for(family).inverse((y, *parameters), _asked_for(family).packed, dim)
    return x


def second(
    family: Family,
    dim: int,
    g: Tensor | None,
    x: Tensor,
    parameters: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    needs: Sequence[bool],
    every: float = 0.0,
) -> list[Tensor | None]:
    ready = _asked_for(family)
    a, *given = cotangents
    moving: list[Tensor] = []
    if any(b is not None for b in given):
        moving = [torch.zeros_like(p) if b is None else b for b, p in zip(given, parameters, strict=True)]
    found: list[Tensor | None] = ready.second(g, (x, *parameters), a, moving, ready.packed, dim, mask(needs), every)
    return found


def mask(needs: Sequence[bool]) -> int:
    """Return the bits of ``needs``, the first the lowest."""
    return sum(need << i for i, need in enumerate(needs))
