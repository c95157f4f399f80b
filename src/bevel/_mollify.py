"""A kinked function convolved with an approximate identity, as a value with a proven error bound."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bevel._bound import error_bound, least_sharpness
from bevel._checks import check_positive
from bevel._torch_private import func_transforms_active
from bevel.errors import InvalidValue
from bevel.family import Family, lift
from bevel.kernel import Kernel, as_kernel
from bevel.kinked import PiecewiseLinear, as_function
from bevel.ops import evaluate, needs_autograd, slope
from bevel.portable import lazy
from bevel.terms import Coefficient, Terms, as_number, as_sharpness


def _traced() -> bool:
    """Whether tensors have no values to read: in a compiled graph, or under a transform of torch.func."""
    return torch.compiler.is_compiling() or func_transforms_active()


def _check_values(f: PiecewiseLinear, n: Coefficient) -> None:
    """Refuse tensors with values that numbers may not have. Only tensors on the CPU are read: others would stall."""
    for name, c in (*zip(f.terms.names(), f.terms.flat(), strict=True), ("n", n)):
        if not isinstance(c, Tensor) or c.device.type != "cpu":
            continue
        if not bool(c.isfinite().all()) or (name == "n" and not bool((c > 0).all())):
            rule = "finite and > 0" if name == "n" else "finite"
            raise InvalidValue(f"{name} must be {rule} in every channel; got {c.tolist()}.")


@dataclass(frozen=True, eq=False)
class Mollification:
    """``f * phi_n`` for a kinked ``f`` and ``phi_n(x) = n·phi(n·x)``, as a value; :func:`mollify` makes one.

    Args:
        f: the kinked function.
        kernel: the approximate identity φ.
        n: sharpness; a number, or a 1-D tensor of length one or one per channel along ``dim``.
        dim: channel axis of per-channel coefficients. Default: 1.

    Example:
        >>> import torch, bevel
        >>> f = bevel.mollify("relu", "box", n=2.0)
        >>> f(torch.tensor([0.0])).item(), f.slope(torch.tensor([0.0])).item(), f.curvature(torch.tensor([0.0])).item()
        (0.125, 0.5, 1.0)
        >>> f.max_error
        0.125
    """

    f: PiecewiseLinear
    kernel: Kernel
    n: Coefficient
    dim: int = field(default=1, kw_only=True)
    _value: tuple[Family, list[Tensor]] = field(init=False, repr=False)

    def __post_init__(self) -> None:  # now, since a compiled call that adds an attribute is compiled anew
        object.__setattr__(self, "_value", _lifted(self.f.terms, self.kernel, self.n))

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the smoothed function elementwise, as :func:`bevel.smooth` does: any shape, any of the four dtypes."""
        family, tensors = self._value
        return evaluate(x, family, tensors, dim=self.dim)

    def slope(self, x: Tensor) -> Tensor:
        """Return the derivative in x, elementwise; takes what calling the function takes."""
        if self._slope is None:
            family, tensors = self._value
            return slope(x, family, tensors, dim=self.dim)
        family, tensors = self._slope
        return evaluate(x, family, tensors, dim=self.dim)

    def curvature(self, x: Tensor) -> Tensor:
        """Return the second derivative in x, elementwise; takes what calling the function takes."""
        family, tensors = self._value
        if self._slope is None or not needs_autograd(x, tensors):
            return slope(x, family, tensors, dim=self.dim, order=2)
        family, tensors = self._slope  # whose slope has a native backward
        return slope(x, family, tensors, dim=self.dim)

    @lazy
    def _slope(self) -> tuple[Family, list[Tensor]] | None:
        """The slope as a function of this kind, steps for kinks and kinks for bends; None where f has steps itself."""
        t = self.f.terms
        if self.f.has_steps:
            return None
        none = t.steps
        left_bend, *bends = t.curve or (0.0, *none)
        return _lifted(Terms(left_bend, t.left, t.knots, tuple(bends), t.jumps, none, none), self.kernel, self.n)

    @property
    def max_error(self) -> float:
        """The proven bound on ``|f * phi_n − f|`` over all x: ``w·gap·Σ|jumpᵢ| + ½·Σ|stepᵢ| + ½·variance·w²·max|f″|``.

        Attained at the knot of a function with one kink or one step, and right of one bend. Per-channel coefficients
        give the worst channel's.
        """
        _check_values(self.f, self.n)
        bound = error_bound(self.f.terms, self.kernel, self.n)
        assert bound is not None, "a plain convolution has one"
        return bound


