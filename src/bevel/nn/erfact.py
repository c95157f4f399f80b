"""ErfAct and Pserf."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel.nn._base import Device, Entry, FormulaActivation

CITATION = (
    "Biswas, Kumar, Banerjee, Pandey: ErfAct and Pserf: Non-monotonic Smooth Trainable Activation Functions. AAAI 2022"
)


class ErfAct(FormulaActivation):
    """``x·erf(α·exp(βx))``, α and β learnt.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        alpha: initial value of α. Default: 0.75.
        beta: initial value of β. Default: 0.75.
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
        >>> f = bevel.nn.ErfAct()
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 4.0])).tolist()]
        [-0.3836, 0.0, 4.0]

    Source: Biswas, Kumar, Banerjee, Pandey: ErfAct and Pserf. AAAI 2022.
    """

    alpha: nn.Parameter
    beta: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        alpha: float = 0.75,
        beta: float = 0.75,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"alpha": alpha, "beta": beta}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        alpha, beta = parameters
        # erf is 1 to the last bit of float64 from 6 on; the clamp keeps exp finite and its gradient 0 instead of inf·0.
        return x * torch.erf(alpha * torch.exp((beta * x).clamp(max=40.0)))


class Pserf(FormulaActivation):
    """``x·erf(γ·ln(1 + exp(σx)))``, γ and σ learnt.

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        gamma: initial value of γ. Default: 1.25.
        sigma: initial value of σ. Default: 0.85.
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
        >>> f = bevel.nn.Pserf()
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 4.0])).tolist()]
        [-0.4707, 0.0, 4.0]

    Source: Biswas, Kumar, Banerjee, Pandey: ErfAct and Pserf. AAAI 2022.
    """

    gamma: nn.Parameter
    sigma: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        gamma: float = 1.25,
        sigma: float = 0.85,
        *,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, {"gamma": gamma, "sigma": sigma}, dim=dim, device=device, dtype=dtype)

    @staticmethod
    def formula(x: Tensor, *parameters: Tensor) -> Tensor:
        gamma, sigma = parameters
        return x * torch.erf(gamma * F.softplus(sigma * x))


ENTRIES = {
    "erfact": Entry(
        factory=ErfAct,
        formula="x·erf(α·exp(βx))",
        summary="ErfAct (AAAI 2022), α and β learnt",
        citations=(CITATION,),
        latex=r"x \operatorname{erf}\bigl(\alpha e^{\beta x}\bigr)",
        use="As a baseline of the family of learnable, Swish-like units.",
        avoid="Where the function must be monotone, or a proven distance to a kinked one is needed.",
    ),
    "pserf": Entry(
        factory=Pserf,
        formula="x·erf(γ·ln(1 + exp(σx)))",
        summary="parametric softplus-erf (AAAI 2022), γ and σ learnt",
        citations=(CITATION,),
        latex=r"x \operatorname{erf}\bigl(\gamma \ln(1 + e^{\sigma x})\bigr)",
        use="As a baseline of the family of learnable, Swish-like units.",
        avoid="Where the function must be monotone, or a proven distance to a kinked one is needed.",
    ),
}
