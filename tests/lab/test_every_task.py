"""What holds for every task alike, on a few samples each: fine-tuning, parameter groups, kills, several processes."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import each_task
import psutil
import pytest
import torch
from recording_watcher import RecordingWatcher
from torch import nn
from trainer_state import ParameterSets, current_sharpness, training_outputs

import bevel
from bevel.errors import InvalidValue
from bevel_lab.data.source import Source
from bevel_lab.execution.executor import Setup
from bevel_lab.execution.workers import Workers
from bevel_lab.experiment.ledger import Ledger
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.tasks.detection import Detection
from bevel_lab.training import plain_loop
from bevel_lab.training.run import run_trial
from bevel_lab.training.trainer import Trainer

every_task = pytest.mark.parametrize("task", each_task.RECIPES)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return each_task.trial_settings(tmp_path_factory.mktemp("data"))


def _trainer(spec: str, **settings: Any) -> Trainer:
    one = Trial(activation=bevel.canonical(spec), **settings)
    return Trainer(one, Source(), torch.device("cpu"), ProcessGroup())


# --------------------------------------------------------------------------------------------------------- fine-tuning


def _measured(trainer: Trainer) -> dict[str, float]:
    """The test part's metrics; detections by their scores too, since so short a training finds nothing."""

    def measure(model: nn.Module) -> dict[str, float]:
        task, more = trainer.task, {}
        if isinstance(task, Detection):
            scores = [found["scores"] for found, _ in task.detected(model, task.validation)]
            more = {"score": float(torch.cat(scores).mean())}
        return task.test(model) | more

    return trainer.evaluate(measure)


