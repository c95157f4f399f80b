"""Backend ``triton``: one pass over memory forward and one backward, on CUDA tensors (on the CPU by the interpreter).

The programs are text, written for each family of functions, kind of layout and precision (``ops/triton``) and compiled
once. The programs read the parameters through pointers, so that nothing waits for the device, and a CUDA graph may
capture a call after one warm-up call.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Hashable, Sequence
from typing import cast

import torch
from torch import Tensor

from bevel.family import Family
from bevel.ops import _analytic
from bevel.ops._inverse import keeps_unseen
from bevel.ops._layout import dense_view
from bevel.ops._memory import no_address
from bevel.ops.triton import kernel_terms
from bevel.ops.triton.launch import interpreted
from bevel.ops.triton.layout import Tuning
from bevel.ops.triton.plan import Plan
from bevel.ops.triton.second_program import why_not as why_not_second
from bevel.terms import is_zero

_MOST = 4096  # number of plans that are kept; a plan holds no device memory of its own
_MAX_KNOTS = 16  # the text repeats itself for every knot
_plans: dict[Hashable, Plan] = {}
_keys: dict[Family, Hashable] = {}
_reasons: dict[Family, str | None] = {}
_tuning = Tuning()


def tune(tuning: Tuning) -> None:
    """Use another tile and grid, for measurements."""
    global _tuning
    _tuning = tuning
    _plans.clear()


def unavailable() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if not interpreted() and not torch.cuda.is_available():
        return "no CUDA device is available (TRITON_INTERPRET=1 runs it on the CPU, slowly)"
    language = sys.modules.get("triton.language")
    if interpreted() and language is not None and type(language.max).__name__ != "InterpretedFunction":
        return "Triton was imported before TRITON_INTERPRET was set; set it when the process starts"
    return None


def refuses(family: Family, x: Tensor, parameters: Sequence[Tensor]) -> str | None:
    if not x.is_cuda and not (interpreted() and x.device.type == "cpu"):
        return f"x is on {x.device}, not on a CUDA device"
    if (reason := family.only_formulas()) is not None:
        return reason
    if family.has_products:
        return "it knows no products of parameters (backend analytic does)"
    if len(family.terms.knots) > _MAX_KNOTS:
        return f"it takes at most {_MAX_KNOTS} knots; got {len(family.terms.knots)}"
    if family not in _reasons:
        if len(_reasons) >= _MOST:
            _reasons.clear()
        _reasons[family] = kernel_terms.why_not(family.kernel, _needs_excess(family), bool(family.terms.curve))
    return _reasons[family] or no_address(x, *parameters)


def _needs_excess(family: Family) -> bool:
    """Whether it smooths ramps or has tails: a gate has neither, for its tail is v·survival."""
    terms = family.terms
    ramps = () if terms.multiplies_cdf else terms.jumps
    return not all(map(is_zero, (*ramps, *terms.c0, *terms.c1, *terms.curve)))


def forward(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    return _elementwise(family, dim, x, parameters, "x")


def inverse(family: Family, dim: int, y: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return x of y, NaN in a channel where the parameters do not tell it; see :func:`keeps_output`."""
    return _elementwise(family, dim, y, parameters, "y")


def _elementwise(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor], source: str) -> Tensor:
    if x.numel() == 0:
        return torch.empty_like(x)
    with _on(x):
        parameters = _dense(parameters)
        x, plan = _planned(family, dim, x, parameters)
        return plan.forward(x, parameters, source)


def backward(
    family: Family, dim: int, g: Tensor, x: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    return _gradients(family, dim, g, x, parameters, needs, "x")


def backward_from_output(
    family: Family, dim: int, g: Tensor, y: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool]
) -> list[Tensor | None]:
    """Return what :func:`backward` does, from y; NaN in a channel where the parameters do not tell x."""
    return _gradients(family, dim, g, y, parameters, needs, "y")


keeps_output = keeps_unseen


def _gradients(
    family: Family, dim: int, g: Tensor, x: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool], source: str
) -> list[Tensor | None]:
    if x.numel() == 0:
        wanted = zip(parameters, needs[1:], strict=True)
        zeros = [torch.zeros_like(p) if need else None for p, need in wanted]
        return [torch.empty_like(x) if needs[0] else None, *zeros]
    with _on(x):
        parameters = _dense(parameters)
        x, plan = _planned(family, dim, x, parameters)
        return plan.backward(cast(Tensor, _as(x, g)), x, parameters, tuple(needs), source)


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
    if x.numel() == 0 or _no_second(family) is not None:
        return _analytic.second(family, dim, g, x, parameters, cotangents, needs, every)
    with _on(x):
        parameters = _dense(parameters)
        x, plan = _planned(family, dim, x, parameters)
        a, *given = cotangents
        g, a = (_as(x, t) for t in (g, a))
        moving = [None if b is None else b.to(p.dtype).contiguous() for b, p in zip(given, parameters, strict=True)]
        return plan.second(g, x, parameters, [a, *moving], tuple(needs), every)


def _as(x: Tensor, t: Tensor | None) -> Tensor | None:
    """Return a tensor of x's shape as x lies in memory, in x's dtype."""
    return t if t is None or (t.stride() == x.stride() and t.dtype == x.dtype) else torch.empty_like(x).copy_(t)


_no_second = functools.lru_cache(maxsize=1024)(why_not_second)


def _dense(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Make parameters contiguous, since programs read them one element after the other."""
    return [p if p.is_contiguous() else p.contiguous() for p in parameters]


class _Here:
    """A context that does nothing; those of the standard library cost more."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


_HERE = _Here()


def _on(x: Tensor) -> _Here | torch.cuda.device_of:
    """Make x's device the current one, to which launches go. Asking first costs a tenth of switching."""
    if x.is_cuda and x.get_device() != torch.cuda.current_device():
        guard: torch.cuda.device_of = torch.cuda.device_of(x)  # type: ignore[no-untyped-call]
        return guard
    return _HERE


def _planned(family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Plan]:
    """Return x, copied only if it has gaps, and the plan for its layout."""
    known = _keys.get(family)
    if known is None:
        known = _known(family)
    place = x.get_device()
    key = (
        known,
        dim,
        x.shape,
        x.stride(),
        x.dtype,
        place,
        x.data_ptr() % 16,
        *[(p.numel(), p.dtype) for p in parameters],
    )
    plan = _plans.get(key)
    if plan is not None:
        return x, plan
    per_channel = tuple(p.numel() > 1 for p in parameters)
    view = dense_view(x.shape, x.stride(), dim, any(per_channel))
    if view is None:
        x = torch.empty_like(x).copy_(x)
        return _planned(family, dim, x, parameters)
    if len(_plans) >= _MOST:
        _plans.clear()
    plan = _plans[key] = Plan(family, known, view, x, per_channel, _tuning)
    return x, plan


def _known(family: Family) -> Hashable:
    """Return a key that families of one function share, since every call of ``bevel.smooth`` makes a new family."""
    terms = family.terms
    if len(_keys) >= _MOST:
        _keys.clear()
    key = (family.kernel, terms.multiplies_cdf, bool(terms.curve), family.log_n, family.n, *terms.flat())
    _keys[family] = key
    return key
