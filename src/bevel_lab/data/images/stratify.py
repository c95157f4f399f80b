"""Drawing a part of a data set with every class in its share."""

from __future__ import annotations

import torch
from torch import Tensor

from bevel.errors import InvalidValue


def stratified(labels: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw ``count`` samples with every class in its share; returns sorted indices (drawn, rest).

    Shares are rounded by the largest remainder (the lower class first), so that ``count`` is met exactly. Identical
    for equal labels and generator state.
    """
    total = len(labels)
    if not 0 < count < total:
        raise InvalidValue(f"a part drawn from {total} samples has 1 … {total - 1} of them; {count} were asked for.")
    sizes = torch.bincount(labels)
    # integers, because a share of 0.2·n computed in floats may fall on either side of a tie
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
