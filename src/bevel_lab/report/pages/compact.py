"""Records that are small enough to commit: all that a verdict needs, without the curves.

A compact file is a ledger (one record a line), so that whatever reads ledgers reads it. It keeps the last epoch, which
tells whether a run diverged, of the epochs before what is drawn of them, to four digits, and no sites. It keeps
pictures that consist of words (a translation takes some hundred bytes, an image up to 25 kB). All other fields stay as
they were. Older files have the last epoch only. Predicted classes lie beside the file as they do beside a ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bevel_lab.experiment.predictions import Predictions
from bevel_lab.experiment.record import Epoch, Record
from bevel_lab.report.figures.samples import is_text


def compact(record: Record) -> Record:
    early = [
        Epoch(train=_drawn(epoch.train, "loss"), validation=_drawn(epoch.validation, record.metric), seconds=0.0)
        for epoch in record.epochs[:-1]
    ]
    pictures = list(filter(is_text, record.pictures))
    return replace(record, epochs=[*early, *record.epochs[-1:]], sites=[], pictures=pictures)


def _drawn(metrics: Mapping[str, float], key: str) -> dict[str, float]:
    return {key: float(f"{metrics[key]:.4g}")} if key in metrics else {}


def alike(one: Record, other: Record) -> bool:
    """Whether two records, whole or compact, are of one result."""
    ours, theirs = (replace(compact(record), epochs=record.epochs[-1:]).result for record in (one, other))
    return ours == theirs


def write(records: Iterable[Record], path: Path, classes: Mapping[str, Sequence[int]] | None = None) -> None:
    """Write compact records, sorted by cell, label and seed, so that the same records make the same file.

    Args:
        records: whole or compact.
        path: the file.
        classes: predicted classes by digest, for the side files beside it.
    """
    ordered = sorted(records, key=lambda r: (r.trial.cell, r.label, r.trial.seed, r.trial.id))
    path.parent.mkdir(parents=True, exist_ok=True)
    for predicted in (classes or {}).values():
        Predictions.of(predicted).write(path.parent)
    path.write_text(
        "".join(compact(r).to_json() + "\n" for r in ordered), encoding="utf-8", errors="backslashreplace", newline="\n"
    )
