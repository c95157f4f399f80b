"""Pairs of sentences in memory."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bevel.errors import InvalidValue
from bevel_lab.data.facts import digest, facts
from bevel_lab.data.overlap import Shared, same

_SHOWN = 40
"""Characters of a sentence that a message shows."""


@dataclass(frozen=True, eq=False)
class SentencePairs:
    """Sentences of one part and their translations: N texts each, in the order of the files.

    Raises:
        InvalidValue: if their numbers differ, or there is none.
    """

    source: Sequence[str]
    target: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target) or not self.source:
            raise InvalidValue(
                f"a part must have as many sentences as translations, at least one; got {len(self.source)} and "
                f"{len(self.target)}."
            )

    def __len__(self) -> int:
        return len(self.source)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every sentence with its translation."""
        return zip(self.source, self.target, strict=True)


@dataclass(eq=False)
class ParallelText:
    """A translation data set.

    Attributes:
        train, valid, test: its own three parts.
        languages: (source, target), as the suffixes of the files name them.
        note: what a reader of the results must know of the data beside its name, or empty.
        skipped: one sentence for every pair that was skipped as invalid.
        facts: counts of pairs, languages, a digest of all texts, the note, what was skipped.
    """

    train: SentencePairs
    valid: SentencePairs
    test: SentencePairs
    languages: tuple[str, str]
    note: str = ""
    skipped: Sequence[str] = ()

    def __post_init__(self) -> None:
        parts = {"train": self.train, "validation": self.valid, "test": self.test}
        texts = (text for part in parts.values() for text in (*part.source, "", *part.target, ""))
        self.facts = facts(
            {name: len(part) for name, part in parts.items()},
            digest(f"{text}\n".encode() for text in texts),
            languages=" to ".join(self.languages),
            note=self.note,
            skipped=self.skipped,
        )

    def shared(self) -> Shared:
        """Test pairs that are training or validation pairs; see :mod:`bevel_lab.data.overlap`."""
        seen = itertools.chain(self.train.pairs(), self.valid.pairs())
        names = [repr(textwrap.shorten(text, _SHOWN, placeholder=" …")) for text in self.test.source]
        return [(names[j], names[j]) for j, _ in same(seen, self.test.pairs())]
