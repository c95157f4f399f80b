"""SAU and its three forms."""

from __future__ import annotations

from bevel.functional import as_form, sau_family
from bevel.nn._base import Activation, Entry, ParameterBuilder

CITATION = (
    "Biswas, Kumar, Banerjee, Pandey: SAU: Smooth Activation Function Using Convolution with Approximate Identities. "
    "ECCV 2022, LNCS 13681, doi:10.1007/978-3-031-19803-8_19, arXiv:2109.13210"
)


class SAU(Activation):
    """Leaky ReLU smoothed by a Gaussian of width 1/n, in the paper's printed form by default.

    Args:
        num_parameters: 1 (shared) or the channel count.
        alpha: slope for x ≪ 0; the paper starts it at 0.15 and trains it.
        n: sharpness, finite and > 0; the paper fixes 20000.
        form: ``published | exact | centred``, see :func:`bevel.functional.sau`.
        learn_alpha: whether alpha is a parameter.
        learn_n: whether n is; it is stored as ``log_n``. Start lower then: at 20000 its gradient is below 1e-9.
        dim: channel axis of per-channel parameters.
        inplace: accepted and ignored.

    Shape: any; the output has the input's shape and dtype.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        alpha: float = 0.15,
        n: float = 20000.0,
        form: str = "published",
        learn_alpha: bool = True,
        learn_n: bool = False,
        dim: int = 1,
        inplace: bool = False,
    ) -> None:
        super().__init__(num_parameters, dim)
        self.form = as_form(form)
        self.given = {"alpha": alpha, "n": n, "form": form, "learn_alpha": learn_alpha, "learn_n": learn_n}
        build = ParameterBuilder(self)
        a = build.add("alpha", alpha, learn_alpha)
        sharpness = build.add_sharpness(n, learn_n)
        self.family = sau_family(a, sharpness, self.form, log_n=learn_n)


ENTRIES = {
    "sau": Entry(
        factory=SAU,
        formula="√(2/π)·e/(2n) + (1+α)/2·x + (1−α)/2·x·erf(nx/√2),  e = exp(−n²x²/2)",
        summary="Leaky ReLU smoothed by a Gaussian (ECCV 2022); α learnt from 0.15, n = 20000",
        citations=(CITATION,),
    )
}
