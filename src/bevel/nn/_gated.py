"""Formulas that are gates of the engine: Swish, ACON-C and SMU run on its passes wherever their sharpness allows."""

from __future__ import annotations

import abc
import functools

import torch
from torch import Tensor

from bevel._torch_private import own_parameter, plainly_eager
from bevel.family import Family, Slot, lift
from bevel.functional import frelu_family
from bevel.kernel import KERNELS
from bevel.nn._base import FormulaActivation
from bevel.ops import check_dtype, evaluate
from bevel.ops._memory import OWN
from bevel.terms import Coefficient

LEAST_SHARPNESS, MOST_SHARPNESS = 1e-6, 1e12
"""Between these a sharpness, its square and their inverses are well within float32."""
_NUDGE = {torch.float32: 1e-15, torch.float64: 1e-60}  # what stands for 0 on a GPU; its inverse has a square


class GatedFormula(FormulaActivation):
    """A formula that is ``x·(b + (a − b)·cdf(s·x))`` for every sign of s, with a, b and s made of the parameters.

    For s > 0 that is a gate with n = s. For s < 0 it is the gate with n = −s whose slopes have changed places, as
    ``cdf(−u) = 1 − cdf(u)``. Eager calls run these; a, b and s, a number or one a channel, are torch operations, and
    autograd goes on through them from the gradients that the pass gives. For s = 0 the function is a line, which no
    kernel's is: on the CPU, where s can be read, the formula stays, as it does for an s that is not between
    :data:`LEAST_SHARPNESS` and :data:`MOST_SHARPNESS`. On a GPU reading would wait for the device: there 0 becomes so
    small an n that the function is that line to rounding up to |x| = 1e8.
    """

    kernel: str

    @staticmethod
    @abc.abstractmethod
    def gate(*parameters: Tensor) -> tuple[Coefficient, Coefficient, Tensor]:
        """Return a, b and s."""

    def forward(self, input: Tensor) -> Tensor:
        eager = plainly_eager() and isinstance(input, Tensor)
        found = self._as_gate(input) if eager and self._has_its_gate() else None
        if found is None:
            return super().forward(input)
        family, values, dim = found
        return evaluate(input, family, values, dim=dim, eager=True)

    def as_family(self, input: Tensor) -> tuple[Family, list[Tensor], int] | None:
        """Return what an eager call may compute in place of ``self(input)``, as :meth:`Activation.as_family` does."""
        own = type(self).forward is not GatedFormula.forward or "forward" in vars(self)
        return None if own or not self._has_its_gate() else self._as_gate(input)

    def _has_its_gate(self) -> bool:
        """Whether the gate is that of the formula: a subclass may have a formula of its own."""
        kinds = type(self).__mro__
        first = next(kind for kind in kinds if "formula" in vars(kind) or "gate" in vars(kind))
        return "gate" in vars(first) and "formula" not in vars(self)

    def _as_gate(self, input: Tensor) -> tuple[Family, list[Tensor], int] | None:
        parameters = [own_parameter(self, name) for name in self.arguments]
        if not OWN.issuperset(map(type, parameters)):
            return None
        check_dtype(input)
        arithmetic = torch.float64 if input.dtype == torch.float64 else torch.float32
        gate = self.gate(*(p.to(arithmetic) for p in parameters))
        s = gate[2]
        if reading_waits(s):
            gate = turned(*gate, nudge=_NUDGE[arithmetic])
        elif not s.is_cpu:
            return None
        elif not is_sharpness(s):
            if not is_sharpness(s.abs()):
                return None
            gate = turned(*gate)
        (a, b, n), values = lift(gate)
        return _family(self.kernel, a, b, n), values, self.dim


def reading_waits(s: Tensor) -> bool:
    """Whether reading the values would wait for a device that has passes of its own."""
    return s.is_cuda


def turned(a: Coefficient, b: Coefficient, s: Tensor, nudge: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slopes and the sharpness with the sign of s gone: where s < 0 the slopes change places.

    ``nudge`` is added to a sharpness below it, and has no derivative.
    """
    down = s < 0
    n = torch.where(down, -s, s)
    if nudge:
        n = torch.where(n < nudge, n + nudge, n)
    return torch.where(down, b, a), torch.where(down, a, b), n


def is_sharpness(s: Tensor) -> bool:
    """Whether every value is between :data:`LEAST_SHARPNESS` and :data:`MOST_SHARPNESS`; a NaN is not."""
    s = s.detach()
    if s.numel() == 1:
        return LEAST_SHARPNESS <= s.item() <= MOST_SHARPNESS
    low, high = torch.aminmax(s)
    return low.item() >= LEAST_SHARPNESS and high.item() <= MOST_SHARPNESS


@functools.cache
def _family(kernel: str, a: Slot, b: Slot, n: Slot) -> Family:
    return frelu_family(a, b, KERNELS[kernel], n, multiplies_cdf=True)
