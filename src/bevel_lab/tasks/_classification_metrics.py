"""Cross-entropy and hits of a classifier over a whole part of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], hits: Callable[[Tensor, Tensor], dict[str, Tensor]]
) -> dict[str, float]:
    """Mean loss and mean of every kind of hit.

    Args:
        model: in eval mode; inputs → logits, B×classes.
        batches: inputs and labels (int64, B).
        hits: (logits, labels) → bool, B, by name.

    Returns:
        ``loss`` and the fraction of hits by name.
    """
    loss = torch.zeros((), dtype=torch.float64)
    counts: Counter[str] = Counter()
    total = 0
    for inputs, labels in batches:
        logits = model(inputs)
        loss += F.cross_entropy(logits, labels, reduction="sum").double().cpu()
        counts.update({name: int(hit.sum()) for name, hit in hits(logits, labels).items()})
        total += len(labels)
    return {"loss": float(loss) / total} | {name: count / total for name, count in counts.items()}
