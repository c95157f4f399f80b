"""A dense tensor as the native programs see it, whatever its shape: (outer, channel, inner) in memory order."""

from __future__ import annotations

from collections.abc import Sequence


def dense_view(shape: Sequence[int], stride: Sequence[int], dim: int, per_channel: bool) -> tuple[int, int, int] | None:
    """Lengths of outer, channel and inner of a dense tensor, None if it has gaps or overlaps.

    Axes of larger stride than the channel axis ``dim`` are outer, those of smaller stride inner, and each group is one
    run, so the offset of an element is ``(outer·channels + channel)·inner + inner``. Without per-channel coefficients
    all is one run of inner elements. An empty tensor is dense, with no outer elements.
    """
    channels = shape[dim] if per_channel else 1
    if 0 in shape:
        return 0, channels, 1
    order = sorted((d for d in range(len(shape)) if shape[d] > 1), key=lambda d: -stride[d])
    expected = 1
    for d in reversed(order):
        if stride[d] != expected:
            return None
        expected *= shape[d]
    if not per_channel:
        return 1, 1, expected
    outer = 1
    for d in order[: order.index(dim)] if dim in order else order:
        outer *= shape[d]
    return outer, channels, expected // (outer * channels)
