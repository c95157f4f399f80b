"""Backend ``cpu``: the native library, called through ctypes, with one pass over memory forward and one backward.

The library (``native/``) knows neither torch nor Python: it gets pointers, sizes and strides. This module describes a
family as the library's ``plan`` and a tensor as its ``layout``. It keeps both, because on small tensors the description
costs more than the computation.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import site
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bevel._tabulated import TabulatedKernel
from bevel.errors import BevelError
from bevel.family import Affine, Family, Slot, constant_of
from bevel.ops._layout import dense_view
from bevel.ops._memory import no_address

ABI = 5
MAX_KNOTS = 8
_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_LIBRARY = "libbevel_native.so"


class _Term(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int32), ("param", ctypes.c_int32), ("factor", ctypes.c_double))


class _Product(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("slot", "first", "second", "reserved")),
        ("factor", ctypes.c_double),
    )


class _Plan(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_int32)
            for name in (
                *("abi", "kernel", "knots", "multiplies_cdf", "log_n", "params", "terms", "panels"),
                *("bends", "products"),
            )
        ),
        ("constant", ctypes.POINTER(ctypes.c_double)),
        ("term", ctypes.POINTER(_Term)),
        ("product", ctypes.POINTER(_Product)),
        ("param_dtype", ctypes.POINTER(ctypes.c_int32)),
        ("param_length", ctypes.POINTER(ctypes.c_int64)),
        ("table", ctypes.c_void_p),
        ("table_single", ctypes.c_void_p),
    )


class _Layout(ctypes.Structure):
    _fields_ = (
        ("dtype", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("outer", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        *((name, ctypes.c_int64 * 3) for name in ("x", "y", "g", "dx")),
    )


# ---------------------------------------------------------------------------------------------------- the library


def candidates() -> list[Path]:
    """Where the library may be: where BEVEL_NATIVE says, beside this file (wheel), in site-packages (editable)."""
    named = os.environ.get("BEVEL_NATIVE")
    if named is not None:
        return [Path(named)]
    roots = [Path(p) / "bevel" / "ops" for p in (*site.getsitepackages(), site.getusersitepackages(), *sys.path) if p]
    return [root / _LIBRARY for root in (Path(__file__).parent, *roots)]


def opened(path: Path) -> ctypes.CDLL | str:
    """Return the library at a path, or why it is of no use."""
    try:
        library = ctypes.CDLL(str(path))
        interface = library.bevel_abi()
    except (OSError, AttributeError) as error:
        return f"the native library does not load: {error}"
    if interface != ABI:
        return f"the native library has interface {interface}, this bevel needs {ABI}; reinstall bevel"
    return library


@functools.cache
def load() -> ctypes.CDLL | str:
    """Return the first library of use, or why there is none; what another version left behind does not hide it."""
    reasons = []
    for path in filter(Path.is_file, candidates()):  # which opens none behind the one that it takes
        found = opened(path)
        if not isinstance(found, str):
            return _declared(found)
        reasons.append(found)
    if reasons:
        return reasons[0]
    return (
        "the native library was not built at installation (it needs a C++17 compiler and CMake; "
        "reinstall bevel with both to get it)"
    )


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """Give the functions their types."""
    for function in (library.bevel_isa, library.bevel_openmp, library.bevel_message):
        function.restype = ctypes.c_char_p
    pointer = ctypes.c_void_p
    library.bevel_table_single.argtypes = (pointer, ctypes.c_int32, pointer)
    library.bevel_forward.argtypes = (pointer, pointer, ctypes.c_int32, pointer, pointer, pointer)
    library.bevel_backward.argtypes = (*library.bevel_forward.argtypes, pointer, pointer)
    library.bevel_second.argtypes = (
        *library.bevel_forward.argtypes[:4],
        *(pointer,) * 4,
        ctypes.c_double,
        *(pointer,) * 3,
    )
    return library


def library() -> ctypes.CDLL:
    """Return the library, where there is one."""
    found = load()
    assert not isinstance(found, str), found
    return found


def unavailable() -> str | None:
    found = load()
    return found if isinstance(found, str) else None


def describe() -> dict[str, str]:
    """Return the instruction set and the OpenMP runtime in use, for provenance."""
    found = library()
    return {"isa": found.bevel_isa().decode(), "openmp": found.bevel_openmp().decode()}


def refuses(family: Family, x: Tensor, parameters: Sequence[Tensor]) -> str | None:
    if not x.is_cpu:
        return f"x is on {x.device}, not on the CPU"
    return no_code_for(family) or no_address(x, *parameters)


def no_code_for(family: Family) -> str | None:
    """Return why the library cannot compute the family, whatever the input; None if it can."""
    if (reason := family.only_formulas()) is not None:
        return reason
    if family.terms.curve and family.kernel.variance in (None, math.inf):
        return f"kernel {family.kernel.name!r} smooths no bends"
    if family.kernel.native < 0:
        return f"kernel {family.kernel.name!r} has no native code"
    if len(family.terms.knots) > MAX_KNOTS:
        return f"it takes at most {MAX_KNOTS} knots; got {len(family.terms.knots)}"
    return None


# ------------------------------------------------------------------------------------------------- plan and layout


def slots(family: Family) -> list[Slot]:
    """Return the coefficients as the library numbers them: those of bends come behind n."""
    *flat, n = family.slots()
    first = len(flat) - len(family.terms.curve)
    return [*flat[:first], n, *flat[first:]]


def moves(slots: Sequence[Slot]) -> tuple[list[tuple[int, int, float]], list[tuple[int, int, int, int, float]]]:
    """Return the terms of all slots, (slot, parameter, factor), and the products, (slot, first, second, 0, factor)."""
    own = [(i, s) for i, s in enumerate(slots) if isinstance(s, Affine)]
    terms = [(i, j, w) for i, s in own for j, w in s.weights]
    return terms, [(i, first, second, 0, w) for i, s in own for (first, second), w in s.products]


def table(kernel: TabulatedKernel) -> Tensor:
    """Return the kernel's four forms as the library reads them."""
    return torch.cat((kernel.table.flatten(), kernel.second_table.flatten()))


