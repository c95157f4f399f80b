"""``bevel run --dry-run``: the grid, and an estimate of time and memory from a few timed steps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bevel_lab.cli import _settings
from bevel_lab.cli._execute import local, workers
from bevel_lab.data.invalid import print_data_notes
from bevel_lab.data.source import Source
from bevel_lab.execution.progress import duration
from bevel_lab.runtime.distributed import is_rank_zero, world_size


def estimate(options: dict[str, Any]) -> int:
    """Print the grid of ``options`` and what it would cost; nothing is trained to an end or written."""
    with print_data_notes():
        return _estimate(options)


def _estimate(options: dict[str, Any]) -> int:
    from bevel_lab.training.preflight import probe

    if not is_rank_zero():
        return 0
    asked = _settings.resolve(options, 1)
    source = Source(Path(options["data_root"]), options["download"], options["skip_invalid"])
    device = local(asked.device, options["ray"])
    share = workers(options, asked)
    table = Table("data set", "model", "activation", "trials", "a step", "a trial", "memory", title=_title(options))
    runs = asked.seeds + (asked.tuning.trials if asked.tuning else 0)
    total, memory = 0.0, 0
    jobs = asked.bases()
    for trial, label in track(jobs, "timing a few steps of every arm", console=Console(stderr=True), transient=True):
        cost = probe(trial, source=source, device=device)
        total, memory = total + runs * cost.seconds, max(memory, cost.memory)
        row = (trial.dataset, trial.model, label, str(runs), f"{cost.step_seconds * 1e3:.1f} ms")
        table.add_row(*row, duration(cost.seconds), _mib(cost.memory))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    if asked.tuning:
        print(f"tuning: {asked.tuning}.")
    print(
        f"{runs * len(jobs)} trials, about {duration(total / share)} with {share} at a time "
        f"({duration(total)} of one), about {_mib(memory * share)} beside the data.{_way(options)}\n"
        "Only steps were timed; evaluation is taken for a forward pass a sample, so beam search and COCO's metrics "
        "come on top. Nothing was run."
    )
    return 0


def _way(options: dict[str, Any]) -> str:
    """How the experiment would run otherwise than it was timed."""
    if world_size() > 1:
        return f" That is of one process; the {world_size()} of torchrun share each trial."
    if options["ray"]:
        return " That is of this machine; the cluster runs as many at a time as it can."
    return ""


def _title(options: dict[str, Any]) -> str:
    return options["title"] or options["out"] or "experiment"


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
