"""Run an experiment: the one function behind ``bevel_lab.run``, ``bevel run`` and ``bevel compare``."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bevel.errors import InvalidValue
from bevel_lab.data.invalid import SKIPPED_FILE, pass_on_data_notes
from bevel_lab.data.source import Source
from bevel_lab.execution.executor import Executor, Setup
from bevel_lab.execution.loggers import logging_to
from bevel_lab.execution.ray_cluster import Ray
from bevel_lab.execution.results import Results
from bevel_lab.execution.torchrun import Torchrun
from bevel_lab.execution.workers import Workers
from bevel_lab.experiment import folder as folders
from bevel_lab.experiment import keys, settings
from bevel_lab.experiment.events import Begun, Failure, Note, Watcher
from bevel_lab.experiment.experiment import Experiment, place
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.trial import Job
from bevel_lab.experiment.tuning import search
from bevel_lab.runtime.distributed import is_rank_zero, world_size

LONG = 50
"""Steps of a phase of alternation that momentum does not disturb; see docs/training.md."""


def run(
    experiment: Experiment | Mapping[str, Any] | str | Path,
    *,
    out: str | Path = "",
    executor: Executor | None = None,
    on_progress: Watcher = lambda event: None,
    **overrides: Any,
) -> Results:
    """Run the trials of an experiment that have no record in its folder yet.

    It may be interrupted at any moment and continues when it is called again. In a script, call it under
    ``if __name__ == "__main__":``, since worker processes import the script.

    Args:
        experiment: a TOML file, its keys as a mapping, or an ``Experiment``.
        out: folder of the records; by default what the experiment says, else ``runs/`` and a name.
        executor: how trials are run: ``Workers(4)``, ``Ray("auto")`` or ``Torchrun("cuda")``; by default what the
            experiment says, else worker processes, or all of torchrun's if it has started this one.
        on_progress: is called with every event, such as ``print``; see :mod:`bevel_lab.experiment.events`.
        **overrides: keys of the file that win over what it says, such as ``seeds=3``. With an ``Experiment`` only
            those that say where and how it runs: ``data_root``, ``download``, ``log``, ``minutes``, ``ray``,
            ``skip_invalid``, ``strict``, ``title``, ``workers``.

    Returns:
        All results in the folder. Under torchrun only the first process gets the records.

    Raises:
        BevelError: where the experiment cannot be run; a trial that fails is in the results instead.

    Example:
        >>> import bevel_lab
        >>> asked = {"activations": ["relu", "sau:n=5"], "model": "mlp", "epochs": 1, "seeds": 2, "train_limit": 200}
        >>> results = bevel_lab.run(asked, out="runs/example")
        >>> [row["arm"] for row in results.table]
        ['relu', 'sau:n=5', 'relu', 'sau:n=5']
    """
    began = time.monotonic()
    request = Request.of(experiment, overrides | ({"out": out} if out else {}))
    until = began + 60 * request.options["minutes"] if request.options["minutes"] else math.inf
    executor = executor or request.executor()
    folder, source = request.folder, request.source
    recipe = request.experiment.recipe | {"processes": executor.group.size}
    asked = dataclasses.replace(request.experiment, recipe=recipe)
    logs = request.options["log"] if is_rank_zero() else ()
    with (
        logging_to(logs, folder, on_progress) as tell,
        pass_on_data_notes(lambda text: tell(Note(text)), folder / SKIPPED_FILE),
    ):
        executor.at_once(asked.base_trials(), asked.device, tell)  # raises for more threads than there are
        executor.group.run_once_per_node(lambda: rehearse_all(asked, source, executor.local_device(asked.device)))
        for text in request.remarks if is_rank_zero() else ():
            tell(Note(text))
        device = executor.group.local_device(asked.device)
        setup = Setup(dataclasses.replace(source, download=False), device, folder / "checkpoints", until=until)
        failures: list[Failure] = []
        with executor.on_rank_zero(setup) as rank_zero:
            if rank_zero:
                failures = _Run(folder, executor, setup, tell).complete(asked, request.toml)
    found = Results.read(folder) if rank_zero else Results([])
    return dataclasses.replace(found, title=request.options["title"], failures=failures)


@dataclass(frozen=True)
class Request:
    """An experiment to be run, and the settings for running it.

    Attributes:
        experiment: what is compared.
        options: a value for each of :data:`bevel_lab.experiment.keys.DEFAULTS`.
        toml: the file that asks for the experiment.
        folder: where records go.
    """

    experiment: Experiment
    options: Mapping[str, Any]
    toml: str
    folder: Path

    @classmethod
    def of(cls, experiment: Experiment | Mapping[str, Any] | str | Path, overrides: Mapping[str, Any]) -> Request:
        """Make a request from arguments of :func:`run`."""
        given = settings.checked(overrides)
        name, toml = "", ""
        if isinstance(experiment, Experiment):
            wrong = sorted(given.keys() - {*keys.PLACES, "skip_invalid", "strict", "title"})
            if wrong:
                raise InvalidValue(f"an Experiment says {', '.join(wrong)} itself; change it there, or give a mapping.")
            given = settings.amounting_to(experiment) | given
        elif isinstance(experiment, Mapping):
            given = settings.checked(experiment) | given
        else:
            path, plain = Path(experiment), given.keys() <= set(keys.PLACES)
            given = settings.read(path) | given
            name, toml = path.stem, path.read_text(encoding="utf-8") if plain else ""
        asked = experiment if isinstance(experiment, Experiment) else settings.resolve(given)
        options = keys.DEFAULTS | given
        folder = Path(options["out"] or f"runs/{name or '-'.join(asked.cells[0])}")
        return cls(asked, options, toml or settings.to_toml(given), folder)

    @property
    def remarks(self) -> list[str]:
        """Sentences on what will happen that the user may not expect."""
        asked, said = self.experiment, []
        if asked.reference not in settings.split_arms(self.options["activations"]):
            said.append(f"{asked.reference} is trained too: it is the reference that the others are compared with.")
        if asked.recipe["channels_last"]:
            threads = "one thread" if asked.recipe["threads"] == 1 else f"{asked.recipe['threads']} threads"
            said.append(f"images and weights are in channels_last, in {asked.recipe['precision']}, {threads} a trial.")
        for trial, label in asked.base_trials()[: len(asked.arms)]:
            by, *turns = trial.alternate.split(":")
            weights = int(turns[0]) if turns else 1
            if by == "epoch" and trial.epochs <= weights:
                said.append(
                    f"the slopes of {label} never train: it alternates by epoch, the weights first for {weights} of "
                    f"{trial.epochs}; ask for more --epochs, or alternate by step."
                )
            if by == "step" and trial.optimizer == "sgd" and trial.momentum and max(map(int, turns or "1")) < LONG:
                said.append(
                    f"{label} alternates by step with a momentum of {trial.momentum:g}: where weights and slopes "
                    f"depend on one another, that may be stable at a tenth of the usual learning rate only. Add "
                    f"momentum=0, or let phases last {LONG} steps (alternate=step:{LONG}:{LONG}) or an epoch."
                )
        return said

    @property
    def source(self) -> Source:
        options = self.options
        return Source(Path(options["data_root"]), options["download"], options["skip_invalid"], options["strict"])

    def executor(self) -> Executor:
        """Make the executor that the options and torchrun's environment ask for."""
        if self.options["minutes"] and (world_size() > 1 or self.options["ray"]):
            raise InvalidValue("--minutes is for workers on this machine; leave it out with --ray and torchrun.")
        if world_size() > 1:
            if self.options["ray"]:
                raise InvalidValue("--ray and torchrun are two ways to run an experiment; choose one.")
            return Torchrun(self.experiment.device)
        return Ray(self.options["ray"]) if self.options["ray"] else Workers(self.options["workers"])


