"""The Padé activation unit, in its safe form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevel.nn._base import Device, Entry, FormulaActivation

# Least-squares fit of P5/(1+|Q4|) to Leaky ReLU(0.01) on [-3, 3]; largest error 0.034, at the kink.
_NUMERATOR = (0.033572103, 0.50500864, 1.6527177, 2.0081814, 0.93060653, 0.15213793)
_DENOMINATOR = (0.0, 3.9764807, 0.0, 0.301253)
_START = {f"a{k}": c for k, c in enumerate(_NUMERATOR)} | {f"b{k}": c for k, c in enumerate(_DENOMINATOR, start=1)}


class PAU(FormulaActivation):
    """``P₅(x) / (1 + |b₁x + b₂x² + b₃x³ + b₄x⁴|)``, all ten coefficients learnt, started as Leaky ReLU(0.01).

    The parameters are ``a0`` … ``a5`` of ``P₅(x) = a₀ + a₁x + … + a₅x⁵`` and ``b1`` … ``b4``. They start at a
    least-squares fit to Leaky ReLU on [−3, 3], which is off by at most 0.034.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        dim: channel axis of per-channel parameters. Default: 1.
        inplace: accepted and ignored. Default: False.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        input: any; float64, float32, bfloat16 or float16, with ``num_parameters`` channels along ``dim`` if there are
        several. The output has the input's shape and dtype.

    Raises:
        InvalidValue: for a bad count, axis or initial value.

    Example:
        >>> import torch, bevel
        >>> f = bevel.nn.PAU()
        >>> [round(y, 2) for y in f(torch.tensor([-2.0, 2.0])).tolist()]
        [-0.02, 2.0]

    Source: Molina, Schramowski, Kersting: Padé Activation Units. ICLR 2020.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, _START, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        a, b = parameters[:6], parameters[6:]
        far = x.abs() > 1
        # Far out both polynomials are divided by x⁴, in powers of 1/x: at 1e8 x⁵ would overflow in float32.
        near = torch.where(far, 1.0, x)
        r = 1 / torch.where(far, x, 1.0)
        inside = _polynomial(near, a) / (1 + (near * _polynomial(near, b)).abs())
        top = a[5] * x + _polynomial(r, a[4::-1])
        return torch.where(far, top / (r**4 + _polynomial(r, b[::-1]).abs()), inside)


def _polynomial(x: Tensor, coefficients: Sequence[Tensor]) -> Tensor:
    """``c₀ + c₁x + c₂x² + …`` by Horner's rule."""
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


ENTRIES = {
    "pau": Entry(
        factory=PAU,
        formula="P₅(x) / (1 + |Q₄(x)|)",
        summary="safe Padé activation unit (ICLR 2020), ten coefficients learnt",
        citations=(
            "Molina, Schramowski, Kersting: Padé Activation Units: End-to-end Learning of Flexible Activation "
            "Functions in Deep Networks. ICLR 2020",
        ),
        latex=r"\frac{a_0 + a_1 x + \dots + a_5 x^5}{1 + |b_1 x + b_2 x^2 + b_3 x^3 + b_4 x^4|}",
        use="A shape that is learned freely, with little prior: few units, long trainings.",
        avoid="Where ten parameters may overfit, or where it must keep to Leaky ReLU beyond [-3, 3]: its start is "
        "fitted there.",
    )
}
