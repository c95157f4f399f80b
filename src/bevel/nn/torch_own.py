"""torch's own activations, as rows of the same catalog."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from bevel.nn._base import Entry


def _row(factory: Callable[..., nn.Module], formula: str, summary: str, *citations: str, **page: str) -> Entry:
    return Entry(factory=factory, formula=formula, summary=summary, citations=citations, owned=False, **page)


ENTRIES = {
    "identity": _row(
        nn.Identity,
        "x",
        "no activation",
        latex=r"x",
        use="As the control without an activation.",
        avoid="Wherever more than a linear map is to be learned.",
    ),
    "relu": _row(
        nn.ReLU,
        "max(x, 0)",
        "rectified linear unit",
        "Nair, Hinton: Rectified Linear Units Improve Restricted Boltzmann Machines. ICML 2010",
        latex=r"\max(x, 0)",
        use="As the first baseline: the cheapest, sparse, and what most recipes were tuned for.",
        avoid="Where units die, as with large steps and no normalization; where a second derivative is needed: it is "
        "0.",
    ),
    "leaky_relu": _row(
        nn.LeakyReLU,
        "x for x > 0, α·x otherwise",
        "Leaky ReLU, α fixed at 0.01",
        "Maas, Hannun, Ng: Rectifier Nonlinearities Improve Neural Network Acoustic Models. ICML 2013",
        latex=r"\begin{cases} x & x > 0 \\ \alpha x & x \le 0 \end{cases}",
        use="Where units of ReLU die. At α = 0.15 it is the fixed control of SAU.",
        avoid="Where the slope may be learned (PReLU, FReLU), or the curve must be smooth (SAU).",
    ),
    "prelu": _row(
        nn.PReLU,
        "x for x > 0, α·x otherwise",
        "PReLU: α learnt from 0.25",
        "He, Zhang, Ren, Sun: Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet "
        "Classification. ICCV 2015, arXiv:1502.01852",
        latex=r"\begin{cases} x & x > 0 \\ \alpha x & x \le 0 \end{cases}",
        use="As the learned control of SAU and FReLU: one slope below zero.",
        avoid="With weight decay on its slope (`bevel.parameter_groups` sets it apart). `frelu` is faster on a CPU.",
    ),
    "rrelu": _row(
        nn.RReLU,
        "x for x > 0, a·x otherwise; a ~ U(1/8, 1/3) in training, else their mean",
        "randomized Leaky ReLU: Leaky ReLU with slope 11/48 in evaluation",
        "Xu, Wang, Chen, Li: Empirical Evaluation of Rectified Activations in Convolutional Network. 2015, "
        "arXiv:1505.00853",
        latex=r"\begin{cases} x & x > 0 \\ a x & x \le 0 \end{cases} \qquad a \sim U(\tfrac18, \tfrac13)",
        use="As a control with noise on Leaky ReLU's slope: what ships is Leaky ReLU.",
        avoid="Where training must be deterministic without a seed.",
    ),
    "relu6": _row(
        nn.ReLU6,
        "min(max(x, 0), 6)",
        "ReLU clipped at 6",
        "Krizhevsky: Convolutional Deep Belief Networks on CIFAR-10. 2010",
        latex=r"\min(\max(x, 0), 6)",
        use="Mobile networks and low precision, which want a fixed range.",
        avoid="Where units saturate: above 6 its gradient is 0.",
    ),
    "elu": _row(
        nn.ELU,
        "x for x > 0, α(eˣ−1) otherwise",
        "exponential linear unit",
        "Clevert, Unterthiner, Hochreiter: Fast "
        "and Accurate Deep Network Learning by Exponential Linear Units. ICLR 2016, arXiv:1511.07289",
        latex=r"\begin{cases} x & x > 0 \\ \alpha(e^x - 1) & x \le 0 \end{cases}",
        use="Networks without normalization that want a mean near zero.",
        avoid="For α other than 1, where its slope jumps at 0 (`celu` has none).",
    ),
    "celu": _row(
        nn.CELU,
        "max(x, 0) + min(0, α(e^{x/α}−1))",
        "continuously differentiable ELU",
        "Barron: Continuously Differentiable Exponential Linear Units. 2017, arXiv:1704.07483",
        latex=r"\max(x, 0) + \min\bigl(0, \alpha(e^{x/\alpha} - 1)\bigr)",
        use="ELU at another α with a continuous slope.",
        avoid="At α = 1, where it is ELU.",
    ),
    "selu": _row(
        nn.SELU,
        "λ·elu(x, α)",
        "self-normalizing ELU",
        "Klambauer et al.: Self-Normalizing Neural Networks. NeurIPS 2017, arXiv:1706.02515",
        latex=r"\lambda \begin{cases} x & x > 0 \\ \alpha(e^x - 1) & x \le 0 \end{cases}",
        use="Deep fully connected networks without normalization, with LeCun's initialization and alpha dropout.",
        avoid="Beside batch or layer normalization, which does already what it is for.",
    ),
    "softplus": _row(
        nn.Softplus,
        "ln(1 + e^{βx})/β",
        "softplus: ReLU * logistic",
        "Dugas et al.: Incorporating Second-Order Functional Knowledge for Better Option Pricing. NeurIPS 2000",
        latex=r"\frac{\ln(1 + e^{\beta x})}{\beta}",
        use="Outputs that must be positive: variances, rates.",
        avoid="Hidden layers of deep networks: it is ln 2/β at 0 and nowhere 0.",
    ),
    "silu": _row(
        nn.SiLU,
        "x·σ(x)",
        "SiLU: Swish with β = 1",
        "Elfwing, Uchibe, Doya: Sigmoid-Weighted Linear Units for Neural Network Function Approximation in "
        "Reinforcement Learning. Neural Networks 107, 3-11 (2018), arXiv:1702.03118",
        latex=r"x\,\sigma(x)",
        use="Modern convolutional networks, and the gate of feed-forward layers in language models.",
        avoid="Integer arithmetic (`hardswish`), and where the function must be monotone.",
    ),
    "mish": _row(
        nn.Mish,
        "x·tanh(ln(1 + eˣ))",
        "Mish",
        "Misra: Mish: A Self Regularized Non-Monotonic Activation Function. BMVC 2020, arXiv:1908.08681",
        latex=r"x \tanh\bigl(\ln(1 + e^x)\bigr)",
        use="In the place of SiLU, which it resembles.",
        avoid="Where cost matters: it costs more than SiLU.",
    ),
    "gelu": _row(
        nn.GELU,
        "x·Φ(x)",
        "Gaussian error linear unit",
        "Hendrycks, Gimpel: Gaussian Error Linear Units (GELUs). 2016, arXiv:1606.08415",
        latex=r"x\,\Phi(x)",
        use="Transformers.",
        avoid="Where the function must be monotone, or erf is slow.",
    ),
    "hardswish": _row(
        nn.Hardswish,
        "x·relu6(x+3)/6",
        "piecewise polynomial Swish",
        "Howard et al.: Searching for MobileNetV3. ICCV 2019, arXiv:1905.02244",
        latex=r"\tfrac16\,x \min(\max(x + 3, 0), 6)",
        use="Mobile networks in integer arithmetic, in the place of SiLU.",
        avoid="Where a continuous slope is needed: it jumps at ±3.",
    ),
    "hardtanh": _row(
        nn.Hardtanh,
        "min(max(x, −1), 1)",
        "clipped identity",
        latex=r"\min(\max(x, -1), 1)",
        use="Outputs that must stay within bounds, at little cost.",
        avoid="Where units saturate: outside its gradient is 0. `mollified:f=hardtanh` is its smooth form.",
    ),
    "hardsigmoid": _row(
        nn.Hardsigmoid,
        "relu6(x+3)/6",
        "clipped line for the sigmoid",
        "Howard et al.: Searching for MobileNetV3. ICCV 2019, arXiv:1905.02244",
        latex=r"\tfrac16 \min(\max(x + 3, 0), 6)",
        use="Gates in integer arithmetic.",
        avoid="Where units saturate: beyond ±3 its gradient is 0.",
    ),
    "softshrink": _row(
        nn.Softshrink,
        "x moved towards 0 by λ",
        "soft threshold",
        "Donoho: De-noising by soft-thresholding. IEEE Transactions on Information Theory 41, 613-627 (1995), "
        "doi:10.1109/18.382009",
        latex=r"\operatorname{sign}(x)\,\max(|x| - \lambda, 0)",
        use="Sparse codes: it is the proximal step of the L1 norm.",
        avoid="As a hidden unit that must pass small signals.",
    ),
    "softsign": _row(
        nn.Softsign,
        "x/(1+|x|)",
        "softsign",
        latex=r"\frac{x}{1 + |x|}",
        use="Bounded outputs that saturate slowly.",
        avoid="Where tanh's speed of saturation is wanted, or a second derivative at 0, where it jumps.",
    ),
    "tanh": _row(
        nn.Tanh,
        "tanh x",
        "hyperbolic tangent",
        latex=r"\tanh x",
        use="Bounded outputs with mean zero, recurrent cells.",
        avoid="Deep plain networks: gradients vanish where it saturates.",
    ),
    "sigmoid": _row(
        nn.Sigmoid,
        "1/(1+e^{−x})",
        "logistic sigmoid",
        latex=r"\frac{1}{1 + e^{-x}}",
        use="Gates and probabilities.",
        avoid="Hidden layers of deep networks: its slope is at most 1/4.",
    ),
    "logsigmoid": _row(
        nn.LogSigmoid,
        "−ln(1+e^{−x})",
        "log of the sigmoid",
        latex=r"-\ln(1 + e^{-x})",
        use="Log likelihoods of binary outcomes, without overflow.",
        avoid="Hidden layers: it is unbounded below and never positive.",
    ),
}
