"""``--dry-run``: print the trials of an experiment, and what they are estimated to cost."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevel_lab.execution.estimate import PATIENCE, Estimate, estimate_request
from bevel_lab.execution.run import Request
from bevel_lab.experiment.events import duration
from bevel_lab.runtime.distributed import is_rank_zero, world_size
from bevel_lab.runtime.terminal import filled, room, table

HEAD = ("activation", "data set", "model", "trials", "a step", "a trial", "memory")


def dry_run(experiment: Path | Mapping[str, Any], flags: Mapping[str, Any]) -> int:
    """Print an experiment's trials and their estimated cost; train and write nothing. Return the exit code."""
    if is_rank_zero():
        request = Request.of(experiment, flags)
        found = estimate_request(request, lambda event: print(event, file=sys.stderr))
        title = request.options["title"] or str(request.folder)
        print("\n".join([title, "", *table(HEAD, _rows(found), 3, room()), ""]))
        print("\n".join(filled(sentence, room()) for sentence in _sentences(found, request.options["ray"])))
    return 0


def _rows(found: Estimate) -> list[tuple[str, ...]]:
    rows = []
    for row in found.rows:
        about, cost = "" if row.timed else "≈ ", row.cost
        cells = (f"{cost.step_seconds * 1e3:.1f} ms", duration(cost.seconds), _mib(cost.memory))
        rows.append((row.label, row.trial.dataset, row.trial.model, str(found.runs), *(about + c for c in cells)))
    return rows


def _sentences(found: Estimate, ray: str) -> list[str]:
    asked, at_once = found.experiment, found.at_once
    return [
        *([f"tuning: {asked.tuning}."] if asked.tuning else []),
        f"{found.trials} trials, about {duration(found.seconds / at_once)} with {at_once} at a time "
        f"({duration(found.seconds)} of one), about {_mib(found.memory * at_once)} beside the data.{_elsewhere(ray)}",
        *_what_was_timed(found),
        "Only steps of training and of translating were timed; other evaluation is taken for a forward pass a sample, "
        "so COCO's metrics come on top. Nothing was run.",
    ]


def _what_was_timed(found: Estimate) -> list[str]:
    """Say what is extrapolated, if anything is."""
    said, reference = [], found.experiment.reference
    if len(found.experiment.cells) > 1:
        said.append(
            f"≈: not timed; {reference} was timed in every cell, and an arm costs there what it costs beside it in the "
            "first cell."
        )
    if late := found.taken_for_reference:
        said.append(f"After {PATIENCE:.0f} s no more were timed: {', '.join(late)} are taken for {reference}.")
    return said


def _elsewhere(ray: str) -> str:
    """Return a sentence that says how the experiment would run elsewhere, or ""."""
    if world_size() > 1:
        return f" That is of one process; the {world_size()} of torchrun share each trial."
    if ray:
        return " That is of this machine; the cluster runs as many at a time as it can."
    return ""


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
