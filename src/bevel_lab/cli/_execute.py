"""Run an experiment: on this machine, on a Ray cluster, or as one of several processes under torchrun."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevel.errors import InvalidValue
from bevel_lab.cli import _settings
from bevel_lab.data.invalid import SKIPPED_FILE, print_data_notes
from bevel_lab.data.source import Source
from bevel_lab.execution import torchrun
from bevel_lab.execution import workers as grid
from bevel_lab.execution.job import Failure, Setup
from bevel_lab.execution.progress import watching
from bevel_lab.experiment.experiment import Experiment, place
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Job
from bevel_lab.experiment.tuning import search
from bevel_lab.runtime.distributed import ProcessGroup, TorchrunProcessGroup, world_size


@dataclass
class _Way:
    """How jobs are run; :meth:`__call__` tells whether it was interrupted."""

    setup: Setup
    workers: int
    ray: str
    group: ProcessGroup | None

    def __call__(self, jobs: Sequence[Job], ledger: Ledger) -> list[Failure] | None:
        missing = [job for job in jobs if job[0].id not in ledger.records]
        done = len(jobs) - len(missing)
        if done and missing:
            print(f"{done} of {len(jobs)} trials are done already.", file=sys.stderr)
        try:
            with watching(missing, done) as watcher:
                if self.ray:
                    from bevel_lab.execution import ray_cluster

                    return ray_cluster.run(missing, ledger, self.setup, self.ray, watcher)
                if self.group:
                    return torchrun.run(missing, ledger, self.setup, self.group, watcher)
                return grid.run(missing, ledger, self.setup, self.workers, watcher)
        except KeyboardInterrupt:
            done = sum(trial.id in ledger.records for trial, _ in jobs)
            print(f"interrupted: {done} of {len(jobs)} trials are done; the same command goes on.", file=sys.stderr)
            return None


def go(options: dict[str, Any]) -> int:
    """Run what ``options`` (see ``_settings``) ask for, and write the report; returns the exit code."""
    from bevel_lab.runtime.device import as_device

    processes = world_size()
    group = TorchrunProcessGroup(as_device(options["device"].partition(":")[0])) if processes > 1 else None
    if group and options["ray"]:
        raise InvalidValue("--ray and torchrun are two ways to run an experiment; choose one.")
    asked = _settings.resolve(options, processes)
    out = Path(options["out"] or f"runs/{'-'.join(asked.cells[0])}")
    with print_data_notes(out / SKIPPED_FILE):
        return _carry_out(asked, options, out, group)


def _carry_out(asked: Experiment, options: dict[str, Any], out: Path, group: TorchrunProcessGroup | None) -> int:
    source = Source(Path(options["data_root"]), options["download"], options["skip_invalid"])
    device = group.local_device(asked.device) if group else asked.device
    (group or ProcessGroup()).run_once_per_node(lambda: rehearse_all(asked, source, local(device, options["ray"])))
    setup = Setup(dataclasses.replace(source, download=False), device, out / "checkpoints")
    way = _Way(setup, workers(options, asked), options["ray"], group)
    if group and group.rank:
        return torchrun.follow(setup, group)
    with Ledger(out) as ledger:
        found = asked.settle(out)
        if ledger.repaired:
            print(ledger.repaired, file=sys.stderr)
        code, found = _run(asked.part(found), found, ledger, way, out)
        if group:
            torchrun.dismiss(group)
    if code != 130 and any(trial.id in ledger.records for trial, _ in found.trials()):
        from bevel_lab.cli.report import write

        write(found, ledger.records, out, options["title"])
    return code


def local(device: str, ray: str) -> str:
    """The device to try arms on before they run on ``device``: a cluster's driver may have no GPU of its own.

    Raises:
        InvalidValue: for a GPU by its number on a cluster.
    """
    if not ray:
        return device
    if device.startswith("cuda:"):
        raise InvalidValue(f"with --ray the device is cpu or cuda: Ray chooses the GPU of a task; got {device}.")
    import torch

    return "cpu" if device == "cuda" and not torch.cuda.is_available() else device


def rehearse_all(asked: Experiment, source: Source, device: str) -> None:
    """Every arm in the first cell, the reference in the others: wrong input shows before it costs time."""
    from bevel_lab.training.preflight import rehearse

    for trial, label in asked.bases():
        if trial.cell == asked.cells[0] or label == asked.reference:
            rehearse(dataclasses.replace(trial, processes=1), source=source, device=device)


def _run(asked: Experiment, found: Experiment, ledger: Ledger, way: _Way, out: Path) -> tuple[int, Experiment]:
    """Tune where that was asked for, then run what is missing; the exit code, and the folder's experiment."""
    if asked.tuning:
        todo = [job for job in asked.bases() if place(job[0].cell, job[1]) not in found.tuned]
        chosen = _tune(asked, todo, way, out) if todo else {}
        if chosen is None:
            return 130, found
        found = found.with_tuned(out, chosen)
        if len(chosen) < len(todo):
            return 1, found
    failures = way(dataclasses.replace(asked, tuned=found.tuned).trials(), ledger)
    if failures is None:
        return 130, found
    return (_account(failures, out) if failures else 0), found


def _tune(asked: Experiment, arms: list[Job], way: _Way, out: Path) -> dict[str, dict[str, float]] | None:
    """What was chosen by arm and cell (empty where trials failed); None if interrupted."""
    print(f"tuning: {asked.tuning}, for {len(arms)} arms.", file=sys.stderr)
    interrupted = False
    with Ledger(out / "tuning") as ledger:

        def attempt(jobs: list[Job]) -> bool:
            nonlocal interrupted
            failures = way(jobs, ledger)
            interrupted = failures is None
            if failures:
                _account(failures, out)
            return failures == []

        assert asked.tuning is not None
        records: Mapping[str, Record] = ledger.records
        best = search(asked.tuning, arms, records, attempt)
    return None if interrupted else {place(trial.cell, label): point for (trial, label), point in best.items()}


def _account(failures: list[Failure], out: Path) -> int:
    """Keep the failures' details, and say where."""
    path = out / "failures.txt"
    blocks = [f"{f.label}, seed {f.trial.seed} (trial {f.trial.id})\n{f.reason}\n{f.details}" for f in failures]
    path.write_text("\n".join(blocks), encoding="utf-8")
    print(f"{len(failures)} trials failed, see {path}; the same command tries them again.", file=sys.stderr)
    return 1


def workers(options: dict[str, Any], experiment: Experiment) -> int:
    """Worker processes on this machine: as asked for, else as many as the cores carry, or one for a GPU.

    More than the cores carry are run all the same, and it is said: a trial's threads are part of what it is. Ray and
    torchrun start their own processes; for them it is 1.
    """
    asked = options["workers"]
    if asked is not None and asked < 1:
        raise InvalidValue(f"workers is a whole number, at least 1; got {asked}.")
    if options["ray"] or world_size() > 1:
        return 1
    cores, threads = usable(), max(trial.threads for trial, _ in experiment.bases())
    count = asked or (1 if experiment.device != "cpu" else max(1, cores // threads))
    if count * threads > cores:
        print(
            f"workers × threads is {count} × {threads} and there are {cores} cores, on which they take turns; ask for "
            "less by --workers or --threads.",
            file=sys.stderr,
        )
    return int(count)


def usable() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
