"""The Transformer (Vaswani et al. 2017) for translation, from torch's encoder and decoder layers.

``transformer_base`` is the paper's, with norms after the residual sums. ``…_prenorm`` has them before each part, and
another one at the end of encoder and decoder. Source, target and output share one embedding; positions are sinusoids.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

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


KeysValues = tuple[Tensor, Tensor]
"""Keys and values of an attention, each rows×heads×positions×width of a head."""


class State(NamedTuple):
    """What a decoder remembers of N sentences, each with K hypotheses of T subwords.

    A sentence's hypotheses share the encoder's result.

    Attributes:
        seen: bool, N×1×1×S: True at the source's subwords, False at its padding.
        memory: for each layer the keys and values of the encoder's result, N rows, S positions.
        past: for each layer the keys and values of the layer's own attention, N·K rows, T positions.
    """

    seen: Tensor
    memory: tuple[KeysValues, ...]
    past: tuple[KeysValues, ...]

    def select(self, hypotheses: Tensor, sentences: Tensor | None = None) -> State:
        """Keep some rows, in a new order.

        Args:
            hypotheses: int64: numbers of rows of ``past``, as many for each sentence that is kept.
            sentences: int64: numbers of rows of ``seen`` and ``memory``; None: all of them.
        """
        past = tuple((keys[hypotheses], values[hypotheses]) for keys, values in self.past)
        if sentences is None:
            return State(self.seen, self.memory, past)
        memory = tuple((keys[sentences], values[sentences]) for keys, values in self.memory)
        return State(self.seen[sentences], memory, past)


class DecoderLayer(nn.TransformerDecoderLayer):
    """Torch's decoder layer, which can also read one subword given the keys and values of those before it."""

    def forward(
        self,
        tgt: Tensor,
        memory: Any,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        past: KeysValues | None = None,
    ) -> Any:
        """Compute torch's layer, or one step of it; the feed-forward is one call, so that a swap finds it in both.

        Args:
            tgt: B×T×width; with ``past`` N·K×1×width.
            memory: B×S×width; with ``past`` (seen, keys, values) of :class:`State`.
            past: keys and values of the subwords before; then the masks have no meaning.
            tgt_mask, ..., memory_is_causal: as torch's layer has them.

        Returns:
            The layer's result; with ``past`` also the keys and values with one position more.
        """
        inputs = self.norm1(tgt) if self.norm_first else tgt
        if past is None:
            found = self._sa_block(inputs, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        else:
            found, past = _attend_to_past(self.self_attn, inputs, past)
        hidden = self._added(tgt, found, self.norm1)
        inputs = self.norm2(hidden) if self.norm_first else hidden
        if past is None:
            found = self._mha_block(inputs, memory, memory_mask, memory_key_padding_mask, memory_is_causal)
        else:
            found = _attend_to_memory(self.multihead_attn, inputs, *memory)
        hidden = self._added(hidden, found, self.norm2)
        hidden = self._added(hidden, self._ff_block(self.norm3(hidden) if self.norm_first else hidden), self.norm3)
        return hidden if past is None else (hidden, past)

    def _added(self, before: Tensor, more: Tensor, norm: nn.Module) -> Tensor:
        result: Tensor = before + more if self.norm_first else norm(before + more)
        return result

    def remember(self, encoded: Tensor) -> KeysValues:
        """Keys and values of the encoder's result, N×S×width."""
        attention = self.multihead_attn
        keys, values = _projected(attention, encoded, first=encoded.shape[2]).chunk(2, 2)
        return _by_head(attention, keys), _by_head(attention, values)


def _attend_to_past(attention: nn.MultiheadAttention, x: Tensor, past: KeysValues) -> tuple[Tensor, KeysValues]:
    """The result for one subword, B×1×width, and the keys and values with those of this subword."""
    query, key, value = (_by_head(attention, part) for part in _projected(attention, x).chunk(3, 2))
    past = torch.cat((past[0], key), 2), torch.cat((past[1], value), 2)
    return _attended(attention, query, *past), past


def _attend_to_memory(
    attention: nn.MultiheadAttention, x: Tensor, seen: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """The result for N·K×1×width; the K hypotheses of a sentence are queries of one attention."""
    inputs = x.reshape(len(keys), -1, x.shape[2])
    query = _by_head(attention, _projected(attention, inputs, end=x.shape[2]))
    return _attended(attention, query, keys, values, seen).reshape(x.shape)


def _projected(attention: nn.MultiheadAttention, x: Tensor, first: int = 0, end: int | None = None) -> Tensor:
    """Rows ``first`` to ``end`` of the map to queries, keys and values."""
    return F.linear(x, attention.in_proj_weight[first:end], attention.in_proj_bias[first:end])


def _by_head(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Split B×T×width into B×heads×T×width of a head."""
    return x.reshape(*x.shape[:2], attention.num_heads, -1).transpose(1, 2)


def _attended(
    attention: nn.MultiheadAttention, query: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None
) -> Tensor:
    """The attention's result, B×T×width, of query, keys and values by head."""
    found = F.scaled_dot_product_attention(query, keys, values, attn_mask=seen)
    result: Tensor = attention.out_proj(found.transpose(1, 2).flatten(2))
    return result


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
        decoder = DecoderLayer(size.width, size.heads, size.hidden, **options)
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

    def forward(
        self, source: Tensor | None = None, target: Tensor | None = None, state: State | None = None
    ) -> Tensor | State | tuple[Tensor, State]:
        """Encode, decode or both, in one method: data-parallel wrappers forward only this one.

        Args:
            source: int64, B×S, padded with PAD.
            target: int64, B×T, from BEGIN; with ``state`` the next subword of every hypothesis, int64, B×1.
            state: what the decoder remembers; ``source`` is in it.

        Returns:
            Of ``source`` the state before the first subword; of ``source`` and ``target`` the logits, B×T×vocabulary;
            of ``target`` and ``state`` the logits of the subword after it, B×vocabulary, and the state after it.
        """
        if state is not None:
            assert target is not None
            return self._step(target, state)
        assert source is not None
        padding = source == PAD
        encoded = self.encoder(self._embedded(source), src_key_padding_mask=padding)
        if target is None:
            memory = tuple(layer.remember(encoded) for layer in self.decoder.layers)
            past = tuple((keys[:, :, :0], values[:, :, :0]) for keys, values in memory)
            return State(~padding[:, None, None], memory, past)
        length = target.shape[1]
        # padding comes after every subword, where the causal mask hides it already
        causal = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
        hidden = self.decoder(
            self._embedded(target), encoded, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=padding
        )
        return F.linear(hidden, self.embedding.weight)

    def _step(self, subword: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one subword of every hypothesis."""
        hidden = self._embedded(subword, state.past[0][0].shape[2])
        past = []
        for layer, memory, before in zip(self.decoder.layers, state.memory, state.past, strict=True):
            hidden, after = layer(hidden, (state.seen, *memory), past=before)
            past.append(after)
        if self.decoder.norm is not None:
            hidden = self.decoder.norm(hidden)
        return F.linear(hidden[:, 0], self.embedding.weight), State(state.seen, state.memory, tuple(past))

    def _embedded(self, numbers: Tensor, first: int = 0) -> Tensor:
        """Embed subwords, the first of which is number ``first`` of its sentence."""
        embedded = self.embedding(numbers) * math.sqrt(self.width)
        positions = sinusoids(first + numbers.shape[1], self.width, numbers.device)[first:]
        result: Tensor = self.dropout(embedded + positions)
        return result


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Positional encoding, float32 length×width: sines of geometrically falling frequencies, then cosines."""
    places = torch.arange(length, device=device, dtype=torch.float32)
    frequencies = 10_000 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angles = places[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), 1)


def build(size: Size, prenorm: bool, activation: Activation, vocabulary: int) -> nn.Module:
    """Build a transformer with the activation in place of its ReLUs."""
    sentence = torch.full((2, 3), BEGIN)
    return activation.swap(Transformer(vocabulary, size, prenorm), sentence, sentence[:, :2])


def _entry(name: str, prenorm: bool) -> Model:
    size = SIZES[name]
    summary = (
        f"Transformer, {size.layers} + {size.layers} layers of width {size.width} and {size.hidden}, norms "
        f"{'before each part' if prenorm else 'after each sum'}"
    )
    return Model(summary, functools.partial(build, size, prenorm), task="translation", own_init=True)


ENTRIES = {
    f"transformer_{name}{'_prenorm' if prenorm else ''}": _entry(name, prenorm)
    for name in SIZES
    for prenorm in (False, True)
}
