"""``slope``: the derivatives of a function in x, by the backends that compute the function."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevel.family import Family
from bevel.ops._backends import choose, needs_composed
from bevel.ops._evaluate import admit, needs_autograd


def slope(x: Tensor, family: Family, parameters: Sequence[Tensor], *, dim: int = 1, order: int = 1) -> Tensor:
    """Return the derivative in x of the function that :func:`bevel.ops.evaluate` applies; takes what that takes.

    Args:
        order: 1, or 2 for the second derivative of a convolution.
    """
    axis = admit(x, parameters, dim)
    if order == 1 and not needs_composed() and not needs_autograd(x, parameters):
        backend = choose("auto", family, x, parameters)
        if backend is not None:
            needs = (True, *(False for _ in parameters))
            (found, *_) = backend.backward(family, axis, torch.ones_like(x), x, parameters, needs)
            assert found is not None
            return found
    at = family.formulas(x, parameters, axis)
    return (at.slope() if order == 1 else at.curvature()).to(x.dtype)
