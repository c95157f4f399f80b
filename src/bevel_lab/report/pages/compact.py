"""Records small enough to commit: all that a verdict needs, without the curves.

A compact file is a ledger like any other (one record a line), so that whatever reads a ledger reads it too. Of the
epochs only the last is kept, which tells whether a run diverged, and of the sites none. Pictures stay where they are
words only (a translation is some hundred bytes, an image up to 25 kB); trial, label, scores, times, memory, facts of
the data, versions and commit stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bevel_lab.experiment.record import Record
from bevel_lab.report.figures.samples import is_text


def compact(record: Record) -> Record:
    return replace(record, epochs=record.epochs[-1:], sites=[], pictures=list(filter(is_text, record.pictures)))


def write(records: Iterable[Record], path: Path) -> None:
    """Write the records, compact and in the order of their cells, labels and seeds: the same records, the same file."""
    ordered = sorted(records, key=lambda r: (r.trial.cell, r.label, r.trial.seed, r.trial.id))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(compact(r).to_json() + "\n" for r in ordered), encoding="utf-8", newline="\n")
