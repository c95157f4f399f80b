"""What exactly a data set is, for the record of a trial: counts, a digest, notes, and what was skipped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Facts = dict[str, int | str]

NAMED = 5
"""How many skipped samples a record and a message name."""


def facts(
    counts: Mapping[str, int], digest: str, *, note: str = "", skipped: Sequence[str] = (), **more: int | str
) -> Facts:
    """The facts of a data set.

    Args:
        counts: number of samples by part; ``"test"`` is one of them.
        digest: of the content: two data sets of one name with different files differ here.
        note: what a reader of the results must know beside the data set's name.
        skipped: one sentence for every sample that was skipped as invalid.
        **more: further facts.

    Returns:
        A dict for ``Record.data``, without empty entries.

    Example:
        >>> facts({"train": 2, "test": 1}, digest([b"0", b"1", b"2"]), note="digits", classes=3)
        {'train': 2, 'test': 1, 'digest': 'bf6aaaab7c143ca1', 'classes': 3, 'note': 'digits'}
    """
    found: Facts = {**counts, "digest": digest, **more}
    if note:
        found["note"] = note
    if skipped:
        found["skipped"] = summarize_skipped(skipped)
    return found


def digest(chunks: Iterable[Any], length: int = 16) -> str:
    """The first ``length`` hex digits of the SHA-256 of bytes-like ``chunks``, one after another."""
    total = hashlib.sha256()
    for chunk in chunks:
        total.update(chunk)
    return total.hexdigest()[:length]


def summarize_skipped(skipped: Sequence[str]) -> str:
    """How many samples were skipped, and the first :data:`NAMED` of them.

    Example:
        >>> summarize_skipped(["a.png is empty", "b.png is empty"])
        '2: a.png is empty; b.png is empty'
    """
    more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return f"{len(skipped)}: {'; '.join(skipped[:NAMED])}{more}"