def _lifted(terms: Terms[Coefficient], kernel: Kernel, n: Coefficient) -> tuple[Family, list[Tensor]]:
    """Return a function as the engine takes it: a family, and the tensors among its coefficients as parameters."""
    (sharpness, *slots), tensors = lift((n, *terms.flat()))
    return Family(terms.with_flat(slots), kernel, sharpness), tensors


def mollify(
    f: PiecewiseLinear | str, kernel: str | Kernel = "gaussian", n: Coefficient = 1.0, *, dim: int = 1
) -> Mollification:
    """Convolve ``f`` with the approximate identity ``n·pdf(n·x)``.

    Args:
        f: a kinked function, e.g. ``bevel.kinked.relu()``, or its name.
        kernel: a kernel or its name in ``bevel.KERNELS``. Default: ``gaussian``.
        n: sharpness, finite and > 0 (the smoothing width is 1/n); a 1-D tensor for one per channel along ``dim``.
            Default: 1.
        dim: channel axis of per-channel coefficients. Default: 1.

    Returns:
        The smoothed function, which has ``slope``, ``curvature`` and ``max_error``.

    Raises:
        InvalidValue: for a bad ``n`` or coefficient (also within tensors, if on the CPU), a kernel without a first
            moment where ``f`` has a change of slope, or without a finite variance where it has a bend.
        UnknownName: for a function or kernel that does not exist.

    Example:
        >>> import torch, bevel
        >>> clip = bevel.mollify("hardtanh", "epanechnikov", n=4.0)
        >>> clip(torch.tensor([-2.0, 0.0, 1.0])).tolist()  # at a knot it is off by gap/n = 0.1875/4
        [-1.0, 0.0, 0.953125]
    """
    f, kernel, n = as_function(f), as_kernel(kernel), as_sharpness(n)
    f.terms.check(kernel)
    if not _traced():
        _check_values(f, n)
    return Mollification(f, kernel, n, dim=dim)


def sharpness_for(f: PiecewiseLinear | str, kernel: str | Kernel = "gaussian", tolerance: float = 1e-3) -> float:
    """Return the smallest n at which ``|f * phi_n − f| <= tolerance`` is proven.

    That is ``gap·Σ|jumpᵢ| / tolerance`` for a function of lines; with bends the root of a quadratic.

    Args:
        f: a kinked function without steps, or its name.
        kernel: a kernel or its name in ``bevel.KERNELS``. Default: ``gaussian``.
        tolerance: the largest error allowed, finite and > 0. Default: 1e-3.

    Returns:
        The sharpness.

    Raises:
        InvalidValue: if ``tolerance`` is not a finite number > 0, ``f`` is a straight line, the kernel lacks a moment
            that it needs, or ``f`` has steps: a smoothed step stays half its height away from the step at any n.
        UnknownName: for a function or kernel that does not exist.

    Example:
        >>> import bevel
        >>> n = bevel.sharpness_for("relu", "box", tolerance=0.01)
        >>> n, bevel.mollify("relu", "box", n).max_error
        (25.0, 0.01)
    """
    f, kernel = as_function(f), as_kernel(kernel)
    tolerance = check_positive(as_number(tolerance, "tolerance"), "tolerance")
    f.terms.check(kernel)
    if f.has_steps:
        raise InvalidValue("a function with steps has no n for a uniform tolerance: half of each step always remains.")
    n = least_sharpness(f.terms, kernel, tolerance)
    if not n:
        raise InvalidValue("f is a straight line: any n is exact. There is no smallest sharpness to return.")
    return n
