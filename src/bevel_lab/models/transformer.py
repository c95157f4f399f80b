"""The Transformer (Vaswani et al. 2017) for translation, from torch's encoder and decoder layers.

``transformer_base`` is the paper's, with norms after the residual sums. ``…_prenorm`` has them before each part, and
another one at the end of encoder and decoder. Source, target and output share one embedding; positions are sinusoids.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.data.text.tokens import BEGIN, PAD
from bevel_lab.models import Activation, Model


@dataclass(frozen=True)
class Size:
    """Width of the residual stream, width of the feed-forward's hidden layer, heads, layers a side, dropout rate."""

    width: int
    hidden: int
    heads: int
    layers: int
    dropout: float


SIZES = {
    "base": Size(512, 2048, 8, 6, 0.1),
    "small": Size(256, 1024, 4, 3, 0.1),
    "tiny": Size(64, 256, 4, 2, 0.1),
}


class Transformer(nn.Module):
    """An encoder and decoder from subwords to the logits of the next subwords.

    Args:
        vocabulary: number of subwords.
        size: the dimensions.
        prenorm: whether norms come before attention and feed-forward instead of after the sums.
    """

    def __init__(self, vocabulary: int, size: Size, prenorm: bool) -> None:
        super().__init__()
        self.width, self.dropout = size.width, nn.Dropout(size.dropout)
        self.embedding = nn.Embedding(vocabulary, size.width)
        # the activation stays torch's function until the swap: a copy of a decoder layer would forget a module
        options: dict[str, Any] = {"dropout": size.dropout, "batch_first": True, "norm_first": prenorm}
        encoder = nn.TransformerEncoderLayer(size.width, size.heads, size.hidden, **options)
        decoder = nn.TransformerDecoderLayer(size.width, size.heads, size.hidden, **options)
        ends = [nn.LayerNorm(size.width) if prenorm else None for _ in range(2)]
        self.encoder = nn.TransformerEncoder(encoder, size.layers, ends[0], enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, size.layers, ends[1])
        self._draw()

    def _draw(self) -> None:
        """Initialize by Xavier's rule, biases by 0, as torch's Transformer, whose layers are copies of one before."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        nn.init.normal_(self.embedding.weight, std=self.width**-0.5)  # it is multiplied by the root of the width

    def forward(self, source: Tensor, target: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        """Encode, decode or both, in one method: data-parallel wrappers forward only this one.

        Args:
            source: int64, B×S, padded with PAD.
            target: int64, B×T, from BEGIN; None: only encode.
            memory: the encoded ``source``, B×S×width; then only the last position's logits are computed.

        Returns:
            Without ``target`` the memory, B×S×width; with it B×T×vocabulary logits; with ``memory`` B×vocabulary.
        """
        padding = source == PAD
        encoded = self.encoder(self._embedded(source), src_key_padding_mask=padding) if memory is None else memory
        if target is None:
            return encoded
        length = target.shape[1]
        # padding comes after every subword, where the causal mask hides it already
        causal = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
        hidden = self.decoder(
            self._embedded(target), encoded, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=padding
        )
        return F.linear(hidden if memory is None else hidden[:, -1], self.embedding.weight)

    def _embedded(self, numbers: Tensor) -> Tensor:
        embedded = self.embedding(numbers) * math.sqrt(self.width)
        result: Tensor = self.dropout(embedded + sinusoids(numbers.shape[1], self.width, numbers.device))
        return result


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Positional encoding, float32 length×width: sines of geometrically falling frequencies, then cosines."""
    places = torch.arange(length, device=device, dtype=torch.float32)
    frequencies = 10_000 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angles = places[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), 1)


def _build(size: Size, prenorm: bool, activation: Activation, vocabulary: int) -> nn.Module:
    sentence = torch.full((2, 3), BEGIN)
    return activation.swap(Transformer(vocabulary, size, prenorm), sentence, sentence[:, :2])


def _entry(name: str, prenorm: bool) -> Model:
    size = SIZES[name]
    summary = (
        f"Transformer, {size.layers} + {size.layers} layers of width {size.width} and {size.hidden}, norms "
        f"{'before each part' if prenorm else 'after each sum'}"
    )
    return Model(summary, functools.partial(_build, size, prenorm), task="translation", own_init=True)


ENTRIES = {
    f"transformer_{name}{'_prenorm' if prenorm else ''}": _entry(name, prenorm)
    for name in SIZES
    for prenorm in (False, True)
}
