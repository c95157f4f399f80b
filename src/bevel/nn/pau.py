"""The Padé activation unit, in its safe form."""

from __future__ import annotations

from torch import Tensor

from bevel.nn._base import Entry, FormulaActivation

# Least-squares fit of P5/(1+|Q4|) to Leaky ReLU(0.01) on [-3, 3]; largest error 0.034, at the kink.
_NUMERATOR = (0.033572103, 0.50500864, 1.6527177, 2.0081814, 0.93060653, 0.15213793)
_DENOMINATOR = (0.0, 3.9764807, 0.0, 0.301253)


class PAU(FormulaActivation):
    """``P₅(x) / (1 + |b₁x + b₂x² + b₃x³ + b₄x⁴|)``, all ten coefficients learnt, started as Leaky ReLU(0.01).

    Args:
        num_parameters: 1 (shared) or the channel count.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.
    """

    arguments = tuple(f"a{k}" for k in range(6)) + tuple(f"b{k}" for k in range(1, 5))

    def __init__(self, num_parameters: int = 1, dim: int = 1, inplace: bool = False) -> None:
        super().__init__(num_parameters, dim)
        for name, value in zip(self.arguments, _NUMERATOR + _DENOMINATOR, strict=True):
            setattr(self, name, self.learnable(value))

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        a, b = parameters[:6], parameters[6:]
        top = a[5]
        for c in reversed(a[:5]):
            top = top * x + c
        bottom = b[3]
        for c in reversed(b[:3]):
            bottom = bottom * x + c
        return top / (1 + (bottom * x).abs())


ENTRIES = {
    "pau": Entry(
        factory=PAU,
        formula="P₅(x) / (1 + |Q₄(x)|)",
        summary="safe Padé activation unit (ICLR 2020), ten coefficients learnt",
        citations=(
            "Molina, Schramowski, Kersting: Padé Activation Units: End-to-end Learning of Flexible Activation "
            "Functions in Deep Networks. ICLR 2020",
        ),
    )
}
