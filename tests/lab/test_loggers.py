"""``--log``: what TensorBoard, Weights & Biases and MLflow get of a run, read from what they keep without a network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from needs import needs
from small_trials import RECIPE, trial

import bevel_lab
from bevel.errors import UnknownName
from bevel_lab.cli import compare
from bevel_lab.cli._settings import given
from bevel_lab.errors import LabError
from bevel_lab.execution.executor import Driver, Executor, Setup, perform
from bevel_lab.execution.loggers import logging_to
from bevel_lab.experiment.events import EpochDone, Event, Failure, Note, Watcher
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.record import Epoch
from bevel_lab.experiment.trial import Job

ASKED: dict[str, Any] = RECIPE | {"activations": ["relu", "sau:n=5"], "seeds": 1, "epochs": 2}


class Here(Executor):
    """Runs every trial in this process."""

    def run(self, jobs: Sequence[Job], ledger: Ledger, setup: Setup, watcher: Watcher) -> list[Failure]:
        driver = Driver(jobs, ledger, setup, watcher)
        for job in driver.todo:
            for event in perform(job, setup):
                driver.hear(event)
        return driver.failures


def _run(folder: Path, *loggers: str, on_progress: Watcher = lambda event: None) -> bevel_lab.Results:
    return bevel_lab.run(ASKED, out=folder, executor=Here(), log=list(loggers), on_progress=on_progress)


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_gets_every_epoch_and_the_score(tmp_path: Path) -> None:
    results = _run(tmp_path, "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for record in results.records:
        place = tmp_path / "tensorboard" / "digits" / "mlp"
        (folder,) = place.glob(f"{record.label.replace(':', '-')}, seed 0, {record.trial.id[:8]}")
        kept = EventAccumulator(str(folder)).Reload()
        assert record.trial.activation in kept.Tensors("trial/text_summary")[0].tensor_proto.string_val[0].decode()
        for part in ("train", "validation"):
            for key in getattr(record.epochs[0], part):
                points = [(point.step, point.value) for point in kept.Scalars(f"{part}/{key}")]
                wanted = [(n, pytest.approx(getattr(e, part)[key])) for n, e in enumerate(record.epochs, 1)]
                assert points == wanted
        (score,) = kept.Scalars(f"test/{record.metric}")
        assert (score.step, score.value) == (2, pytest.approx(record.test[record.metric]))
    assert "tensorboard" not in (tmp_path / "experiment.toml").read_text(), "it is no part of the experiment"


@needs("wandb")
@pytest.mark.process
def test_weights_and_biases_keeps_runs_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    said: list[Event] = []
    results = _run(tmp_path, "wandb", on_progress=said.append)
    assert not [event for event in said if isinstance(event, Note) and "wandb" in str(event)]
    import wandb

    wandb.teardown()  # its service writes the last of a file after a run has finished
    for record in results.records:
        (file,) = tmp_path.glob(f"wandb/offline-run-*-{record.trial.id}/run-{record.trial.id}.wandb")
        content = file.read_bytes()
        for part in (record.label, "train/loss", "validation/accuracy", "test/accuracy", record.trial.activation):
            assert part.encode() in content, part


@needs("mlflow")
@pytest.mark.process
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_keeps_runs_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # release 3.17 asks for it
    said: list[Event] = []
    results = _run(tmp_path / "mine", "mlflow", on_progress=said.append)
    assert not [event for event in said if isinstance(event, Note) and "mlflow" in str(event)]
    import mlflow

    client = mlflow.MlflowClient()
    place = client.get_experiment_by_name("mine").experiment_id
    for record in results.records:
        (run,) = client.search_runs([place], f"tags.trial = '{record.trial.id}'")
        assert (run.info.status, run.data.params["arm"]) == ("FINISHED", record.label)
        losses = client.get_metric_history(run.info.run_id, "train/loss")
        assert [(m.step, m.value) for m in losses] == [(n, e.train["loss"]) for n, e in enumerate(record.epochs, 1)]
        assert run.data.metrics[f"test/{record.metric}"] == record.test[record.metric]
    one = trial("gelu")
    for done in (1, 2):  # interrupted, and going on in the same run
        with logging_to(["mlflow"], tmp_path / "mine", said.append) as tell:
            tell(EpochDone(one, "gelu", done, Epoch(train={"mAP@50": 0.5}, validation={}, seconds=1.0)))
        (run,) = client.search_runs([place], f"tags.trial = '{one.id}'")
        assert (run.info.status, run.data.metrics["train/mAP_50"]) == ("FAILED", 0.5)
        assert len(client.get_metric_history(run.info.run_id, "seconds")) == done


def test_a_logger_that_cannot_be_used_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownName, match="unknown logger 'tensorbord'; did you mean 'tensorboard'"):
        _run(tmp_path / "out", "tensorbord")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(LabError, match=r"--log wandb needs the package wandb .*; pip install wandb\.$"):
        _run(tmp_path / "out", "wandb")
    assert not (tmp_path / "out").exists()


@needs("tensorboard")
def test_a_logger_that_fails_does_not_end_the_training(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file where the logger needs a folder")
    said: list[Event] = []
    results = _run(tmp_path, "tensorboard", on_progress=said.append)
    assert (len(results.records), results.failures) == (2, [])
    (note,) = [str(event) for event in said if isinstance(event, Note) and "--log" in str(event)]
    assert note.startswith("--log tensorboard stops here (")
    assert note.endswith("the trials go on without it.")


def test_it_is_a_flag_that_takes_several() -> None:
    line = ["--activations", "relu", "--log", "tensorboard", "mlflow"]
    assert given(compare.parser().read(line))["log"] == ["tensorboard", "mlflow"]
