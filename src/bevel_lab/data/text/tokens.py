"""Subwords: byte-pair encoding learnt from the training part, one vocabulary for both languages.

Bytes are the alphabet, so every text has an encoding and comes back from it unchanged; there is no unknown word.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bevel.errors import InvalidValue
from bevel_lab.data.text.parallel import Aligned, ParallelText
from bevel_lab.runtime.rng import SHARED, generator

PAD, BEGIN, END = 0, 1, 2
"""Numbers of the marks that are no subword: filling, and a sentence's beginning and end."""
FEWEST, MOST = 1_000, 37_000
"""Subwords of the smallest and the largest vocabulary; the largest is that of Vaswani et al. (2017) for WMT14."""
PAIRS = 4
"""Training pairs per subword between those two: rarer subwords would hardly ever be seen."""
_CHUNK = 10_000


def _library() -> Any:
    # a trial has the threads it was given; the library would take all there are
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers
    except ImportError as error:
        raise InvalidValue(f"translation needs tokenizers ({error}); pip install 'bevel[tasks]'.") from error
    return tokenizers


class Subwords:
    """A vocabulary, learnt: equal texts in equal order give the same one.

    Args:
        texts: sentences of both languages.
        size: how many subwords it may have, the 256 bytes and 3 marks among them.
    """

    def __init__(self, texts: Iterable[str], size: int) -> None:
        lib = _library()
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
        # a sentence may contain a mark's name as text
        self._model.encode_special_tokens = True

    def __len__(self) -> int:
        return int(self._model.get_vocab_size())

    @property
    def digest(self) -> str:
        """Sixteen hex digits of the SHA-256 of the vocabulary."""
        return hashlib.sha256(self._model.to_str().encode()).hexdigest()[:16]

    def encode(self, texts: Sequence[str]) -> Encoded:
        pieces = [torch.tensor(found, dtype=torch.int32) for found in self._numbers(texts)]
        ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0)
        return Encoded(torch.cat(pieces), ends)

    def _numbers(self, texts: Sequence[str]) -> Iterator[list[int]]:
        for first in range(0, len(texts), _CHUNK):
            chunk = list(texts[first : first + _CHUNK])
            yield from (found.ids for found in self._model.encode_batch(chunk, add_special_tokens=False))

    def decode(self, numbers: Sequence[int]) -> str:
        """The text; marks are left out, and bytes that are no character become U+FFFD."""
        text: str = self._model.decode(list(numbers), skip_special_tokens=True)
        return text.strip()


@dataclass(frozen=True, eq=False)
class Encoded:
    """Sentences in subwords, one after another: int32, and where each ends: int64, N."""

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
        """Subwords of every sentence: int64, N."""
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    def padded(self, index: Sequence[int], *, begin: bool) -> Tensor:
        """The chosen sentences, each with its END (and, with ``begin``, its BEGIN), filled up to the longest: int64."""
        before = torch.tensor([BEGIN] if begin else [], dtype=torch.int64)
        after = torch.tensor([END])
        rows = [torch.cat((before, self[i], after)) for i in index]
        return pad_sequence(rows, batch_first=True, padding_value=PAD)


@dataclass(frozen=True, eq=False)
class EncodedPairs:
    """Sentences and their translations in subwords."""

    source: Encoded
    target: Encoded

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set in subwords that were learnt from what is trained on."""

    subwords: Subwords
    train: EncodedPairs
    valid: EncodedPairs
    test: EncodedPairs


@functools.lru_cache(maxsize=1)
def prepare(data: ParallelText, limit: int) -> Prepared:
    """Learn subwords and encode; kept in memory, since a worker runs many trials on one data set.

    Args:
        data: the texts.
        limit: number of training pairs to draw, the same in every trial; 0: all.
    """
    train = data.train
    if limit and limit < len(train):
        chosen = torch.randperm(len(train), generator=generator(SHARED, "train limit"))[:limit].sort().values.tolist()
        train = Aligned([train.source[i] for i in chosen], [train.target[i] for i in chosen])
    size = min(max(FEWEST, len(train) // PAIRS), MOST)
    subwords = Subwords((*train.source, *train.target), size)
    parts = (
        EncodedPairs(subwords.encode(part.source), subwords.encode(part.target))
        for part in (train, data.valid, data.test)
    )
    return Prepared(subwords, *parts)
