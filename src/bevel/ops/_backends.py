"""Which backends exist, which can be used here, and which one ``auto`` takes.

A backend is a module of this folder; :class:`Backend` says what it has. ``reference`` is none of them: it is the
composed formulas under autograd, without a backward of its own.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from bevel._torch_private import func_transforms_active, jit_tracing
from bevel.errors import BackendUnavailable, UnknownName, did_you_mean
from bevel.family import Family

_MODULES = {
    "analytic": "bevel.ops._analytic",
    "operator": "bevel.ops._operator",
    "cpu": "bevel.ops._cpu",
    "triton": "bevel.ops.triton.backend",
}
NAMES = ("reference", *_MODULES)
AUTO = {"cuda": ("triton", "analytic")}  # what "auto" tries, in order, by kind of device
AUTO_ELSEWHERE = ("operator", "cpu", "analytic")


_preferred = contextvars.ContextVar("bevel_backend", default="auto")
preferred = _preferred.get


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    """Within the block, calls with ``backend="auto"`` (every module's) take this backend, or fail if it cannot."""
    if name not in ("auto", "reference"):
        load(name)
    token = _preferred.set(name)
    try:
        yield
    finally:
        _preferred.reset(token)


class Backend(Protocol):
    """What a backend module has. ``x`` is checked, and ``parameters`` are 1-D, of length one or ``x.shape[dim]``."""

    def unavailable(self) -> str | None:
        """Return the reason why it cannot be used on this machine, else None."""

    def refuses(self, family: Family, x: Tensor, parameters: Sequence[Tensor]) -> str | None:
        """Return the reason why it cannot take this input and these parameters, else None."""

    def forward(self, family: Family, dim: int, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Return the function at x, in x's shape and dtype and, where x is dense, with its strides."""

    def backward(
        self, family: Family, dim: int, g: Tensor, x: Tensor, parameters: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor | None]:
        """Return the gradients of (x, *parameters), None where ``needs`` is False."""

    def second(
        self,
        family: Family,
        dim: int,
        g: Tensor | None,
        x: Tensor,
        parameters: Sequence[Tensor],
        cotangents: Sequence[Tensor | None],
        needs: Sequence[bool],
        every: float = 0.0,
    ) -> list[Tensor | None]:
        """Differentiate what :meth:`backward` returns, of which ``cotangents`` has one each, None for zeros.

        Return the gradients of (g, x, *parameters), None where ``needs`` is False. A ``g`` that is None is 1 and a
        first cotangent that is None is ``every``, in each element: with 1, the first two results are the slope and the
        second derivative. The first result is also the derivative of the function along the cotangents.
        """


@functools.cache
def load(name: str) -> Backend:
    """Import a backend on first use, or raise ``BackendUnavailable`` with the reason."""
    if name not in NAMES or name == "reference":
        raise UnknownName(f"unknown backend {name!r}; {did_you_mean(name, ('auto', *NAMES))}")
    module = cast(Backend, importlib.import_module(_MODULES[name]))
    reason = module.unavailable()
    if reason is not None:
        raise BackendUnavailable(f"backend {name!r} cannot be used here: {reason}")
    return module


def backends() -> dict[str, str | None]:
    """Say of every backend whether it can be used on this machine.

    ``operator`` and ``cpu`` are two ways into one native library: where ``operator`` has a reason, ``auto`` takes
    ``cpu``, which calls the library through ctypes. Where the operators have to be built first, this builds them.

    Returns:
        By name, None where it can be used, else the reason why not.

    Example:
        >>> import bevel
        >>> sorted(bevel.backends())
        ['analytic', 'cpu', 'operator', 'reference', 'triton']
        >>> bevel.backends()["reference"] is None
        True
    """
    found: dict[str, str | None] = {"reference": None}
    for name in NAMES[1:]:
        try:
            load(name)
            found[name] = None
        except BackendUnavailable as error:
            found[name] = str(error).split(": ", 1)[1]
    return found


def choose(name: str, family: Family, x: Tensor, parameters: Sequence[Tensor]) -> Backend | None:
    """Return the backend to call, None for the reference. Only ``auto`` falls back; a named one works or says why not.

    A traced call (:func:`needs_composed`) that says ``auto`` does not come here.
    """
    if name == "auto":
        name = preferred()
    if name == "reference":
        return None
    if name != "auto":
        backend = load(name)
        reason = backend.refuses(family, x, parameters)
        if reason is not None:
            raise BackendUnavailable(f"backend {name!r} cannot take this input: {reason}")
        return backend
    for backend in _automatic(x.device.type):
        if backend.refuses(family, x, parameters) is None:
            return backend
    return None


@functools.cache
def _automatic(kind: str) -> tuple[Backend, ...]:
    """Return what ``auto`` tries on this kind of device, in order, of what can be used on this machine."""
    found: list[Backend] = []
    for candidate in AUTO.get(kind, AUTO_ELSEWHERE):
        with contextlib.suppress(BackendUnavailable):
            found.append(load(candidate))
    return tuple(found)


def needs_composed() -> bool:
    """Whether compile, export, jit or torch.func traces the call, so that it must be made of torch operations."""
    return torch.compiler.is_compiling() or jit_tracing() or func_transforms_active()
