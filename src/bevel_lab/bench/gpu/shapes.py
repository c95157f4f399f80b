"""The tensors that ``make bench-gpu`` times, shaped as ResNet-50's and a transformer's activations, and the tunings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from bevel.ops.triton.layout import Tuning

TABLE = (torch.bfloat16, torch.float32)  # the dtypes that targets are set for
LARGE = "256 MB"
AHEAD = "64 MB"  # of the tensors that programs are built for ahead: smaller ones may be cut in other ways
SMALL = (1000, 10, 1, 1)
WIDTHS = (64, 128, 256, 512, 160, 288, 24, 58, 116, 232)  # channels of networks, one for each binary that they need
TUNINGS = tuple(
    Tuning(tile=tile, warps=warps, per_processor=per)
    for tile, warps, per in ((128, 1, 32), (256, 1, 16), (256, 1, 32), (512, 1, 32), (512, 2, 16), (1024, 4, 8))
)
SWEPT = (("flat", ("copy", "sau", "sau:n=1")), ("channels_last 64", ("copy", "frelu(C)")))  # layouts, and their cases


@dataclass(frozen=True)
class Layout:
    """A tensor of so many channels and, for each, a square of pixels.

    Attributes:
        channels: 0 for a flat run, without an axis of channels.
        side: pixels of a side; for ``btc`` its square is the number of tokens.
        kind: ``flat``, ``nchw``, ``channels_last`` or ``btc`` (batch, tokens, channels).
    """

    channels: int
    side: int
    kind: str = "nchw"

    @property
    def dim(self) -> int:
        """Axis of the channels."""
        return {"flat": 0, "btc": 2}.get(self.kind, 1)

    def width(self, dry: bool) -> int:
        """Number of channels; a rehearsal has one for each 16."""
        return self.channels // 16 if dry else self.channels

    def shape(self, elements: int, dry: bool) -> tuple[tuple[int, ...], torch.memory_format]:
        """Return the shape of about so many elements, and its memory format."""
        if self.kind == "flat":
            return (elements,), torch.contiguous_format
        side, channels = min(self.side, 3) if dry else self.side, self.width(dry)
        batch = max(1, elements // (channels * side * side))
        if self.kind == "btc":
            return (batch, side * side, channels), torch.contiguous_format
        last = self.kind == "channels_last"
        return (batch, channels, side, side), torch.channels_last if last else torch.contiguous_format


LAYOUTS = {
    "flat": Layout(0, 0, "flat"),
    "nchw 56": Layout(64, 56),
    "nchw 14": Layout(256, 14),
    "nchw 7": Layout(512, 7),
    "channels_last 64": Layout(64, 56, "channels_last"),
    "channels_last 256": Layout(256, 14, "channels_last"),
    "channels_last 768": Layout(768, 14, "channels_last"),
    "btc": Layout(768, 14, "btc"),
}


def tunings(dry: bool) -> tuple[Tuning, ...]:
    """Return the tunings that are timed; a rehearsal has two of them."""
    return TUNINGS[: 2 if dry else None]


def layouts_and_dtypes(dry: bool) -> list[tuple[str, torch.dtype]]:
    """Every layout in every dtype; a rehearsal has one layout of each kind of program in float32."""
    few = ("flat", "nchw 56", "channels_last 64")
    return [(n, d) for d, n in itertools.product(TABLE, LAYOUTS) if n in few or d != torch.float32 or not dry]
