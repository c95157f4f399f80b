"""``--dry-run``: print the trials, and an estimate of their time and memory from a few timed steps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bevel_lab.data.invalid import pass_on_data_notes
from bevel_lab.execution.ray_cluster import Ray
from bevel_lab.execution.run import Request
from bevel_lab.execution.workers import Workers
from bevel_lab.experiment.events import duration
from bevel_lab.runtime.distributed import is_rank_zero, world_size
from bevel_lab.training.preflight import probe


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
    title = request.options["title"] or str(request.folder)
    table = Table("data set", "model", "activation", "trials", "a step", "a trial", "memory", title=title)
    runs = asked.seeds + (asked.tuning.trials if asked.tuning else 0)
    total, memory = 0.0, 0
    for trial, label in track(jobs, "timing a few steps of every arm", console=Console(stderr=True), transient=True):
        cost = probe(trial, source=request.source, device=device)
        total, memory = total + runs * cost.seconds, max(memory, cost.memory)
        row = (trial.dataset, trial.model, label, str(runs), f"{cost.step_seconds * 1e3:.1f} ms")
        table.add_row(*row, duration(cost.seconds), _mib(cost.memory))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if asked.tuning:
        print(f"tuning: {asked.tuning}.")
    print(
        f"{runs * len(jobs)} trials, about {duration(total / at_once)} with {at_once} at a time "
        f"({duration(total)} of one), about {_mib(memory * at_once)} beside the data.{_elsewhere(ray)}\n"
        "Only steps of training and of translating were timed; other evaluation is taken for a forward pass a sample, "
        "so COCO's metrics come on top. Nothing was run."
    )


def _elsewhere(ray: str) -> str:
    """Return a sentence that says how the experiment would run elsewhere, or ""."""
    if world_size() > 1:
        return f" That is of one process; the {world_size()} of torchrun share each trial."
    if ray:
        return " That is of this machine; the cluster runs as many at a time as it can."
    return ""


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