def rehearse_all(asked: Experiment, source: Source, device: str) -> None:
    """Try every arm in the first cell and the reference in all others, so that wrong input shows early."""
    from bevel_lab.training.preflight import rehearse

    for trial, label in asked.base_trials():
        if trial.cell == asked.cells[0] or label == asked.reference:
            rehearse(dataclasses.replace(trial, processes=1), source=source, device=device)


@dataclass
class _Run:
    """Runs an experiment, in the process of rank 0."""

    folder: Path
    executor: Executor
    setup: Setup
    watcher: Watcher
    failures: list[Failure] = field(default_factory=list)

    def complete(self, asked: Experiment, text: str) -> list[Failure]:
        """Tune the arms if the experiment asks for it, run the missing trials, and return those that failed."""
        with Ledger(self.folder) as ledger:
            whole = folders.merge(self.folder, asked)
            folders.keep_request(self.folder, text)
            if ledger.repaired:
                self.watcher(Note(ledger.repaired))
            if asked.tuning:
                whole = self._tune(asked.subset(whole), whole)
            if not self.failures:
                self._round(asked.subset(whole).trials(), ledger)
        if self.failures:
            self._write_failures()
        return self.failures

    def _tune(self, asked: Experiment, whole: Experiment) -> Experiment:
        """Tune the arms of ``asked`` that have no recipe yet; return ``whole`` with their recipes."""
        todo = [job for job in asked.base_trials() if place(job[0].cell, job[1]) not in whole.tuned]
        assert asked.tuning is not None
        if todo:
            self.watcher(Note(f"tuning: {asked.tuning}, for {len(todo)} arms."))
            with Ledger(self.folder / "tuning") as ledger:
                best = search(asked.tuning, todo, ledger.records, lambda jobs: self._round(jobs, ledger))
            tuned = {place(trial.cell, label): point for (trial, label), point in best.items()}
            if best:
                self.watcher(Note(f"tuning chose {_chosen(best)}."))
                for text in asked.tuning.edges(best.values()):
                    self.watcher(Note(text))
            whole = dataclasses.replace(whole, tuned=whole.tuned | tuned)
            folders.write(self.folder, whole)
        return whole

    def _round(self, jobs: Sequence[Job], ledger: Ledger) -> bool:
        """Run the jobs that have no record; return whether all of them have one afterwards."""
        missing = [job for job in jobs if job[0].id not in ledger.records]
        self.watcher(Begun(missing, len(jobs) - len(missing)))
        try:
            self.failures += self.executor.run(missing, ledger, self.setup, self.watcher)
        except KeyboardInterrupt:
            done = sum(trial.id in ledger.records for trial, _ in jobs)
            how_far = f"interrupted: {done} of {len(jobs)} trials are done; the same command goes on."
            raise KeyboardInterrupt(how_far) from None
        left = [job for job in jobs if job[0].id not in ledger.records]
        if left and not self.failures:
            self.watcher(Note(f"the time is over: {_left(left, len(jobs))}; the same command goes on."))
        return not left and not self.failures

    def _write_failures(self) -> None:
        path = self.folder / "failures.txt"
        blocks = (
            f"{f.label}, seed {f.trial.seed} (trial {f.trial.id})\n{f.reason}\n{f.details}" for f in self.failures
        )
        path.write_text("\n".join(blocks), encoding="utf-8", errors="backslashreplace")
        failed, them = ("1 trial", "it") if len(self.failures) == 1 else (f"{len(self.failures)} trials", "them")
        self.watcher(Note(f"{failed} failed, see {path}; the same command tries {them} again."))


def _left(jobs: Sequence[Job], count: int) -> str:
    """Say which trials have no record."""
    seeds: dict[str, set[int]] = {}
    for trial, label in jobs:
        seeds.setdefault(label, set()).add(trial.seed)
    arms = (f"{label} from {min(found)}" for label, found in seeds.items())
    return f"{len(jobs)} of {count} trials were not reached (by seed: {', '.join(arms)})"


def _chosen(best: Mapping[Job, Mapping[str, float]]) -> str:
    """Say which point tuning chose for each arm."""
    points = ((label, ", ".join(f"{name} {value:.4g}" for name, value in point.items())) for (_, label), point in
              best.items())  # fmt: skip
    return "; ".join(f"{point} for {label}" for label, point in points)
