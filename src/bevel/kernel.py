"""Approximate identities: what a kernel is.

A kernel is an even density of unit mass on its standard variable ``u``. Everything the engine needs of it are
three closed forms on the half line ``v = |u| >= 0``, and a fourth for functions made of parabolas::

    density(v)  = pdf(v)
    survival(v) = ∫_v^∞ pdf(s) ds               = cdf(-v)
    excess(v)   = ∫_v^∞ (s - v) pdf(s) ds       = ramp(-v)
    second(v)   = ∫_v^∞ ½(s - v)² pdf(s) ds

All are positive and decay, so that nothing is formed as a difference of large numbers: the textbook's
``ramp(u) = u·cdf(u) + tail(u)`` loses digits for u far below zero, and ``max(u, 0) + excess(|u|)`` loses none.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from bevel.catalog import Catalog


def derivative(of: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Return the derivative of an elementwise function, itself differentiable if ``at`` requires a gradient."""
    again = at.requires_grad and torch.is_grad_enabled()
    with torch.enable_grad():
        point = at if again else at.detach().requires_grad_()
        value = of(point)
        if not value.requires_grad:  # the function is piecewise constant, as the density of the box is
            return torch.zeros_like(at)
        (slope,) = torch.autograd.grad(value.sum(), point, create_graph=again)
    return slope


