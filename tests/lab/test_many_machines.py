"""Grids on a Ray cluster and trials over several processes: the same records as here, whatever dies on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import each_task
import psutil
import pytest
import ray_works
import torch
from batch_recorder import STEPS, recorded_batch, recording_step
from recording_watcher import RecordingWatcher
from small_trials import trial as small
from torch import distributed, nn
from waiting import PATIENCE, until

from bevel.errors import InvalidValue
from bevel_lab.cli import main
from bevel_lab.data.source import Source
from bevel_lab.execution import ray_cluster
from bevel_lab.execution.executor import Setup
from bevel_lab.execution.ray_cluster import Ray, wanting
from bevel_lab.execution.workers import Workers
from bevel_lab.experiment import ledger
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.distributed import ProcessGroup, TorchrunProcessGroup
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer

HERE = Path(__file__).parent / "support"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Ray's workers step back behind all others, and waited ten minutes for their turn among other tests."""
RECIPE: dict[str, Any] = {"model": "mlp", "epochs": 60, "train_limit": 300}


def _undisturbed(experiment: Experiment) -> dict[str, Any]:
    return {trial.id: run_trial(trial, label=label).result for trial, label in experiment.trials()}


def _results(folder: Path) -> dict[str, Any]:
    return {key: record.result for key, record in ledger.parse(folder / ledger.LEDGER)[0].items()}


_running: list[subprocess.Popen[str]] = []


def _started(*command: str, **options: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    _running.append(subprocess.Popen([sys.executable, *command], **(pipes | options)))
    return _running[-1]


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    """A test that fails leaves no process: the next one would be blamed for it."""
    yield
    while _running:
        with _running.pop() as process:  # closes its pipes and waits
            _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a program and all that it has started; torchrun's processes have sessions of their own and would go on."""
    if process.poll() is None:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


# ------------------------------------------------------------------------------------------------------- a Ray cluster


class Nodes:
    """The cluster of ``ray_nodes.py``."""

    def __init__(self) -> None:
        environment = ENVIRONMENT | {"PYTHONPATH": str(HERE)}  # for ``ray_works``
        pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = _started(str(HERE / "ray_nodes.py"), env=environment, **pipes)
        _running.remove(self.process)  # it outlives a test
        self.address = self._said()

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, what: str) -> None:
        """``add`` or ``kill`` the second node."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert self._said() == what

    def task(self) -> psutil.Process | None:
        """A process that runs a task."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        for process in family:
            with contextlib.suppress(psutil.Error):
                if ", seed 0" in "".join(process.cmdline()[:1]):
                    return process
        return None

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.end()


def _drive(nodes: Nodes, out: Path, watcher: RecordingWatcher, *settings: dict[str, Any], device: str = "cpu") -> None:
    """Run experiments on the cluster to their end. The driver is this process: another would import torch and Ray."""
    jobs = [job for one in settings for job in Experiment.resolve(**one).trials()]
    with Ledger(out) as book:
        Ray(nodes.address).run(jobs, book, Setup(Source(), device, out / "checkpoints", state_every=0.0), watcher)


@pytest.mark.process
def test_a_cluster_that_loses_a_node_ends_with_the_records_of_a_local_run(nodes: Nodes, tmp_path: Path) -> None:
    epochs = 200  # so many that two trials run at a time, though one node may start seconds after the other
    recipe = RECIPE | {"epochs": epochs}
    settings = {"activations": ["relu", "prelu", "gelu"], "reference": "relu", "seeds": 1, "recipe": recipe}
    nodes.do("add")

    def kill(trial: Trial, done: int) -> None:
        running = [reached for reached in dict(watch.epochs).values() if 3 <= reached < epochs]
        if len(running) == 2 and not watch.notes:  # so one is on the second node, and has a state to lose
            nodes.do("kill")

    watch = RecordingWatcher(kill)
    _drive(nodes, tmp_path, watch, settings)
    (note,) = watch.notes
    assert "died" in note
    assert note.endswith("the trial goes on from its last checkpoint.")
    for trial, _ in Experiment.resolve(**settings).trials():
        done = [epoch for key, epoch in watch.epochs if key == trial.id]
        assert done == list(range(1, epochs + 1)), "each epoch was reported once: nothing repeated, nothing left out"
    assert _results(tmp_path) == _undisturbed(Experiment.resolve(**settings))
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.process
def test_every_task_runs_on_a_cluster(nodes: Nodes, tmp_path: Path) -> None:
    asked = [
        {"activations": ["frelu"], "reference": "frelu", "seeds": 1, "recipe": _without_task(recipe) | {"epochs": 1}}
        for recipe in each_task.trial_settings(tmp_path).values()
    ]
    _drive(nodes, tmp_path / "out", RecordingWatcher(), *asked)
    here = [_undisturbed(Experiment.resolve(**one)) for one in asked]
    assert _results(tmp_path / "out") == {key: result for found in here for key, result in found.items()}


def _without_task(recipe: dict[str, Any]) -> dict[str, Any]:
    """The task of an experiment follows from its data set."""
    return {name: value for name, value in recipe.items() if name != "task"}


