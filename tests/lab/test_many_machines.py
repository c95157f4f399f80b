"""Grids on a Ray cluster and trials over several processes: the same records as here, whatever dies on the way."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bevel_lab import ledger
from bevel_lab.experiment import Experiment
from bevel_lab.record import Record
from bevel_lab.train import run

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def _undisturbed(experiment: Experiment) -> dict[str, Any]:
    return {trial.id: run(trial, label=label).result for trial, label in experiment.trials()}


def _results(folder: Path) -> dict[str, Any]:
    return {key: record.result for key, record in ledger.parse(folder / ledger.LEDGER)[0].items()}


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_ends_with_the_records_of_a_local_run(tmp_path: Path) -> None:
    recipe = {"model": "mlp", "epochs": 30, "train_limit": 300}
    settings = {"activations": ["relu", "prelu", "gelu"], "reference": "relu", "seeds": 1, "recipe": recipe}
    command = [sys.executable, str(HERE / "ray_nodes.py"), str(tmp_path), json.dumps(settings)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert ["killed", "", 0] in said
    (note,) = [text for kind, text, _ in said if kind == "note"]
    assert "died" in note
    assert note.endswith("the trial goes on from its last epoch.")
    for trial, _ in Experiment.resolve(**settings).trials():
        epochs = [epoch for kind, key, epoch in said if kind == "epoch" and key == trial.id]
        assert epochs == list(range(1, 31)), "every epoch was reported once: nothing was repeated, nothing left out"
    assert _results(tmp_path) == _undisturbed(Experiment.resolve(**settings))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def _torchrun(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "bevel_lab", "compare", "--out", str(folder), *more]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one_and_survive_a_kill(tmp_path: Path) -> None:
    flags = ["--activations", "relu", "frelu@alternate=epoch", "--model", "lenet", "--epochs", "6", "--seeds", "1"]
    flags += ["--train-limit", "301", "--lr", "0.01"]
    first = _torchrun(tmp_path / "two", *flags)
    for _ in range(600):
        if list((tmp_path / "two").glob("checkpoints/*.pt")):
            break
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    again = _torchrun(tmp_path / "two", *flags)
    said, _ = again.communicate(timeout=240)
    assert again.returncode == 0, said[-3000:]
    records = list(ledger.parse(tmp_path / "two" / ledger.LEDGER)[0].values())
    assert [record.label for record in records] == ["relu", "frelu@alternate=epoch"]
    for record in records:
        assert record.trial.processes == 2
        _same_curve(record)


def _same_curve(record: Record) -> None:
    alone = run(dataclasses.replace(record.trial, processes=1))
    for two, one in zip(record.epochs, alone.epochs, strict=True):
        assert two.train["loss"] == pytest.approx(one.train["loss"], rel=1e-5)
        assert two.validation["loss"] == pytest.approx(one.validation["loss"], rel=1e-5)
