"""torch's own activations, as rows of the same catalog."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from bevel.nn._base import Entry


def _row(factory: Callable[..., nn.Module], formula: str, summary: str, *citations: str) -> Entry:
    return Entry(factory=factory, formula=formula, summary=summary, citations=citations, owned=False)


ENTRIES = {
    "identity": _row(nn.Identity, "x", "no activation"),
    "relu": _row(nn.ReLU, "max(x, 0)", "rectified linear unit", "Nair, Hinton: Rectified Linear Units. ICML 2010"),
    "leaky_relu": _row(
        nn.LeakyReLU,
        "x for x > 0, α·x otherwise",
        "Leaky ReLU, α fixed at 0.01",
        "Maas, Hannun, Ng: Rectifier Nonlinearities Improve Neural Network Acoustic Models. ICML 2013",
    ),
    "prelu": _row(
        nn.PReLU,
        "x for x > 0, α·x otherwise",
        "PReLU: α learnt from 0.25",
        "He, Zhang, Ren, Sun: Delving Deep into Rectifiers. ICCV 2015, arXiv:1502.01852",
    ),
    "relu6": _row(nn.ReLU6, "min(max(x, 0), 6)", "ReLU clipped at 6", "Krizhevsky: Convolutional DBNs. 2010"),
    "elu": _row(
        nn.ELU,
        "x for x > 0, α(eˣ−1) otherwise",
        "exponential linear unit",
        "Clevert, Unterthiner, Hochreiter: Fast "
        "and Accurate Deep Network Learning by Exponential Linear Units. ICLR 2016, arXiv:1511.07289",
    ),
    "celu": _row(
        nn.CELU,
        "max(x, 0) + min(0, α(e^{x/α}−1))",
        "continuously differentiable ELU",
        "Barron: Continuously Differentiable Exponential Linear Units. 2017, arXiv:1704.07483",
    ),
    "selu": _row(
        nn.SELU,
        "λ·elu(x, α)",
        "self-normalising ELU",
        "Klambauer et al.: Self-Normalizing Neural Networks. NeurIPS 2017, arXiv:1706.02515",
    ),
    "softplus": _row(
        nn.Softplus,
        "ln(1 + e^{βx})/β",
        "softplus: ReLU * logistic",
        "Dugas et al.: Incorporating Second-Order Functional Knowledge for Better Option Pricing. NeurIPS 2000",
    ),
    "silu": _row(
        nn.SiLU,
        "x·σ(x)",
        "SiLU: Swish with β = 1",
        "Elfwing, Uchibe, Doya: Sigmoid-Weighted Linear Units. Neural Networks 2018, arXiv:1702.03118",
    ),
    "mish": _row(
        nn.Mish,
        "x·tanh(ln(1 + eˣ))",
        "Mish",
        "Misra: Mish: A Self Regularized Non-Monotonic Activation Function. BMVC 2020, arXiv:1908.08681",
    ),
    "gelu": _row(
        nn.GELU,
        "x·Φ(x)",
        "Gaussian error linear unit",
        "Hendrycks, Gimpel: Gaussian Error Linear Units. 2016, arXiv:1606.08415",
    ),
    "hardswish": _row(
        nn.Hardswish,
        "x·relu6(x+3)/6",
        "piecewise polynomial Swish",
        "Howard et al.: Searching for MobileNetV3. ICCV 2019, arXiv:1905.02244",
    ),
    "hardtanh": _row(nn.Hardtanh, "min(max(x, −1), 1)", "clipped identity"),
    "hardsigmoid": _row(nn.Hardsigmoid, "relu6(x+3)/6", "clipped line for the sigmoid"),
    "softshrink": _row(nn.Softshrink, "x moved towards 0 by λ", "soft threshold"),
    "softsign": _row(nn.Softsign, "x/(1+|x|)", "softsign"),
    "tanh": _row(nn.Tanh, "tanh x", "hyperbolic tangent"),
    "sigmoid": _row(nn.Sigmoid, "1/(1+e^{−x})", "logistic sigmoid"),
    "logsigmoid": _row(nn.LogSigmoid, "−ln(1+e^{−x})", "log of the sigmoid"),
}