class Kernel(abc.ABC):
    """An approximate identity in standard form; a sharpness n scales it as ``n·pdf(n·x)``.

    Subclasses give :meth:`density`, :meth:`survival` and :meth:`excess` for ``v >= 0`` as differentiable
    elementwise torch operations that keep shape and dtype (float32 or float64). One that also gives :meth:`second` and
    :attr:`variance` smooths bends, i.e. changes of the second derivative. From them follow, for every real u::

        pdf(u) = density(|u|)                   cdf(u)  = survival(|u|) for u ≤ 0, else 1 − survival(u)
        ramp(u) = max(u, 0) + excess(|u|)       tail(u) = excess(|u|) + |u|·survival(|u|)

    Attributes:
        name: its name in ``bevel.KERNELS``.
        formula: the density as a person would write it.
        latex: the same as TeX, for its page, or "".
        use, avoid: what it is for, and what it is not for, in a sentence each, or "".
        reach: from ``v >= reach`` on, all three forms are zero (compact kernels: 1; others: where float64
            underflows; ``inf`` when it never does). The engine clamps ``v`` to it.
        compact: whether the kernel vanishes outside ``[-1, 1]``.
        has_moment: whether the first absolute moment is finite; without one a ramp cannot be smoothed.
        variance: ``∫ u² pdf(u) du``; ``inf`` where it has none, and None where the kernel has no :meth:`second`.
            Without a finite one a bend cannot be smoothed.
        relu_name: the established name of ReLU convolved with this kernel, or "".
        relu_rows: rows of ``bevel.ACTIVATIONS`` that are ReLU, or a Leaky ReLU, convolved with this kernel alone.
        native: its number in ``native/include/bevel_native.h``, or -1 where there is no native code.
        triton: its forms as Triton statements (see ``bevel.ops.triton``), or "" where there are none. Without
            ``second`` among them the backend smooths no bends by it.

    Example:
        A kernel of one's own, checked by its laws:

        >>> import bevel
        >>> from bevel.testing import check_kernel
        >>> class Linear(bevel.Kernel):
        ...     name, formula, reach, compact = "linear", "1 - |u| on (-1, 1)", 1.0, True
        ...     def density(self, v):
        ...         return 1 - v
        ...     def survival(self, v):
        ...         return (1 - v) ** 2 / 2
        ...     def excess(self, v):
        ...         return (1 - v) ** 3 / 6
        >>> "excess against quadrature" in check_kernel(Linear())
        True
        >>> round(Linear().gap, 4)
        0.1667

    Source: docs/engine.md says why the forms are those of the half line.
    """

    name: str = ""
    formula: str = ""
    latex: str = ""
    use: str = ""
    avoid: str = ""
    reach: float = math.inf
    compact: bool = False
    has_moment: bool = True
    variance: float | None = None
    relu_name: str = ""
    relu_rows: tuple[str, ...] = ()
    native: int = -1
    triton: str = ""

    @abc.abstractmethod
    def density(self, v: Tensor) -> Tensor:
        """Return the density at ``v >= 0``; it is zero at ``v = reach``."""

    @abc.abstractmethod
    def survival(self, v: Tensor) -> Tensor:
        """Return the mass beyond ``v >= 0``; it falls from 1/2 at 0 to 0."""

    @abc.abstractmethod
    def excess(self, v: Tensor) -> Tensor:
        """Return the integral of :meth:`survival` beyond ``v >= 0``; it falls from :attr:`gap` at 0 to 0."""

    def second(self, v: Tensor) -> Tensor:
        """Return the integral of :meth:`excess` beyond ``v >= 0``; it falls from a quarter of the variance to 0."""
        raise NotImplementedError(f"kernel {self.name!r} has no second tail integral")

    def moment(self, v: Tensor) -> Tensor:
        """Return ``∫_v^∞ s pdf(s) ds`` for ``v >= 0``; subclasses override it where a shorter closed form exists."""
        return self.excess(v) + v * self.survival(v)

    @final
    def _half(self, u: Tensor) -> Tensor:
        v = torch.where(u > 0, u, -u)
        return v.clamp(max=min(self.reach, torch.finfo(u.dtype).max))

    @final
    def pdf(self, u: Tensor) -> Tensor:
        """Return the density at any real ``u``."""
        return self.density(self._half(u))

    @final
    def pdf_slope(self, u: Tensor) -> Tensor:
        """Return the derivative of :meth:`pdf` at any real ``u``; at a kink of the density it is one-sided."""
        v = self._half(u)
        slope = derivative(self.density, v)
        return torch.where(u.abs() < self.reach, torch.where(u > 0, slope, -slope), torch.zeros_like(u))

    @final
    def cdf(self, u: Tensor) -> Tensor:
        """Return the distribution function at any real ``u``, with relative accuracy in the lower tail."""
        s = self.survival(self._half(u))
        return torch.where(u > 0, 1 - s, s)

    @final
    def tail(self, u: Tensor) -> Tensor:
        """Return the tail moment ``-∫_{-∞}^u s pdf(s) ds``, which is even and positive."""
        return self.moment(self._half(u))

    @final
    def ramp(self, u: Tensor) -> Tensor:
        """Return ReLU convolved with the kernel, ``u·cdf(u) + tail(u)``, without that formula's cancellation."""
        return torch.where(u > 0, u, torch.zeros_like(u)) + self.excess(self._half(u))

    @property
    def gap(self) -> float:
        """``tail(0)``: the largest distance between ReLU and ReLU * kernel at width 1, reached at the kink."""
        return float(self.excess(torch.zeros((), dtype=torch.float64, device="cpu")))

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Copy and pickle a kernel of the catalog by its name, so that it stays the one object."""
        if self is SHARP or KERNELS.get(self.name) is self:
            return _by_name, (self.name,)
        return super().__reduce__()


class Sharp(Kernel):
    """The limit n → ∞, a unit point mass: smoothing with it changes nothing. It is in no catalog: it has no density."""

    name = "sharp"
    formula = "δ(u)"
    native = 0
    reach = 0.0
    compact = True
    variance = 0.0

    def density(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def survival(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def excess(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def second(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)


SHARP = Sharp()

KERNELS: Catalog[Kernel] = Catalog("bevel.kernels", "kernel", reserved=(SHARP.name,))


def _by_name(name: str) -> Kernel:
    return SHARP if name == SHARP.name else KERNELS[name]


def as_kernel(kernel: str | Kernel) -> Kernel:
    """Return a kernel from its name, or itself."""
    return kernel if isinstance(kernel, Kernel) else KERNELS[kernel]
