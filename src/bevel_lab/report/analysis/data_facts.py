"""What exactly was trained on: the facts that tasks write into records, for the provenance of a report."""

from __future__ import annotations

from collections.abc import Sequence

from bevel_lab.experiment.record import Record


def facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """(data set, its facts), by name. A fact that is not the same in all records is given with the arms of each value:
    two digests mean that the data changed between the runs."""
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for record in sorted(records, key=lambda r: (r.trial.cell, r.label, r.trial.seed)):
        for key, value in record.data.items():
            holders = found.setdefault(record.trial.dataset, {}).setdefault(key, {}).setdefault(_text(value), [])
            holders.append(record.label)
    return [
        (dataset, "; ".join(f"{key.replace('_', ' ')} {_values(by_value)}" for key, by_value in rows.items()))
        for dataset, rows in found.items()
    ]


def changed(records: Sequence[Record]) -> list[str]:
    """Sentences where records that are compared with one another had not the same data, or not the same weights."""
    found = []
    for key, what in (
        ("digest", "see the same data: its digest"),
        ("weights_digest", "start from the same weights: the file's digest"),
    ):
        digests: dict[str, list[str]] = {}
        for record in sorted(records, key=lambda r: (r.label, r.trial.seed)):
            if key in record.data:
                digests.setdefault(_text(record.data[key]), []).append(record.label)
        if len(digests) > 1:
            found.append(f"The runs did not {what} is {_values(digests)}.")
    return found


def _text(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _values(by_value: dict[str, list[str]]) -> str:
    if len(by_value) == 1:
        return next(iter(by_value))
    return " and ".join(f"{value} ({', '.join(dict.fromkeys(who))})" for value, who in sorted(by_value.items()))
