"""Run one trial. A trial gives the same record, to the last bit, however often it was interrupted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bevel_lab.data.source import Source
from bevel_lab.errors import LabError
from bevel_lab.experiment.events import EpochDone, Note, Outcome
from bevel_lab.experiment.record import Epoch, Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.determinism import deterministic
from bevel_lab.runtime.device import as_device
from bevel_lab.runtime.distributed import SINGLE_PROCESS, ProcessGroup
from bevel_lab.training import checkpoint, result
from bevel_lab.training.trainer import Trainer


def run_trial(
    trial: Trial,
    *,
    label: str = "",
    source: Source | None = None,
    device: str = "cpu",
    state: Path | None = None,
    state_every: float = 1.0,
    on_epoch: Callable[[int, Epoch], None] = lambda done, epoch: None,
    on_note: Callable[[str], None] = warnings.warn,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Record:
    """Train, validate after every epoch, test once after the last.

    Args:
        trial: what to run.
        label: the activation as the user typed it, for display; the canonical spec by default.
        source: where data sets that are files lie; by default the folder ``data``, nothing is downloaded.
        device: torch device.
        state: checkpoint file; if it exists the trial continues from it. The caller removes it after storing the
            record.
        state_every: least seconds between two writes of ``state``, at ends of epochs; 0 writes after every epoch.
        on_epoch: called with (number of finished epochs, the epoch) after each.
        on_note: called with a sentence for the user, e.g. that ``state`` was damaged and the trial starts again.
        group: the processes that share the trial, each of which calls this. The first reads and writes ``state``.

    Returns:
        The record. A diverged trial runs to its end: its losses are NaN, its accuracies as measured.

    Raises:
        bevel.errors.BevelError: for unknown names, parts that do not fit together, or missing data.

    Example:
        >>> from bevel_lab.experiment.trial import Trial
        >>> record = run_trial(Trial(activation="relu", model="mlp", epochs=1, train_limit=100))
        >>> record.trial.dataset, record.metric, sorted(record.test)
        ('digits', 'accuracy', ['accuracy', 'loss'])
    """
    load, save = (partial(checkpoint.load, state), partial(checkpoint.save, state)) if state else (None, None)
    events = trial_events(
        trial, label=label, source=source, device=device, load=load, save=save, save_every=state_every, group=group
    )
    for event in events:
        if isinstance(event, Record):
            return event
        if isinstance(event, EpochDone):
            on_epoch(event.done, event.epoch)
        elif isinstance(event, Note):
            on_note(str(event))
    raise AssertionError("the last event of a trial is its record")


def trial_events(
    trial: Trial,
    *,
    label: str = "",
    source: Source | None = None,
    device: str = "cpu",
    load: Callable[[], dict[str, Any] | None] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
    save_every: float = 1.0,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Outcome]:
    """Run a trial step by step: yields notes, the end of every epoch, predictions if any, and at last the record.

    Args:
        trial, label, source, device, group: as for :func:`run_trial`.
        load: returns the state to continue from, or None; may raise ``LabError``. Only the first process calls it.
        save: stores a state. Only the first process calls it, at the end of an epoch, before its event.
        save_every: least seconds between two calls of ``save``.

    Raises:
        bevel.errors.BevelError: as :func:`run_trial`.
    """
    first = group.rank == 0
    place, found, trouble = as_device(device), None, ""
    try:
        found = load() if load and first else None
    except LabError as error:
        trouble = str(error)
    found = group.broadcast(found)
    with deterministic(trial.threads, place):
        trainer = Trainer(trial, source or Source(), place, group)
        try:
            if found is not None:
                trainer.restore(found)
        except LabError as error:
            trainer, trouble = Trainer(trial, source or Source(), place, group), str(error)
        if trouble and first:
            yield Note(f"{trouble}; trial {trial.id} starts again.")
        saved = time.monotonic()
        while len(trainer.epochs) < trial.epochs:
            trainer.advance()
            if save is not None and first and time.monotonic() - saved >= save_every:
                save(trainer.state())
                saved = time.monotonic()
            yield EpochDone(trial, label or trial.activation, len(trainer.epochs), trainer.epochs[-1])
        yield from result.results(trainer, label or trial.activation)
