"""Maxout: the largest of k channels, a layer that returns fewer channels than it takes."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel._checks import check_integer
from bevel.errors import InvalidValue
from bevel.nn._module import Module


class Maxout(Module):
    """The largest of each ``pieces`` neighboring channels: ``max over j of x[k·i + j]``.

    It returns ``pieces`` times fewer channels than it takes, so that it is no row of ``bevel.ACTIVATIONS`` and no swap
    can put it in: the layer before must be made wider. The first of equal channels has the gradient.

    Args:
        pieces: how many channels make one, at least 2. Default: 2.
        dim: the channel axis. Default: 1.

    Shape:
        input: any dtype, with a multiple of ``pieces`` channels along ``dim``. The output has that many times fewer.

    Raises:
        InvalidValue: for a bad count or axis, or channels that are no multiple of ``pieces``.

    Example:
        >>> import torch, bevel
        >>> bevel.nn.Maxout()(torch.tensor([[1.0, 3.0, -2.0, -5.0]])).tolist()
        [[3.0, -2.0]]

    Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio: Maxout Networks. ICML 2013, arXiv:1302.4389.
    """

    not_elementwise = "it takes a multiple of the channels that it returns; make the layer before it wider, by hand"

    def __init__(self, pieces: int = 2, *, dim: int = 1) -> None:
        super().__init__()
        self.pieces = check_integer(pieces, "pieces", 2)
        self.dim = check_integer(dim, "dim", hint="It is the channel axis.")

    def forward(self, input: Tensor) -> Tensor:
        if not -input.dim() <= self.dim < input.dim() or input.shape[self.dim] % self.pieces:
            raise InvalidValue(
                f"input must have a multiple of {self.pieces} channels along dim={self.dim}; got shape "
                f"{tuple(input.shape)}."
            )
        dim = self.dim % input.dim()
        pieces: Tensor = input.unflatten(dim, (-1, self.pieces))  # type: ignore[no-untyped-call]
        return torch.max(pieces, dim=dim + 1).values

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}, dim={self.dim}"