@pytest.mark.process
def test_the_command_survives_the_death_of_a_task_and_its_own(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where relative paths start, on the nodes too
    recipe = RECIPE | {"epochs": 250, "weights": "start.pth"}
    start = Trainer(small(**RECIPE), Source(), torch.device("cpu"), ProcessGroup())
    torch.save(start.model.state_dict(), "start.pth")
    settings = {"activations": ["prelu"], "reference": "prelu", "seeds": 1, "recipe": recipe}
    head = 'activations = ["prelu"]\nreference = "prelu"\ncontrols = false\nseeds = 1\n'
    (tmp_path / "x.toml").write_text(head + _toml(recipe))
    command = ["run", "x.toml", "--ray", nodes.address, "--out", "out"]
    first = _started("-m", "bevel_lab", *command)
    assert first.stderr is not None
    checkpoints = tmp_path / "out" / "checkpoints"
    assert until(lambda: list(checkpoints.glob("*.pt")), "checkpoint", first)
    task = until(nodes.task, "task", first)
    assert task, "it ended before"
    task.kill()
    note = next(line for line in first.stderr if "died" in line)
    assert note.endswith("the trial goes on from its last checkpoint.\n")
    first.kill()
    first.communicate()
    assert list(checkpoints.glob("*.pt")), "it was killed with something left to do"
    assert main(command) == 0
    assert _results(tmp_path / "out") == _undisturbed(Experiment.resolve(**settings))
    assert (tmp_path / "out" / "report.html").exists()


def _toml(recipe: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in recipe.items())


@pytest.mark.process
def test_a_trial_that_kills_three_tasks_in_a_row_is_given_up(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "perform_remotely", ray_works.kill_itself)
    settings = {"activations": ["relu"], "reference": "relu", "seeds": 1, "recipe": RECIPE}
    watch = RecordingWatcher()
    _drive(nodes, tmp_path, watch, settings)
    assert len(watch.notes) == 2
    (failure,) = watch.failures
    assert failure.reason.startswith("the task of relu, seed 0, died (")
    assert failure.reason.endswith(", 3 times in a row")
    assert _results(tmp_path) == {}


@pytest.mark.process
def test_a_gpu_is_refused_where_there_is_none_and_asked_and_waited_for(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "--activations", "relu", "gelu", "--model", "mlp", "--device", "cuda"]
    assert main([*command, "--ray", nodes.address, "--out", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "bevel: a trial takes 1 CPUs and 1 GPUs of one node of the cluster, and no node has them (1 an"
    )
    assert error.count("\n") == 1
    monkeypatch.setattr(ray_cluster, "perform_remotely", ray_works.report_gpus)
    monkeypatch.setattr(ray_cluster, "PATIENCE", 1.0)
    settings = {"activations": ["relu"], "reference": "relu", "seeds": 1, "recipe": RECIPE}
    done = tmp_path / "done"

    def act(note: str) -> None:
        if note == "GPUs [0]" and not done.exists():
            nodes.do("kill")
        elif note.startswith("waiting: a trial takes 1 CPUs and 1 GPUs of one node"):
            done.touch()
            nodes.do("add")

    nodes.do("add")
    watch = RecordingWatcher(on_note=act)
    _drive(nodes, tmp_path, watch, settings, device="cuda")
    assert [note for note in watch.notes if "died" not in note and "waiting" not in note] == ["GPUs [0]", "GPUs [0]"]
    assert done.exists(), "it was waited for"
    (failure,) = watch.failures
    assert failure.reason == f"data in {Path.cwd() / 'data'}, paths from {Path.cwd()}"


@pytest.mark.parametrize(
    ("cpus", "gpus", "found"),
    [(2, 0, ""), (1, 1, ""), (2, 1, "(2 and 0, 1 and 1)"), (4, 0, "(2 and 0, 1 and 1)"), (1, 2, "(2 and 0, 1 and 1)")],
)
def test_what_one_node_must_have(cpus: int, gpus: int, found: str) -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0, "memory": 1e9}},
        {"Alive": True, "Resources": {"CPU": 1.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 8.0, "GPU": 8.0}},
    ]
    said = wanting({"num_cpus": cpus, "num_gpus": gpus}, nodes)
    assert found in said
    assert bool(said) == bool(found)
    assert "none is alive" in wanting({"num_cpus": 1, "num_gpus": 0}, nodes[2:])


# ---------------------------------------------------------------------------------------------------------- torchrun


def _torchrun(folder: Path, *more: str) -> subprocess.Popen[str]:
    (folder / "batches").mkdir(exist_ok=True)
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += [
        str(HERE / "batch_recorder.py"),
        str(folder / "batches"),
        "compare",
        "--out",
        str(folder / "two"),
        *more,
    ]
    return _started(*command, stderr=subprocess.STDOUT)


