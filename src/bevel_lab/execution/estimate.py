"""Estimate what an experiment costs, from a few timed steps: behind ``bevel_lab.estimate`` and ``--dry-run``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevel_lab.data.invalid import pass_on_data_notes
from bevel_lab.datasets import check_present
from bevel_lab.execution.ray_cluster import Ray
from bevel_lab.execution.run import Request
from bevel_lab.execution.workers import Workers
from bevel_lab.experiment.events import Note, Watcher
from bevel_lab.experiment.experiment import Cell, Experiment
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.distributed import world_size
from bevel_lab.training.preflight import SLOW_STEP, Probe, probe

PATIENCE = 45.0
"""Seconds after which no further arm is timed in the first cell; the reference is timed in every cell after that."""
Costs = dict[tuple[Cell, str], Probe]
"""(cell, label) → cost."""


def estimate(
    experiment: Experiment | Mapping[str, Any] | str | Path,
    *,
    on_progress: Watcher = lambda event: None,
    **overrides: Any,
) -> Estimate:
    """Estimate the time and the memory of an experiment; train and write nothing.

    Args:
        experiment: a TOML file, its keys as a mapping, or an ``Experiment``.
        on_progress: is called with what there is to say meanwhile, such as ``print``.
        **overrides: keys of the file that win over what it says, as for :func:`bevel_lab.run`.

    Returns:
        The estimate: one row for each arm in each cell, and the sums.

    Raises:
        BevelError: where the experiment cannot be run.

    Example:
        >>> import bevel_lab
        >>> asked = {"activations": ["relu", "sau:n=5"], "model": "mlp", "epochs": 1, "seeds": 2, "train_limit": 200}
        >>> found = bevel_lab.estimate(asked)
        >>> found.trials, [row.label for row in found.rows], found.seconds > 0
        (4, ['relu', 'sau:n=5'], True)
    """
    return estimate_request(Request.of(experiment, overrides), on_progress)


@dataclass(frozen=True)
class Row:
    """What one trial of an arm in a cell costs.

    Attributes:
        trial: the trial of the first seed.
        label: the arm's name.
        cost: its time and memory.
        timed: whether they were timed, and not extrapolated.
    """

    trial: Trial
    label: str
    cost: Probe
    timed: bool


@dataclass(frozen=True)
class Estimate:
    """What an experiment costs.

    Attributes:
        experiment: what is compared.
        rows: one for each arm in each cell.
        at_once: how many trials run at a time on this machine.
        taken_for_reference: labels of arms that were timed nowhere and are taken for the reference.

    Example:
        >>> import bevel_lab
        >>> asked = {"activations": ["relu"], "model": "mlp", "epochs": 1, "seeds": 2, "train_limit": 200}
        >>> found = bevel_lab.estimate(asked)
        >>> found.runs, found.rows[0].timed, found.taken_for_reference
        (2, True, ())
    """

    experiment: Experiment
    rows: tuple[Row, ...]
    at_once: int
    taken_for_reference: tuple[str, ...]

    @property
    def runs(self) -> int:
        """Trials of each arm in each cell, those of tuning included."""
        return self.experiment.seeds + self._tried

    @property
    def trials(self) -> int:
        """Trials of all arms."""
        return self.runs * len(self.rows)

    @property
    def seconds(self) -> float:
        """Seconds of all trials, one after the other."""
        length = self.experiment.tuning.length if self.experiment.tuning else 1.0
        return sum((self.experiment.seeds + self._tried * length) * row.cost.seconds for row in self.rows)

    @property
    def memory(self) -> int:
        """Bytes of the largest trial, beside the data."""
        return max((row.cost.memory for row in self.rows), default=0)

    @property
    def _tried(self) -> int:
        return self.experiment.tuning.trials if self.experiment.tuning else 0


def estimate_request(request: Request, on_progress: Watcher) -> Estimate:
    """Estimate what a request costs; see :func:`estimate`."""
    with pass_on_data_notes(lambda text: on_progress(Note(text))):
        asked, ray = request.experiment, request.options["ray"]
        executor = Ray(ray) if ray else Workers(1 if world_size() > 1 else request.options["workers"])
        device, jobs = executor.local_device(asked.device), asked.base_trials()
        at_once = executor.at_once(jobs, device, on_progress)
        check_present([dataset for dataset, _ in asked.cells], request.source)  # before minutes go to other cells
        for text in request.remarks:
            on_progress(Note(text))
        timed = _timed(request, device, on_progress)
    rows = []
    for trial, label in jobs:
        cost = timed.get((trial.cell, label))
        rows.append(Row(trial, label, cost or _extrapolated(asked, timed, trial.cell, label), cost is not None))
    late = tuple(arm.label for arm in asked.arms if (asked.cells[0], arm.label) not in timed)
    return Estimate(asked, tuple(rows), at_once, late)


def _timed(request: Request, device: str, on_progress: Watcher) -> Costs:
    """Time the first cell until :data:`PATIENCE` ends, its reference before the other arms, then every reference.

    The references of many cells may take longer than that, and would leave the other arms no time.
    """
    asked, found = request.experiment, Costs()
    jobs = asked.base_trials()
    references = [(trial, label) for trial, label in jobs if label == asked.reference]
    others = [(trial, label) for trial, label in jobs if trial.cell == asked.cells[0] and label != asked.reference]
    began = time.monotonic()
    for trial, label in [*references[:1], *others, *references[1:]]:
        if label != asked.reference and time.monotonic() - began > PATIENCE:
            continue
        on_progress(Note(f"timing {label} in {trial.model} on {trial.dataset} …"))
        cost = probe(trial, source=request.source, device=device, steps=3 if found else 1)
        if not found and cost.step_seconds < SLOW_STEP:  # the process's first steps need memory that others reuse
            cost = probe(trial, source=request.source, device=device)
        found[trial.cell, label] = cost
    return found


def _extrapolated(asked: Experiment, timed: Costs, cell: Cell, label: str) -> Probe:
    """The cost of an arm from the reference's in its cell, by the ratio of both in the first cell if it was timed."""
    first, reference = asked.cells[0], asked.reference
    base, there = timed[cell, reference], timed[first, reference]
    ratio = timed.get((first, label), there)
    return Probe(
        seconds=base.seconds * ratio.seconds / there.seconds,
        step_seconds=base.step_seconds * ratio.step_seconds / there.step_seconds,
        memory=round(base.memory * ratio.memory / there.memory) if there.memory else base.memory,
    )
