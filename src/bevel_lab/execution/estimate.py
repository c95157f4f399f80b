"""``--dry-run``: print the trials, and an estimate of their time and memory from a few timed steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevel_lab.data.invalid import pass_on_data_notes
from bevel_lab.datasets import check_present
from bevel_lab.execution.ray_cluster import Ray
from bevel_lab.execution.run import Request
from bevel_lab.execution.workers import Workers
from bevel_lab.experiment.events import duration
from bevel_lab.experiment.experiment import Cell
from bevel_lab.runtime.distributed import is_rank_zero, world_size
from bevel_lab.runtime.terminal import filled, room, table
from bevel_lab.training.preflight import SLOW_STEP, Probe, probe

PATIENCE = 45.0
"""Seconds after which no further arm is timed; the reference is timed in every cell, however long it takes."""
Costs = dict[tuple[Cell, str], Probe]
"""(cell, label) → cost."""


def estimate(experiment: Path | Mapping[str, Any], flags: Mapping[str, Any]) -> int:
    """Print an experiment's trials and their estimated cost; train and write nothing. Return the exit code."""
    if is_rank_zero():
        with pass_on_data_notes(_say):
            _print_estimate(Request.of(experiment, flags))
    return 0


def _say(text: object) -> None:
    print(text, file=sys.stderr)


def _print_estimate(request: Request) -> None:
    asked, ray = request.experiment, request.options["ray"]
    executor = Ray(ray) if ray else Workers(1 if world_size() > 1 else request.options["workers"])
    device, jobs = executor.local_device(asked.device), asked.base_trials()
    at_once = executor.at_once(jobs, device, _say)
    check_present([dataset for dataset, _ in asked.cells], request.source)  # before minutes are spent on other cells
    for text in request.remarks:
        _say(text)
    timed = _timed(request, device)
    title = request.options["title"] or str(request.folder)
    rows = []
    tried = asked.tuning.trials if asked.tuning else 0
    runs = asked.seeds + tried
    total, memory = 0.0, 0
    for trial, label in jobs:
        cost = timed.get((trial.cell, label)) or _extrapolated(request, timed, trial.cell, label)
        about = "" if (trial.cell, label) in timed else "≈ "
        length = asked.tuning.length if asked.tuning else 1.0
        total, memory = total + (asked.seeds + tried * length) * cost.seconds, max(memory, cost.memory)
        step = f"{about}{cost.step_seconds * 1e3:.1f} ms"
        row = (trial.dataset, trial.model, str(runs), step, about + duration(cost.seconds), about + _mib(cost.memory))
        rows.append((label, *row))
    head = ("activation", "data set", "model", "trials", "a step", "a trial", "memory")
    print("\n".join([title, "", *table(head, rows, 3, room()), ""]))
    said = [f"tuning: {asked.tuning}."] if asked.tuning else []
    said += [
        f"{runs * len(jobs)} trials, about {duration(total / at_once)} with {at_once} at a time "
        f"({duration(total)} of one), about {_mib(memory * at_once)} beside the data.{_elsewhere(ray)}",
        *_what_was_timed(request, timed),
        "Only steps of training and of translating were timed; other evaluation is taken for a forward pass a sample, "
        "so COCO's metrics come on top. Nothing was run.",
    ]
    print("\n".join(filled(sentence, room()) for sentence in said))


def _timed(request: Request, device: str) -> Costs:
    """Time the reference in every cell, then the other arms in the first until :data:`PATIENCE` ends."""
    asked, found = request.experiment, Costs()
    jobs = asked.base_trials()
    references = [(trial, label) for trial, label in jobs if label == asked.reference]
    others = [(trial, label) for trial, label in jobs if trial.cell == asked.cells[0] and label != asked.reference]
    began = time.monotonic()
    for trial, label in [*references, *others]:
        if label != asked.reference and time.monotonic() - began > PATIENCE:
            break
        _say(f"timing {label} in {trial.model} on {trial.dataset} …")
        cost = probe(trial, source=request.source, device=device)
        if not found and cost.step_seconds < SLOW_STEP:  # the process's first steps need memory that others reuse
            cost = probe(trial, source=request.source, device=device)
        found[trial.cell, label] = cost
    return found


def _extrapolated(request: Request, timed: Costs, cell: Cell, label: str) -> Probe:
    """The cost of an arm from the reference's in its cell, by the ratio of both in the first cell if it was timed."""
    first, reference = request.experiment.cells[0], request.experiment.reference
    base, there = timed[cell, reference], timed[first, reference]
    ratio = timed.get((first, label), there)
    return Probe(
        seconds=base.seconds * ratio.seconds / there.seconds,
        step_seconds=base.step_seconds * ratio.step_seconds / there.step_seconds,
        memory=round(base.memory * ratio.memory / there.memory) if there.memory else base.memory,
    )


def _what_was_timed(request: Request, timed: Costs) -> list[str]:
    """Say what is extrapolated, if anything is."""
    asked = request.experiment
    late = [one.label for one in asked.arms if (asked.cells[0], one.label) not in timed]
    said = []
    if len(asked.cells) > 1:
        said.append(
            f"≈: not timed; {asked.reference} was timed in every cell, and an arm costs there what it costs beside "
            "it in the first cell."
        )
    if late:
        said.append(f"After {PATIENCE:.0f} s no more were timed: {', '.join(late)} are taken for {asked.reference}.")
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
