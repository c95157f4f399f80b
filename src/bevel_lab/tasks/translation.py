"""Translation: cross-entropy of the next subword, BLEU of the model's translations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevel_lab.data.text import ParallelText
from bevel_lab.data.text.tokens import BEGIN, PAD, EncodedPairs, encode_corpus
from bevel_lab.experiment.record import Picture
from bevel_lab.experiment.trial import Trial
from bevel_lab.models import Activation, Model
from bevel_lab.tasks import Shard, Task, evenly_spaced, whole_batch
from bevel_lab.tasks._metrics import Bleu
from bevel_lab.tasks._translation_decoding import beam, greedy, limits

EVALUATED_AT_ONCE = 64
"""Pairs in a batch of evaluation, of similar length."""
TIMED_STEPS = (2, 10)
"""Steps of decoding that an estimate times; the difference is the time of a step."""
OVERTIME = 1.25
"""Steps of a beam search for each subword of the true translation: it looks for a better one after the first. A tiny
model takes 1.13 on Multi30k."""
PICTURES = 4
"""Test sentences that a record shows."""
VOCABULARY_WITHOUT_DATA = 1000
Decoder = Callable[[nn.Module, Tensor, Tensor], list[list[int]]]
"""(model, source, longest) → subwords of every translation; see :func:`greedy`."""


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of sentence pairs, or one process's shard of it.

    Attributes:
        source: int64 B×S, each sentence with its END, then PAD up to the longest.
        target: int64 B×(T+1), from BEGIN to END, then PAD.
        weight: divisor of sums over subwords; with it the losses of all shards average to the batch's mean.
    """

    source: Tensor
    target: Tensor
    weight: float