@every_task
def test_fine_tuning_starts_where_pretraining_ended(
    task: str, settings: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    trained = _trainer("relu", epochs=4, **settings[task])
    for _ in range(4):
        trained.advance()
    before, fresh = _measured(trained), _measured(_trainer("relu", **settings[task]))
    torch.save(trained.model.state_dict(), tmp_path / "relu.pt")
    for spec, tolerance in (("frelu", 1e-5), ("sau", 1e-3)):  # FReLU can be ReLU; SAU is within 2e-5 of it at a unit
        fine = _trainer(spec, weights=str(tmp_path / "relu.pt"), **settings[task])
        after = _measured(fine)
        assert after == pytest.approx(before, rel=tolerance, abs=tolerance)
        assert after != pytest.approx(fresh, rel=10 * tolerance, abs=10 * tolerance), "not what any network has"
        assert "relu.pt" in fine.facts["weights"]
        assert "cannot keep" not in fine.facts["weights"]


# ------------------------------------------------------------------------------------------------------------ measures


@every_task
def test_measures_are_refused_before_anything_is_trained(task: str, settings: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(InvalidValue, match=f"measures must be false for {task}, got True"):
        _trainer("relu", measures=True, **settings[task])


# ---------------------------------------------------------------------------------------------------- parameter groups


@every_task
def test_only_weights_decay_and_activations_have_their_own_rate(task: str, settings: dict[str, dict[str, Any]]) -> None:
    trainer = _trainer("smooth_frelu", weight_decay=0.25, activation_lr=0.5, **settings[task])
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    groups = [(names[id(p)], group) for group in trainer.optimizer.param_groups for p in group["params"]]
    assert sorted(name for name, _ in groups) == sorted(names.values()), "each is in one group"
    own = {names[id(p)] for p in trainer.activation_parameters}
    assert len(own) == 3 * len(trainer.sites) > 0, "two slopes and a sharpness"
    shapes = {name: p.ndim for name, p in trainer.model.named_parameters()}
    for name, group in groups:
        assert group["weight_decay"] == (0.25 if shapes[name] > 1 else 0.0), name
        assert group["scale"] == (0.5 if name in own else 1.0), name


# -------------------------------------------------------------------------------------------------- ways of training


@every_task
def test_alternation_moves_one_set_at_a_time(task: str, settings: dict[str, dict[str, Any]]) -> None:
    one = _trainer("frelu", alternate="step", warmup=0.0, **settings[task])
    sets, phases, size = ParameterSets(one), [], settings[task]["batch_size"]
    for step, batch in enumerate(one.task.batches([torch.arange(size)] * 4, 0, 0)):
        one.step(step, batch, size)
        phases.append(sets.moved())
    assert phases == ["weights", "activations"] * 2


@every_task
def test_sharpness_reaches_its_end_at_every_site(task: str, settings: dict[str, dict[str, Any]]) -> None:
    one = _trainer("smooth_frelu", sharpness="1:36", epochs=1, activation_lr=0.0, **settings[task])
    assert current_sharpness(one) == pytest.approx(1.0)
    one.advance()
    assert current_sharpness(one) == pytest.approx(36.0, rel=1e-5)


@every_task
def test_a_plain_loop_takes_its_batches_and_leaves_the_model_as_it_was(
    task: str, settings: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_loop, "SECONDS", 1e-3)
    one = _trainer("frelu", **settings[task])
    one.train_seconds = 1.0
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    assert plain_loop.seconds_per_sample(one) > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in one.model.state_dict().items())


@every_task
def test_bfloat16_runs_the_forward_pass_and_keeps_the_weights(task: str, settings: dict[str, dict[str, Any]]) -> None:
    kind = nn.Linear if task == "translation" else nn.Conv2d
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        one = _trainer("sau", precision=precision, **settings[task])
        assert {out.dtype for out in training_outputs(one, kind, settings[task]["batch_size"])} == {dtype}
        assert {p.dtype for p in one.model.parameters()} == {torch.float32}


# ------------------------------------------------------------------------------------------- kills, several processes


def _trials(settings: dict[str, dict[str, Any]], **fields: Any) -> dict[str, Trial]:
    spec = bevel.canonical("smooth_frelu")
    return {task: Trial(activation=spec, epochs=2, **(found | fields)) for task, found in settings.items()}


@pytest.mark.process
@every_task
def test_a_trial_goes_on_to_the_same_bits_where_its_process_was_killed(
    task: str, settings: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    one = _trials(settings)[task]

    def kill(trial: Trial, done: int) -> None:
        if not watch.notes and done == 1:
            for worker in multiprocessing.active_children():
                readers.extend(psutil.Process(worker.pid).children(recursive=True))
                worker.kill()

    readers: list[psutil.Process] = []
    watch = RecordingWatcher(kill)
    with Ledger(tmp_path) as book:
        assert Workers(1).run([(one, task)], book, Setup(Source(), "cpu", tmp_path / "states", 0.0), watch) == []
    assert [note.partition(";")[0].endswith("was killed by SIGKILL (out of memory?)") for note in watch.notes] == [True]
    assert [done for _, done in watch.epochs] == [1, 2], "it went on, it did not start again"
    assert watch.records[0].result == run_trial(one, label=task).result
    assert psutil.wait_procs(readers, timeout=30)[1] == [], "what it had started to read data is gone with it"


@pytest.mark.process
def test_two_processes_train_every_task(settings: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """The curve of one process but for what sees only its part: batch norm, dropout, the boxes that SSD divides by."""
    trials = _trials(settings, processes=2)
    (tmp_path / "trials.json").write_text(json.dumps([trial.to_dict() for trial in trials.values()]))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent.joinpath("support", "torchrun_trials.py")), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = [Record.from_json(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert [record.trial for record in found] == list(trials.values())
    for task, record in zip(trials, found, strict=True):
        alone = run_trial(dataclasses.replace(record.trial, processes=1))
        two, one = ([epoch.train["loss"] for epoch in r.epochs] for r in (record, alone))
        assert two == pytest.approx(one, rel=0.5 if task == "detection" else 0.2), task
        assert math.isfinite(record.test[record.metric])
        assert record.parameters == alone.parameters
