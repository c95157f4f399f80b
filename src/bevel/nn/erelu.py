"""EReLU: a ReLU with a random slope in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from bevel._checks import check_positive
from bevel.errors import InvalidValue
from bevel.nn._base import Device, Entry, LearnableModule
from bevel.ops import check_dtype

CITATION = "Jiang, Pang, Li, Pan: Deep neural networks with Elastic Rectified Linear Units. Neurocomputing 275 (2018)"


class EReLU(LearnableModule):
    """``k·x`` for x > 0, 0 otherwise; in training k ~ U(1 − α, 1 + α) anew for each element, in evaluation k = 1.

    The slopes are drawn from torch's own generator of the input's device, so that a seed repeats them. It keeps them
    for backward, one tensor of the input's size. Exported in evaluation mode, it is ReLU.

    Args:
        alpha: half the width of the slopes' range, in [0, 1]. Default: 0.2; that the authors' is small is all that was
            at hand.
        inplace: accepted and ignored. Default: False.
        device, dtype: accepted and ignored, as there are no parameters.

    Shape:
        input: any; float64, float32, bfloat16 or float16. The output has the input's shape and dtype.

    Raises:
        InvalidValue: if ``alpha`` is not in [0, 1].

    Example:
        >>> import torch, bevel
        >>> f = bevel.nn.EReLU(alpha=0.5)
        >>> y = f(torch.ones(1000))
        >>> bool((0.5 <= y.min()) & (y.max() <= 1.5))
        True
        >>> f.eval()(torch.tensor([-2.0, 3.0])).tolist()
        [0.0, 3.0]

    Source: Jiang, Pang, Li, Pan: Deep neural networks with Elastic Rectified Linear Units. Neurocomputing 2018 (as
    reported; not read).
    """

    draws = True
    """Training is random: backward cannot compute it again."""

    def __init__(
        self, alpha: float = 0.2, *, inplace: bool = False, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(1)
        self.alpha = check_positive(alpha, "alpha", zero=True)
        if self.alpha > 1:
            raise InvalidValue(f"alpha must be in [0, 1], so that no slope is negative; got {alpha!r}.")

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Proxy):
            return self.as_node(input)
        check_dtype(input)
        if not self.training or not self.alpha:
            return nn.functional.relu(input)
        slopes = torch.empty_like(input).uniform_(1 - self.alpha, 1 + self.alpha)
        return torch.where(input > 0, slopes, 0.0 * slopes) * input

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"


ENTRIES = {
    "erelu": Entry(
        factory=EReLU,
        formula="k·x for x > 0, 0 for x ≤ 0; k ~ U(1 − α, 1 + α) in training, else 1",
        summary="elastic ReLU (2018): a random slope for x > 0 in training, ReLU in evaluation",
        citations=(CITATION,),
        latex=r"\begin{cases} k x & x > 0 \\ 0 & x \le 0 \end{cases} \qquad k \sim U(1 - \alpha, 1 + \alpha)",
        use="As a control with noise on ReLU's slope: what ships is ReLU.",
        avoid="Beside dropout, which does alike; where training must be deterministic without a seed.",
    )
}
