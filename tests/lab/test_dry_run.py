"""What ``bevel run --dry-run`` estimates, and how many processes carry it out."""

from __future__ import annotations

from typing import Any

import each_task
import pytest
import torch
from recording_watcher import RecordingWatcher
from small_trials import trial

import bevel
from bevel.errors import InvalidValue
from bevel_lab.data.source import Source
from bevel_lab.execution import workers
from bevel_lab.execution.ray_cluster import Ray
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.training.preflight import probe
from bevel_lab.training.trainer import Trainer


@pytest.mark.parametrize(
    ("settings", "evaluated"),
    [
        ({"epochs": 3, "train_limit": 200, "batch_size": 25}, 3 * 287 + 360),
        ({"epochs": 1, "train_limit": 200, "batch_size": 25}, 287 + 360),
        ({"epochs": 2, "train_limit": 200, "batch_size": 25, "validation": 0.5}, 2 * 718 + 360),
        ({"epochs": 3, "train_limit": 40, "batch_size": 1000}, 3 * 287 + 360),
    ],
)
def test_the_estimate_counts_steps_and_a_third_of_one_for_what_is_evaluated(
    settings: dict[str, Any], evaluated: int
) -> None:
    """The 1437 training digits: what is held out of them does not shrink with the training part, nor do the 360."""
    one = trial(**settings)
    found = probe(one, steps=1)
    batch = min(one.batch_size, one.train_limit)
    steps = one.epochs * one.train_limit / batch + evaluated / 3 / batch
    assert found.seconds == pytest.approx(steps * found.step_seconds)


PARTS = {"detection": (8, 2, 3), "segmentation": (6, 2, 3), "translation": (40, 10, 15), "video": (12, 4, 8)}
"""Samples for training, validation and test of what ``each_task`` writes."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return each_task.trial_settings(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("task", each_task.RECIPES)
def test_a_task_says_how_many_samples_its_parts_have(task: str, settings: dict[str, dict[str, Any]]) -> None:
    one = Trial(activation=bevel.canonical("relu"), **settings[task])
    found = Trainer(one, Source(), torch.device("cpu"), ProcessGroup()).task
    assert (found.samples, found.validated, found.tested) == PARTS[task]


@pytest.mark.parametrize(
    ("asked", "threads", "device", "count", "said"),
    [
        (None, 1, "cpu", 6, ""),
        (None, 4, "cpu", 1, ""),
        (None, 8, "cpu", 1, "1 × 8"),
        (None, 1, "cuda", 1, ""),
        (3, 2, "cpu", 3, ""),
        (4, 2, "cpu", 4, "4 × 2"),
        (2, 8, "cuda", 2, "2 × 8"),
    ],
)  # fmt: skip
def test_workers_share_the_cores_and_more_than_these_are_said_once(
    asked: int | None, threads: int, device: str, count: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: 6)
    jobs = Experiment.resolve(["gelu"], "relu", 1, {"threads": threads}).base_trials()
    watch, executor = RecordingWatcher(), workers.Workers(asked)
    assert [executor.at_once(jobs, device, watch) for _ in range(2)] == [count, count]
    line = f"workers × threads is {said} and there are 6 cores, on which they take turns; ask for less by"
    assert watch.notes == ([f"{line} --workers or --threads."] if said else [])


def test_workers_count_the_threads_of_the_arm_that_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: 6)
    jobs = Experiment.resolve(["gelu@threads=3"], "relu", 1, {}).base_trials()
    assert workers.Workers().at_once(jobs, "cpu", RecordingWatcher()) == 2
    assert Ray().at_once(jobs, "cpu", RecordingWatcher()) == 1, "the cluster is elsewhere"
    with pytest.raises(InvalidValue, match="workers must be a whole number, at least 1; got 0"):
        workers.Workers(0)
