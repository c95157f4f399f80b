"""Stratified draws from a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel.errors import InvalidValue


def stratified(labels: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw samples with every class in proportion.

    Proportions are rounded by the largest remainder (the lower class first), so that exactly ``count`` are drawn. Equal
    labels and generator states give equal draws.

    Args:
        labels: int64, N.
        count: number of samples to draw, 1 … N − 1.
        generator: source of the draws.

    Returns:
        Sorted indices of the drawn samples and of the rest, int64.

    Raises:
        InvalidValue: for another ``count``.

    Example:
        >>> labels = torch.tensor([0] * 6 + [1] * 3)
        >>> drawn, rest = stratified(labels, 3, torch.Generator().manual_seed(0))
        >>> labels[drawn].tolist(), len(rest)
        ([0, 0, 1], 6)
    """
    total = len(labels)
    if not 0 < count < total:
        raise InvalidValue(f"a part drawn from {total} samples must have 1 … {total - 1} of them; got {count}.")
    sizes = torch.bincount(labels)
    # integers: 0.2·n in floats may fall on either side of a tie
    quota = sizes * count // total
    remainder = sizes * count - quota * total
    order = sorted(range(len(sizes)), key=lambda c: (-int(remainder[c]), c))
    for c in order[: count - int(quota.sum())]:
        quota[c] += 1
    drawn = []
    for c in range(len(sizes)):
        members = (labels == c).nonzero().flatten()
        drawn.append(members[torch.randperm(len(members), generator=generator)[: int(quota[c])]])
    taken = torch.zeros(total, dtype=torch.bool)
    taken[torch.cat(drawn)] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()
