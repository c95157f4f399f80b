"""Records that are small enough to commit: all that a verdict needs, without the curves.

A compact file is a ledger (one record a line), so that whatever reads ledgers reads it. It keeps only the last epoch,
which tells whether a run diverged, and no sites. It keeps pictures that consist of words (a translation takes some
hundred bytes, an image up to 25 kB). All other fields stay as they were.
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
    """Write compact records, sorted by cell, label and seed, so that the same records make the same file."""
    ordered = sorted(records, key=lambda r: (r.trial.cell, r.label, r.trial.seed, r.trial.id))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(compact(r).to_json() + "\n" for r in ordered), encoding="utf-8", errors="backslashreplace", newline="\n"
    )
