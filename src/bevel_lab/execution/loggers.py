"""``--log``: send what happens in trials to TensorBoard, Weights & Biases or MLflow, from the events of a run.

Each logger is a class of a few lines that opens one run for a trial; only the one that is asked for is imported.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bevel.errors import UnknownName, did_you_mean
from bevel_lab.errors import LabError
from bevel_lab.experiment.events import EpochDone, Event, Failure, Note, Watcher
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial


class Run(Protocol):
    """A trial in a logger; it is opened by the class's ``(folder, trial, label)``."""

    def __init__(self, folder: Path, trial: Trial, label: str) -> None: ...

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add values at the end of epoch number ``step``."""

    def close(self, *, failed: bool) -> None:
        """End the run; ``failed`` says that the trial did not come to its end."""


class TensorBoard:
    """A folder of event files, ``FOLDER/tensorboard/DATASET/MODEL/ARM, seed N, ID``."""

    def __init__(self, folder: Path, trial: Trial, label: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        where = folder / "tensorboard" / _plain(trial.dataset) / _plain(trial.model) / _plain(_name(trial, label))
        self.writer: Any = SummaryWriter(str(where))
        self.writer.add_text("trial", f"```json\n{json.dumps(trial.to_dict(), indent=1)}\n```")

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)
        self.writer.flush()

    def close(self, *, failed: bool) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of a project that is called as the folder; ``WANDB_MODE=offline`` keeps it in ``FOLDER/wandb``."""

    def __init__(self, folder: Path, trial: Trial, label: str) -> None:
        self.run: Any = importlib.import_module("wandb").init(
            project=folder.resolve().name,
            id=trial.id,
            name=_name(trial, label),
            group=f"{trial.dataset} {trial.model}",
            config={"arm": label, **trial.to_dict()},
            dir=str(folder),
            resume="allow",
            reinit="create_new",  # trials run at the same time
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def close(self, *, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class MLflow:
    """A run of an experiment that is called as the folder, at ``MLFLOW_TRACKING_URI`` or MLflow's own default."""

    def __init__(self, folder: Path, trial: Trial, label: str) -> None:
        self.client: Any = importlib.import_module("mlflow").MlflowClient()
        name = folder.resolve().name
        found = self.client.get_experiment_by_name(name)
        place = found.experiment_id if found else self.client.create_experiment(name)
        runs = self.client.search_runs([place], f"tags.trial = '{trial.id}'")
        if runs:  # the trial was interrupted and goes on
            self.id = runs[0].info.run_id
            self.client.update_run(self.id, "RUNNING")
            return
        self.id = self.client.create_run(place, run_name=_name(trial, label), tags={"trial": trial.id}).info.run_id
        for key, value in {"arm": label, **trial.to_dict()}.items():
            self.client.log_param(self.id, key, value)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self.client.log_metric(self.id, re.sub(r"[^\w\-. /]", "_", key), value, step=step)  # it takes no other

    def close(self, *, failed: bool) -> None:
        self.client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


LOGGERS: dict[str, tuple[str, type[Run]]] = {
    "mlflow": ("mlflow", MLflow),
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WeightsAndBiases),
}
"""Name → (the package that it needs, its runs)."""


def _name(trial: Trial, label: str) -> str:
    return f"{'tuning, ' if trial.tuning else ''}{label}, seed {trial.seed}, {trial.id[:8]}"


def _plain(text: str) -> str:
    return re.sub(r"[^\w.,=@+ -]", "-", text)  # a file's name on any system


@contextmanager
def logging_to(names: Sequence[str], folder: Path, watcher: Watcher) -> Iterator[Watcher]:
    """Yield a watcher that passes every event to ``watcher`` and, where it is of a trial, to the loggers.

    Args:
        names: of loggers.
        folder: of the results.
        watcher: hears all events, and a note when a logger stops.

    Raises:
        UnknownName: for a logger that there is none of.
        LabError: for one whose package is not installed.
    """
    logs = [_Log(name, folder, watcher) for name in dict.fromkeys(names)]

    def hear(event: Event) -> None:
        watcher(event)
        for log in logs:
            log(event)

    try:
        yield hear
    finally:
        for log in logs:
            log.close()


class _Log:
    """One logger: opens a run when a trial's first event comes, and closes it with its last."""

    def __init__(self, name: str, folder: Path, watcher: Watcher) -> None:
        if name not in LOGGERS:
            raise UnknownName(f"unknown logger {name!r}; {did_you_mean(name, LOGGERS)}")
        package, self.opened_by = LOGGERS[name]
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise LabError(f"--log {name} needs the package {package} ({error}); pip install {package}.") from error
        self.name, self.folder, self.watcher = name, folder, watcher
        self.runs: dict[str, Run] = {}
        self.stopped = False

    def __call__(self, event: Event) -> None:
        if not self.stopped and isinstance(event, EpochDone | Record | Failure):
            self._guarded(partial(self._send, event))

    def _send(self, event: EpochDone | Record | Failure) -> None:
        trial = event.trial
        if trial.id not in self.runs:
            self.runs[trial.id] = self.opened_by(self.folder, trial, event.label)
        run = self.runs[trial.id]
        if isinstance(event, EpochDone):
            values = _prefixed("train", event.epoch.train) | _prefixed("validation", event.epoch.validation)
            run.log(values | {"seconds": event.epoch.seconds}, event.done)
            return
        if isinstance(event, Record):
            run.log(_prefixed("tuning" if trial.tuning else "test", event.test), trial.epochs)
        self.runs.pop(trial.id).close(failed=isinstance(event, Failure))

    def _guarded(self, act: Callable[[], None]) -> None:
        """Act; if that fails, stop the logger and say so: a network or a disk of its own must not end the training."""
        try:
            act()
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            if not self.stopped:
                self.watcher(Note(f"--log {self.name} stops here ({why}); the trials go on without it."))
            self.stopped = True

    def close(self) -> None:
        """End the runs of trials that were interrupted."""
        for run in self.runs.values():
            self._guarded(partial(run.close, failed=True))


def _prefixed(part: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{part}/{key}": value for key, value in metrics.items()}