@functools.lru_cache(maxsize=1024)
def _plan(family: Family, lengths: tuple[int, ...], dtypes: tuple[torch.dtype, ...]) -> tuple[ctypes.c_void_p, object]:
    """Return a pointer to the family's plan, and the objects that must live as long as it."""
    terms, numbered = family.terms, slots(family)
    constants = [constant_of(s) for s in numbered]
    weights, pairs = moves(numbered)
    constant = (ctypes.c_double * len(numbered))(*constants)
    term = (_Term * len(weights))(*(_Term(*w) for w in weights))
    product = (_Product * len(pairs))(*(_Product(*p) for p in pairs))
    dtype = (ctypes.c_int32 * len(dtypes))(*(_DTYPES[d] for d in dtypes))
    length = (ctypes.c_int64 * len(lengths))(*lengths)
    plan = _Plan(
        *(ABI, family.kernel.native, len(terms.knots), terms.multiplies_cdf, family.log_n, len(lengths)),
        *(len(weights), 0, bool(terms.curve), len(pairs)),
    )
    plan.constant, plan.term, plan.product, plan.param_dtype, plan.param_length = constant, term, product, dtype, length
    kept: list[object] = [plan, constant, term, product, dtype, length]
    if isinstance(family.kernel, TabulatedKernel):
        forms = table(family.kernel)
        single = torch.empty(library().bevel_table_floats(), dtype=torch.float32)
        plan.panels, plan.table = family.kernel.table.shape[1], forms.data_ptr()
        if library().bevel_table_single(plan.table, plan.panels, single.data_ptr()):
            plan.table_single = single.data_ptr()
        kept += [forms, single]
    return ctypes.c_void_p(ctypes.addressof(plan)), kept


@functools.lru_cache(maxsize=4096)
def _layout(
    shape: tuple[int, ...], stride: tuple[int, ...], dim: int, channels: int, dtype: torch.dtype
) -> tuple[ctypes.c_void_p, object] | None:
    """Describe a dense tensor to the library; None if it is not dense."""
    view = dense_view(shape, stride, dim, channels > 1)
    if view is None:
        return None
    outer, _, inner = view
    strides = (ctypes.c_int64 * 3)(channels * inner, inner, 1)
    layout = _Layout(_DTYPES[dtype], 0, outer, channels, inner, strides, strides, strides, strides)
    return ctypes.c_void_p(ctypes.addressof(layout)), layout


