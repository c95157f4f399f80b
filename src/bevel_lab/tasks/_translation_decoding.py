"""Decoding of translations, greedily or by beam search, one subword a step.

``model(source)`` returns the state of int64 B×S. ``model(target=subword, state=state)`` returns the logits (B×V) after
one more subword (int64 B×1, BEGIN first) and the next state. ``state.select(hypotheses, sentences)`` keeps some rows.
Sentences are independent, and a finished one leaves the batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bevel_lab.data.text.tokens import BEGIN, END, PAD

LOWEST = -1e30
"""Log-probability in place of a diverged model's NaN; finite, so that sums stay comparable."""


def limits(source: Tensor) -> Tensor:
    """Most subwords of a translation, END included: twice as many as its source has, and ten more; int64, B.

    Example:
        >>> limits(torch.tensor([[5, 7, END], [6, END, PAD]]))
        tensor([16, 14])
    """
    return 2 * (source != PAD).sum(1) + 10


def greedy(model: nn.Module, source: Tensor, longest: Tensor) -> list[list[int]]:
    """Decode by taking the most likely next subword.

    Args:
        model: in eval mode.
        source: int64, B×S, each row with its END, then PAD.
        longest: most subwords of each translation, END included: int64, B.

    Returns:
        Subwords of every translation, without BEGIN and END.
    """
    rows, state = torch.arange(len(source), device=source.device), model(source)
    prefix = torch.full((len(source), 1), BEGIN, device=source.device)
    found: list[list[int]] = [[] for _ in range(len(source))]
    step = 0
    while len(rows):
        step += 1
        likely, state = _following(model, prefix[:, -1:], state, longest[rows] == step)
        following = likely.argmax(1)
        ended = following == END
        for row, text in zip(rows[ended].tolist(), prefix[ended, 1:].tolist(), strict=True):
            found[row] = text
        prefix = torch.cat((prefix, following[:, None]), 1)[~ended]
        if bool(ended.any()):
            kept = (~ended).nonzero()[:, 0]
            rows, state = rows[kept], state.select(kept, kept)
    return found


def beam(model: nn.Module, source: Tensor, longest: Tensor, size: int = 4, penalty: float = 0.6) -> list[list[int]]:
    """Decode by beam search with the score log-probability / ((5 + length) / 6)^penalty (Wu et al. 2016).

    The length includes END. A sentence is finished when no hypothesis in its beam can still overtake its best finished
    one.

    Args:
        model, source, longest: as for :func:`greedy`.
        size: number of hypotheses; with size 1 and penalty 0 this is :func:`greedy`.
        penalty: exponent of the length; 0 prefers short translations.

    Returns:
        As :func:`greedy`.
    """
    device, count = source.device, len(source)
    rows = torch.arange(count, device=device)
    state = model(source).select(rows.repeat_interleave(size))
    prefix = torch.full((count, size, 1), BEGIN, device=device)
    scores = torch.full((count, size), -torch.inf, device=device)
    scores[:, 0] = 0  # all hypotheses are one at first
    best = torch.full((count,), -torch.inf, device=device)
    found: list[list[int]] = [[] for _ in range(count)]
    step = 0
    while len(rows):
        step += 1
        last = (longest[rows] == step).repeat_interleave(size)
        following, state = _following(model, prefix[:, :, -1].reshape(-1, 1), state, last)
        total = scores[:, :, None] + following.view(len(rows), size, -1)
        # every hypothesis has one END, so 2·size candidates hold at least ``size`` that go on
        candidates, place = total.flatten(1).topk(2 * size)
        parent, token = place // total.shape[2], place % total.shape[2]
        ended = token == END

        length = _length(torch.tensor(step), penalty)
        finished, which = (candidates / length)[:, :size].masked_fill(~ended[:, :size], -torch.inf).max(1)
        better = finished > best[rows]
        texts = prefix[torch.arange(len(rows), device=device), parent.gather(1, which[:, None])[:, 0], 1:]
        for row, text in zip(rows[better].tolist(), texts[better].tolist(), strict=True):
            found[row] = text
        best[rows] = torch.maximum(best[rows], finished)

        scores, kept = candidates.masked_fill(ended, -torch.inf).topk(size)
        parents, tokens = parent.gather(1, kept), token.gather(1, kept)
        prefix = torch.cat((_chosen(prefix, parents), tokens[:, :, None]), 2)
        # a longer hypothesis has no higher sum, and the largest divisor is that of the longest translation
        open_ = scores[:, 0] / _length(longest[rows], penalty) > best[rows]
        chosen = (torch.arange(len(rows), device=device)[:, None] * size + parents)[open_].flatten()
        state = state.select(chosen, None if bool(open_.all()) else open_.nonzero()[:, 0])
        rows, prefix, scores = rows[open_], prefix[open_], scores[open_]
    return found


def _length(count: Tensor, penalty: float) -> Tensor:
    """The divisor of a sum of ``count`` log-probabilities."""
    divisor: Tensor = ((5 + count) / 6) ** penalty
    return divisor


def _chosen(prefix: Tensor, parents: Tensor) -> Tensor:
    """The hypotheses of N×K×T with the numbers N×K."""
    return prefix.gather(1, parents[:, :, None].expand(-1, -1, prefix.shape[2]))


def _following(model: nn.Module, subword: Tensor, state: Any, last: Tensor) -> tuple[Tensor, Any]:
    """Log-probabilities of the next subword, float32 B×V, and the state; where ``last``, only END is possible."""
    logits, state = model(target=subword, state=state)
    found: Tensor = logits.float().log_softmax(1).nan_to_num(nan=LOWEST, neginf=LOWEST)
    found[:, [PAD, BEGIN]] = -torch.inf
    others = torch.arange(found.shape[1], device=found.device) != END
    return found.masked_fill(last[:, None] & others, -torch.inf), state