@pytest.mark.process
def test_two_processes_give_the_curve_of_one_wait_for_one_download_and_survive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--dataset", "slow_digits", "--data-root", str(tmp_path), "--model", "lenet", "--epochs", "6"]
    flags += ["--activations", "relu", "frelu@alternate=epoch", "--seeds", "1"]
    flags += ["--train-limit", "301", "--lr", "0.01", "--mixup", "0.4"]
    first = _torchrun(tmp_path, *flags, "--download")
    try:
        assert until(lambda: list((tmp_path / "two").glob("checkpoints/*.pt")), "checkpoint", first)
    finally:
        _kill(first)
        first.communicate()
    assert len(_results(tmp_path / "two")) < 2, "it was killed with something left to do"
    assert (tmp_path / "slow").read_text() == "downloaded\n", "once"
    again = _torchrun(tmp_path, *flags)
    said, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said[-3000:]
    records = list(ledger.parse(tmp_path / "two" / ledger.LEDGER)[0].values())
    assert [record.label for record in records] == ["relu", "frelu@alternate=epoch"]
    (tmp_path / "alone").mkdir()
    monkeypatch.setattr(Trainer, "step", recording_step(tmp_path / "alone"))
    for record in records:
        assert record.trial.processes == 2
        _same_curve(record, Source(tmp_path))
        _same_batches(tmp_path, record.trial.activation)


def _same_curve(record: Record, source: Source) -> None:
    alone = run_trial(dataclasses.replace(record.trial, processes=1), source=source)
    for two, one in zip(record.epochs, alone.epochs, strict=True):
        assert two.train["loss"] == pytest.approx(one.train["loss"], rel=1e-5)
        assert two.validation["loss"] == pytest.approx(one.validation["loss"], rel=1e-5)


def _same_batches(folder: Path, activation: str) -> None:
    assert len(list((folder / "batches").glob(f"{activation}-*.pt"))) == 2 * STEPS
    for number in range(STEPS):
        images, targets = recorded_batch(folder / "batches", activation, number)
        whole_images, whole_targets = recorded_batch(folder / "alone", activation, number)
        assert len(images) in (30, 31)
        assert torch.equal(images, whole_images)
        assert torch.equal(targets, whole_targets)


def test_a_dry_run_under_torchrun_is_of_one_process_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_text('activations = ["relu"]\nseeds = 1\n' + _toml(RECIPE))
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["run", str(tmp_path / "x.toml"), "--dry-run"]) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    assert main(["run", str(tmp_path / "x.toml"), "--dry-run"]) == 0
    assert "That is of one process; the 2 of torchrun share each trial." in capsys.readouterr().out


class Two(ProcessGroup):
    """The first of two processes that never meet."""

    size = 2


@pytest.mark.parametrize(("model", "said"), [("resnet8", True), ("lenet", False)])
def test_batch_norm_over_parts_of_a_batch_is_said(model: str, said: bool) -> None:
    one = Trainer(small(model=model, processes=2), Source(), torch.device("cpu"), Two())
    assert ("batch_norm" in one.facts) is said
    assert "batch_norm" not in Trainer(small(model=model), Source(), torch.device("cpu"), ProcessGroup()).facts


def test_batch_norm_is_over_the_whole_batch_where_torch_can() -> None:
    group = TorchrunProcessGroup.__new__(TorchrunProcessGroup)  # not made: that would wait for the others
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert group.prepare(network) is network, "on a CPU"
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="SyncBatchNorm expected input tensor to be on GPU"):
            nn.SyncBatchNorm(2)(torch.zeros(2, 2, 3, 3))
    finally:
        distributed.destroy_process_group()
    elsewhere = network.to("meta")
    before = list(elsewhere.parameters())
    made = group.prepare(elsewhere)
    assert [type(module) for module in made] == [nn.Conv2d, nn.SyncBatchNorm]  # type: ignore[attr-defined]
    assert all(one is other for one, other in zip(before, made.parameters(), strict=True)), (
        "as the optimizer knows them"
    )


# ------------------------------------------------------------------------------------------------------------ devices


def test_a_dry_run_for_a_cluster_needs_neither_its_gpu_nor_the_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_text('activations = ["relu"]\nseeds = 4\nworkers = 4\n' + _toml(RECIPE))
    command = ["run", str(tmp_path / "x.toml"), "--dry-run", "--ray", "none:1"]
    assert main([*command, "--device", "cuda:1"]) == 2
    assert (
        "with --ray the device must be cpu or cuda: Ray chooses the GPU of a task; got cuda:1"
        in capsys.readouterr().err
    )
    assert main([*command, "--device", "cuda"]) == 0
    out = capsys.readouterr().out
    assert "with 1 at a time" in out
    assert "the cluster runs as many at a time as it can" in out


def test_a_cluster_is_rehearsed_for_where_there_is_no_gpu() -> None:
    with pytest.raises(InvalidValue, match=r"with --ray the device must be cpu or cuda: .* got cuda:1"):
        Ray().local_device("cuda:1")
    assert Workers().local_device("cuda:1") == "cuda:1"
    assert Ray().local_device("cuda") == ("cuda" if torch.cuda.is_available() else "cpu")
