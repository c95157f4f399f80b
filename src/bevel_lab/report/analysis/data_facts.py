"""Facts about the data: what tasks write into records, for the provenance of a report."""

from __future__ import annotations

from collections.abc import Sequence

from bevel_lab.experiment.record import Record


def facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return (data set, its facts) by name. If records differ in a fact, each value names its arms: two digests mean
    that the data changed between the runs."""
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for record in sorted(records, key=lambda r: (r.trial.cell, r.label, r.trial.seed)):
        for key, value in record.data.items():
            found.setdefault(record.trial.dataset, {}).setdefault(key, []).append((_text(value), record.label))
    return [
        (dataset, "; ".join(f"{key.replace('_', ' ')} {by_value(pairs)}" for key, pairs in rows.items()))
        for dataset, rows in found.items()
    ]


def changed(records: Sequence[Record]) -> list[str]:
    """Return a sentence for data, and one for initial weights, that differ between records that are compared."""
    found = []
    for key, what in (
        ("digest", "see the same data: its digest"),
        ("weights_digest", "start from the same weights: the file's digest"),
    ):
        digests = [(_text(record.data[key]), record.label) for record in records if key in record.data]
        if len({digest for digest, _ in digests}) > 1:
            found.append(f"The runs did not {what} is {by_value(digests)}.")
    return found


def by_value(pairs: Sequence[tuple[str, str]]) -> str:
    """Join pairs of (value, arm): the one value, or every value with its arms: ``0.05 (relu) and 0.1 (gelu, sau)``."""
    holders: dict[str, set[str]] = {}
    for value, label in pairs:
        holders.setdefault(value, set()).add(label)
    if len(holders) == 1:
        return next(iter(holders))
    return " and ".join(f"{value} ({', '.join(sorted(who))})" for value, who in sorted(holders.items()))


def _text(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