def _described(x: Tensor, dim: int, channels: int) -> tuple[Tensor, ctypes.c_void_p]:
    """Return x, copied only if it is not dense, and its layout."""
    found = _layout(x.shape, x.stride(), dim, channels, x.dtype)
    if found is None:
        x = torch.empty_like(x).copy_(x)
        found = _layout(x.shape, x.stride(), dim, channels, x.dtype)
        assert found is not None
    return x, found[0]


_POINTERS = tuple(struct.Struct(f"{count}P").pack for count in range(4 + 6 * MAX_KNOTS + 1))  # by number of parameters


def _addresses(tensors: Sequence[Tensor | None]) -> bytes:
    """Return their data pointers as C reads an array, null for None. A ctypes array would take three times as long."""
    return _POINTERS[len(tensors)](*[0 if t is None else t.data_ptr() for t in tensors])


def _as_read(parameter: Tensor) -> Tensor:
    """Return the parameter as the library reads it: contiguous, float32 or float64."""
    return (parameter if parameter.dtype in (torch.float32, torch.float64) else parameter.float()).contiguous()


def _parameters(family: Family, parameters: Sequence[Tensor]) -> tuple[ctypes.c_void_p, bytes, int, list[Tensor]]:
    """Return the family's plan, the parameters' addresses, the number of channels, and the parameters to keep alive."""
    own = [_as_read(p) for p in parameters]
    lengths = tuple([p.numel() for p in own])
    plan, _ = _plan(family, lengths, tuple([p.dtype for p in own]))
    return plan, _addresses(own), max(lengths, default=1), own


def _check(status: int) -> None:
    if status:
        raise BevelError(f"native library: {library().bevel_message(status).decode()}")


# -------------------------------------------------------------------------------------------------------- the calls


def forward(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    plan, pointers, channels, _own = _parameters(family, parameters)
    x, layout = _described(x, dim, channels)
    y = torch.empty_like(x)
    _check(library().bevel_forward(plan, layout, torch.get_num_threads(), pointers, x.data_ptr(), y.data_ptr()))
    return y


def backward(
    family: Family, dim: int, g: Tensor, x: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    plan, pointers, channels, own = _parameters(family, parameters)
    x, layout = _described(x, dim, channels)
    if g.stride() != x.stride():
        g = torch.empty_like(x).copy_(g)
    dx = torch.empty_like(x) if needs[0] else None
    grads = [torch.empty_like(p) if need else None for p, need in zip(own, needs[1:], strict=True)]
    status = library().bevel_backward(
        plan,
        layout,
        torch.get_num_threads(),
        pointers,
        x.data_ptr(),
        g.data_ptr(),
        None if dx is None else dx.data_ptr(),
        _addresses(grads),
    )
    _check(status)
    cast = [None if d is None else d.to(p.dtype) for d, p in zip(grads, parameters, strict=True)]
    return [dx, *cast]


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
    plan, pointers, channels, own = _parameters(family, parameters)
    x, layout = _described(x, dim, channels)
    along, *given = cotangents
    g, along = (t if t is None or t.stride() == x.stride() else torch.empty_like(x).copy_(t) for t in (g, along))
    moving = [None if b is None else b.to(p.dtype).contiguous() for b, p in zip(given, own, strict=True)]
    found = [torch.empty_like(x) if need else None for need in needs[:2]]
    grads = [torch.empty_like(p) if need else None for p, need in zip(own, needs[2:], strict=True)]
    address = [None if t is None else t.data_ptr() for t in (x, g, along, *found)]
    status = library().bevel_second(
        plan,
        layout,
        torch.get_num_threads(),
        pointers,
        _addresses(moving),
        *address[:3],
        every,
        *address[3:],
        _addresses(grads),
    )
    _check(status)
    return [*found, *(None if d is None else d.to(p.dtype) for d, p in zip(grads, parameters, strict=True))]