class Translation(Task):
    """Batch into another language; the data set brings its own validation part.

    A batch has the samples that the trainer's order names, padded to its longest sentence. Training does not augment:
    the task ignores ``Trial.augment`` and ``Trial.validation``. Validation decodes greedily, the test by beam search.
    """

    name = "translation"
    data_types = (ParallelText,)
    unsupported = ("mixup", "cutmix", "randaugment")
    metric = "bleu"
    input_shape, input_form = (1, 8), "sentences×subwords"
    data: ParallelText

    def __init__(self, trial: Trial, data: Any, device: torch.device) -> None:
        super().__init__(trial, data, device)
        self.bleu = Bleu(data.languages[1])
        self.pairs = encode_corpus(data, trial.train_limit)
        self.samples, self.validated = len(self.pairs.train), len(self.pairs.valid)
        self.tokenizer = self.pairs.tokenizer
        self.facts = data.facts | {
            "trained_on": self.samples,
            "subwords": len(self.tokenizer),
            "digest": f"{data.facts['digest']}-{self.tokenizer.digest}",
            "bleu_signature": self.bleu.signature,
        }

    def build(self, activation: Activation) -> nn.Module:
        return self.model.build(activation, len(self.tokenizer))

    @classmethod
    def without_data(
        cls, model: Model, activation: Activation, shape: tuple[int, ...]
    ) -> tuple[nn.Module, tuple[Any, ...]]:
        sentences = torch.full(shape, BEGIN)
        return model.build(activation, VOCABULARY_WITHOUT_DATA), (sentences, sentences)

    def batches(self, order: Sequence[Tensor], seed: int, epoch: int, shard: Shard = whole_batch) -> Iterator[Batch]:
        lengths = self.pairs.train.target.lengths + 1  # END is learned too
        for samples in order:
            first, end = shard(len(samples))
            weight = float(lengths[samples].sum()) * (end - first) / len(samples)
            yield self._batch(self.pairs.train, samples[first:end].tolist(), weight)

    def _batch(self, pairs: EncodedPairs, index: Sequence[int], weight: float = 1.0) -> Batch:
        source, target = pairs.source.padded(index, begin=False), pairs.target.padded(index, begin=True)
        return Batch(source.to(self.device), target.to(self.device), weight)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, right = _sums(model, batch, self.trial.label_smoothing)
        return loss / batch.weight, {"token_accuracy": right / batch.weight}

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.pairs.valid, self.data.valid.target, greedy)

    def test(self, model: nn.Module) -> dict[str, float]:
        return self._evaluate(model, self.pairs.test, self.data.test.target, beam)

    def evaluation_seconds(self, model: nn.Module, forward: float) -> tuple[float, float]:
        """Add the decoding of sentences like those of the validation part to the forward passes."""
        steps = 1 + float(self.pairs.valid.target.lengths.float().mean())
        validation, test = super().evaluation_seconds(model, forward)
        source, subword = self._decoding_seconds(model, greedy)
        validation += self.validated * (source + steps * subword)
        source, subword = self._decoding_seconds(model, beam)
        return validation, test + self.tested * (source + OVERTIME * steps * subword)

    def _decoding_seconds(self, model: nn.Module, decode: Decoder) -> tuple[float, float]:
        """Seconds that a sentence of middle length takes for its encoding, and for each step of its decoding."""
        batches = list(_by_length(self.pairs.valid, range(self.validated)))
        source = self.pairs.valid.source.padded(batches[len(batches) // 2], begin=False).to(self.device)
        seconds = []
        for most in (1, *TIMED_STEPS):  # the first call is slower
            began = time.perf_counter()
            decode(model, source, torch.full((len(source),), most, device=self.device))
            seconds.append((time.perf_counter() - began) / len(source))
        few, many = TIMED_STEPS
        step = max(seconds[2] - seconds[1], 0.0) / (many - few)
        return max(seconds[1] - few * step, 0.0), step

    def _evaluate(
        self, model: nn.Module, pairs: EncodedPairs, truth: Sequence[str], decode: Decoder
    ) -> dict[str, float]:
        guesses = self._translate(model, pairs, range(len(pairs)), decode)
        return self._likelihood(model, pairs) | {"bleu": self.bleu(guesses, truth)}

    def pictures(self, model: nn.Module) -> list[Picture]:
        texts, chosen = self.data.test, evenly_spaced(len(self.data.test), PICTURES)
        guesses = self._translate(model, self.pairs.test, chosen, beam)
        return [
            Picture(title=f"test pair {i + 1}", given=texts.source[i], truth=texts.target[i], guess=guess)
            for i, guess in zip(chosen, guesses, strict=True)
        ]

    def _likelihood(self, model: nn.Module, pairs: EncodedPairs) -> dict[str, float]:
        """Mean loss, without label smoothing, and fraction of right guesses, over all subwords given those before."""
        loss = right = 0.0
        for index in _by_length(pairs, range(len(pairs))):
            found = _sums(model, self._batch(pairs, index))
            loss, right = loss + float(found[0]), right + float(found[1])
        total = len(pairs.target.numbers) + len(pairs)
        return {"loss": loss / total, "token_accuracy": right / total}

    def _translate(self, model: nn.Module, pairs: EncodedPairs, index: Sequence[int], decode: Decoder) -> list[str]:
        """The model's translations of the chosen sentences, in their order."""
        found: dict[int, str] = {}
        for some in _by_length(pairs, index):
            source = pairs.source.padded(some, begin=False).to(self.device)
            written = decode(model, source, limits(source))
            found |= zip(some, map(self.tokenizer.decode, written), strict=True)
        return [found[i] for i in index]


def _sums(model: nn.Module, batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Cross-entropy and number of right guesses, summed over the batch's subwords."""
    logits = model(batch.source, batch.target[:, :-1]).float().flatten(0, 1)
    wanted = batch.target[:, 1:].flatten()
    loss = F.cross_entropy(logits, wanted, ignore_index=PAD, label_smoothing=smoothing, reduction="sum")
    right = (logits.detach().argmax(1) == wanted) & (wanted != PAD)
    return loss, right.sum().float()


def _by_length(pairs: EncodedPairs, index: Sequence[int]) -> Iterator[list[int]]:
    """The chosen pairs in batches of similar length, which need little padding."""
    lengths = pairs.source.lengths.tolist()
    ordered = sorted(index, key=lambda i: lengths[i])
    for first in range(0, len(ordered), EVALUATED_AT_ONCE):
        yield ordered[first : first + EVALUATED_AT_ONCE]


ENTRIES = {Translation.name: Translation}
