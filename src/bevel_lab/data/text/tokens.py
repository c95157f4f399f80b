"""Subwords: byte-pair encoding learned from the training part, one vocabulary for both languages.

Bytes are the alphabet, so every text can be encoded and decodes to itself; no word is unknown.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bevel_lab.data.facts import digest
from bevel_lab.data.text.parallel import ParallelText, SentencePairs
from bevel_lab.errors import optional_library
from bevel_lab.runtime.rng import SHARED, generator

PAD, BEGIN, END = 0, 1, 2
"""Padding, and the marks at the beginning and the end of a sentence."""
MIN_SIZE, MAX_SIZE = 1_000, 37_000
"""Sizes of the smallest and the largest vocabulary; the largest is that of Vaswani et al. (2017) for WMT14."""
PAIRS_PER_SUBWORD = 4
"""Training pairs for each subword between these two sizes; with fewer, rare subwords would hardly ever be seen."""
_CHUNK = 10_000


class Tokenizer:
    """A byte-pair encoding learned from texts; equal texts in equal order give an equal vocabulary.

    Args:
        texts: sentences of both languages.
        size: most subwords, the 256 bytes and 3 marks among them.

    Raises:
        LabError: if the library ``tokenizers`` is missing.
    """

    def __init__(self, texts: Iterable[str], size: int) -> None:
        # a trial uses the threads it was given; the library would use all
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with optional_library("translation needs tokenizers"):
            import tokenizers as lib
        self._model = lib.Tokenizer(lib.models.BPE())
        self._model.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=True)
        self._model.decoder = lib.decoders.ByteLevel()
        trainer = lib.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=sorted(lib.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        self._model.train_from_iterator(texts, trainer)
        self._model.encode_special_tokens = True  # a sentence may contain a mark's name as text

    def __len__(self) -> int:
        return int(self._model.get_vocab_size())

    @property
    def digest(self) -> str:
        """Sixteen hex digits of the SHA-256 of the vocabulary."""
        return digest([self._model.to_str().encode()])

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """The subwords of every text."""
        chunks = (list(texts[first : first + _CHUNK]) for first in range(0, len(texts), _CHUNK))
        found = (text for chunk in chunks for text in self._model.encode_batch(chunk, add_special_tokens=False))
        pieces = [torch.tensor(text.ids, dtype=torch.int32) for text in found]
        return EncodedTexts(torch.cat(pieces), torch.tensor([len(piece) for piece in pieces]).cumsum(0))

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of subwords, without marks; bytes that are no character become U+FFFD."""
        return str(self._model.decode(list(numbers), skip_special_tokens=True)).strip()


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """N sentences as subwords.

    Attributes:
        numbers: int32: the subwords of all sentences, one after another.
        ends: int64, N: where each sentence ends.
    """

    numbers: Tensor
    ends: Tensor

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Tensor:
        """The subwords of one sentence, int64."""
        first = int(self.ends[index - 1]) if index else 0
        return self.numbers[first : int(self.ends[index])].long()

    @property
    def lengths(self) -> Tensor:
        """Number of subwords of every sentence: int64, N."""
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    def padded(self, index: Sequence[int], *, begin: bool) -> Tensor:
        """The chosen sentences, int64 B×T, each with its END and, if ``begin``, its BEGIN, then PAD."""
        before = torch.tensor([BEGIN] if begin else [], dtype=torch.int64)
        rows = [torch.cat((before, self[i], torch.tensor([END]))) for i in index]
        return pad_sequence(rows, batch_first=True, padding_value=PAD)


@dataclass(frozen=True, eq=False)
class EncodedPairs:
    """Sentences and their translations as subwords."""

    source: EncodedTexts
    target: EncodedTexts

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class EncodedCorpus:
    """A data set as subwords, and the tokenizer learned from its training part."""

    tokenizer: Tokenizer
    train: EncodedPairs
    valid: EncodedPairs
    test: EncodedPairs


@functools.lru_cache(maxsize=1)
def encode_corpus(data: ParallelText, limit: int) -> EncodedCorpus:
    """Learn a tokenizer and encode all parts; cached, because a worker runs many trials on one data set.

    Args:
        data: the texts.
        limit: number of training pairs to draw, the same in every trial; 0: all.
    """
    train = data.train
    if 0 < limit < len(train):
        chosen = torch.randperm(len(train), generator=generator(SHARED, "train limit"))[:limit].sort().values.tolist()
        train = SentencePairs([train.source[i] for i in chosen], [train.target[i] for i in chosen])
    size = min(max(MIN_SIZE, len(train) // PAIRS_PER_SUBWORD), MAX_SIZE)
    tokenizer = Tokenizer((*train.source, *train.target), size)
    parts = (train, data.valid, data.test)
    return EncodedCorpus(
        tokenizer, *(EncodedPairs(tokenizer.encode(part.source), tokenizer.encode(part.target)) for part in parts)
    )
