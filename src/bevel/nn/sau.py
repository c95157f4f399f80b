"""SAU and its three forms."""

from __future__ import annotations

import torch
from torch import nn

from bevel.functional import as_form, sau_family
from bevel.nn._base import Activation, Device, Entry, ParameterBuilder

CITATION = (
    "Biswas, Kumar, Banerjee, Pandey: SAU: Smooth Activation Function Using Convolution with Approximate Identities. "
    "ECCV 2022, LNCS 13681, doi:10.1007/978-3-031-19803-8_19, arXiv:2109.13210"
)


class SAU(Activation):
    """Leaky ReLU smoothed by a Gaussian of width 1/n, in the paper's printed form by default.

    With ``e = exp(−n²x²/2)``::

        √(2/π)·e/(2n) + (1+α)/2·x + (1−α)/2·x·erf(nx/√2)

    Args:
        num_parameters: 1 (shared) or the channel count. Default: 1.
        alpha: initial slope for x ≪ 0, which the paper trains. Default: 0.15, the paper's.
        n: sharpness, finite and > 0. Default: 20000, which the paper fixes.
        form: ``published``, ``exact`` or ``centred``, see :func:`bevel.functional.sau`. Default: ``published``.
        learn_alpha: whether α is a parameter, ``alpha``. Default: True.
        learn_n: whether n is one; it is stored as its logarithm, ``log_n``. Start lower then: at 20000 its gradient is
            at most 2e-5, and only within a few 1/n of 0. Default: False.
        dim: channel axis of per-channel parameters. Default: 1.
        inplace: accepted and ignored. Default: False.
        device, dtype: of the parameters. Default: torch's default device and dtype.

    Shape:
        input: any; float64, float32, bfloat16 or float16, with ``num_parameters`` channels along ``dim`` if there are
        several. The output has the input's shape and dtype.

    Raises:
        InvalidValue: for a bad count, axis, slope, sharpness or form.

    Example:
        >>> import torch, bevel
        >>> f = bevel.SAU(n=5.0)
        >>> [round(y, 4) for y in f(torch.tensor([-1.0, 0.0, 1.0])).tolist()]
        [-0.15, 0.0798, 1.0]
        >>> bevel.SAU(64, device="cpu", dtype=torch.float64).alpha.shape
        torch.Size([64])

    Source: Biswas, Kumar, Banerjee, Pandey: SAU. ECCV 2022, arXiv:2109.13210.
    """

    alpha: nn.Parameter
    log_n: nn.Parameter

    def __init__(
        self,
        num_parameters: int = 1,
        alpha: float = 0.15,
        n: float = 20000.0,
        form: str = "published",
        *,
        learn_alpha: bool = True,
        learn_n: bool = False,
        dim: int = 1,
        inplace: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_parameters, dim=dim)
        self.form = as_form(form)
        self.given = {"alpha": alpha, "n": n, "form": form, "learn_alpha": learn_alpha, "learn_n": learn_n}
        build = ParameterBuilder(self, device=device, dtype=dtype)
        a = build.add("alpha", alpha, learn_alpha)
        sharpness = build.add_sharpness(n, learn_n)
        self.family = sau_family(a, sharpness, self.form, log_n=learn_n)


ENTRIES = {
    "sau": Entry(
        factory=SAU,
        formula="√(2/π)·e/(2n) + (1+α)/2·x + (1−α)/2·x·erf(nx/√2),  e = exp(−n²x²/2)",
        summary="Leaky ReLU smoothed by a Gaussian (ECCV 2022); α learnt from 0.15, n = 20000",
        citations=(CITATION,),
        latex=r"\frac{1}{2n}\sqrt{\tfrac{2}{\pi}}\,e^{-n^2 x^2 / 2} + \frac{1 + \alpha}{2}\,x + \frac{1 - "
        r"\alpha}{2}\,x \operatorname{erf}\frac{n x}{\sqrt 2}",
        use="In the place of Leaky ReLU or PReLU where a smooth curve is wanted. Give a small n (1 to 20) to see "
        "one; n = 20000 is the paper's.",
        avoid="At n = 20000 in the hope of more than Leaky ReLU: it is that to 2e-5. The fair control is "
        "`prelu:init=0.15`.",
    )
}
