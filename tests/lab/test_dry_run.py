"""What ``bevel run --dry-run`` estimates, and how many processes carry it out."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import each_task
import pytest
import torch
from recording_watcher import RecordingWatcher
from small_trials import trial

import bevel
from bevel.errors import InvalidValue
from bevel_lab.cli import main
from bevel_lab.data.source import Source
from bevel_lab.execution import estimate, ray_cluster, workers
from bevel_lab.execution.ray_cluster import Ray
from bevel_lab.execution.run import Request
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.trial import Trial
from bevel_lab.runtime.distributed import ProcessGroup
from bevel_lab.training import preflight
from bevel_lab.training.preflight import Probe, probe
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
    monkeypatch.setattr(workers, "machine_threads", lambda: 8)
    jobs = Experiment.resolve(["gelu"], "relu", 1, {"threads": threads}).base_trials()
    watch, executor = RecordingWatcher(), workers.Workers(asked)
    assert [executor.at_once(jobs, device, watch) for _ in range(2)] == [count, count]
    line = f"workers × threads is {said} and there are 6 cores, on which they take turns; ask for less by"
    assert watch.notes == ([f"{line} --workers or --threads."] if said else [])


def test_workers_count_the_threads_of_the_arm_that_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: 6)
    monkeypatch.setattr(workers, "machine_threads", lambda: 6)
    jobs = Experiment.resolve(["gelu@threads=3"], "relu", 1, {}).base_trials()
    assert workers.Workers().at_once(jobs, "cpu", RecordingWatcher()) == 2
    assert Ray().at_once(jobs, "cpu", RecordingWatcher()) == 1, "the cluster is elsewhere"
    with pytest.raises(InvalidValue, match="workers must be a whole number, at least 1; got 0"):
        workers.Workers(0)


def _table(out: str) -> dict[tuple[str, str], list[str]]:
    """(model, activation) → step, trial and memory of every row."""
    rows = [re.split(r"\s{2,}", line) for line in out.splitlines() if line.endswith(" MiB")]
    return {(row[2], row[0]): row[4:] for row in rows}


SMALL = ["--seeds", "2", "--epochs", "2", "--train-limit", "50", "--batch-size", "25", "--dry-run"]


def test_data_of_every_cell_is_looked_for_before_anything_is_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--activations", "relu", "--dataset", "digits", "mnist", "--model", "mlp"]
    assert main(["compare", *words, "--data-root", str(tmp_path), *SMALL]) == 2
    err = capsys.readouterr().err
    assert "timing" not in err
    assert "MNIST" in err


def test_the_reference_is_timed_in_every_cell_and_the_others_in_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {("mlp", "relu"): (2.0, 0.1, 4), ("cnn", "relu"): (6.0, 0.2, 10), ("mlp", "gelu"): (3.0, 0.2, 6)}
    probed = []

    def timed(trial: Trial, steps: int = 3, **_: Any) -> Probe:
        label = trial.activation.partition(":")[0]
        probed.append((trial.model, label, steps))
        seconds, step, memory = costs[trial.model, label]
        return Probe(seconds, step, memory * 2**20)

    monkeypatch.setattr(estimate, "probe", timed)
    words = ["--activations", "relu", "gelu", "--model", "mlp", "cnn", "--out", str(tmp_path / "new")]
    assert main(["compare", *words, *SMALL]) == 0
    arms = [("mlp", "relu", 1), ("mlp", "relu", 3), ("mlp", "gelu", 3), ("cnn", "relu", 3)]
    assert probed == arms, "the first one warms up"
    out, err = capsys.readouterr()
    rows = _table(out)
    assert rows["mlp", "gelu"] == ["200.0 ms", "3.0 s", "6 MiB"]
    assert rows["cnn", "gelu"] == ["≈ 400.0 ms", "≈ 9.0 s", "≈ 15 MiB"]
    assert "8 trials, about" in out
    assert "≈: not timed; relu was timed in every cell, and an arm costs there what it costs beside it" in out
    assert [line for line in err.splitlines() if "timing" in line] == [
        "timing relu in mlp on digits …", "timing gelu in mlp on digits …", "timing relu in cnn on digits …",
    ]  # fmt: skip
    monkeypatch.setattr(estimate, "PATIENCE", -1.0)
    assert main(["compare", *words, *SMALL]) == 0
    out = capsys.readouterr().out
    assert _table(out)["cnn", "gelu"] == ["≈ 200.0 ms", "≈ 6.0 s", "≈ 10 MiB"]
    assert "no more were timed: gelu are taken for relu." in out


def test_references_of_many_cells_leave_the_other_arms_their_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine slow references used up what the other arms had in the first cell."""
    clock = [0.0]

    def timed(trial: Trial, **_: Any) -> Probe:
        clock[0] += 20.0
        return Probe(2.0, 3.0, 2**20)

    monkeypatch.setattr(estimate, "probe", timed)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    words = ["--activations", "relu", "gelu", "silu", "elu", "--model", "mlp", "cnn", "lenet"]
    assert main(["compare", *words, "--out", str(tmp_path / "new"), *SMALL]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[1:4:2] for line in err.splitlines() if "timing" in line] == [
        ["relu", "mlp"], ["gelu", "mlp"], ["silu", "mlp"], ["relu", "cnn"], ["relu", "lenet"],
    ]  # fmt: skip
    assert "no more were timed: elu are taken for relu." in out


@pytest.mark.parametrize(
    ("activation", "settings"),
    [
        ("relu", {}),
        ("relu", {"warmup": 0.5, "schedule": "inverse_sqrt"}),
        ("frelu", {"alternate": "epoch"}),
        ("sau:n=1", {"sharpness": "1:10"}),
        ("silu", {"ship": "relu:0.5", "epochs": 2}),
    ],
)
def test_a_trial_of_fewer_steps_than_are_timed_is_estimated(activation: str, settings: dict[str, Any]) -> None:
    one = trial(activation, **{"epochs": 1, "train_limit": 50, "batch_size": 128} | settings)
    assert probe(one).seconds > 0


def test_a_step_that_takes_seconds_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "SLOW_STEP", 0.0)
    steps = []
    plain = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, step, *rest: steps.append(step) or plain(self, step, *rest))
    assert probe(trial(), steps=3).step_seconds > 0
    assert steps == [0]


@pytest.mark.parametrize(
    ("alternate", "epochs", "said"),
    [("epoch", 1, True), ("epoch:2:1", 2, True), ("epoch", 2, False), ("step", 1, False)],
)
def test_slopes_that_never_train_are_said(alternate: str, epochs: int, said: bool) -> None:
    asked = {"activations": ["relu", f"frelu@alternate={alternate}"], "epochs": epochs, "model": "mlp"}
    remarks = [text for text in Request.of(asked, {}).remarks if "never train" in text]
    name = f"frelu@alternate={alternate}".partition(":")[0]
    assert [text.partition(":")[0].partition(" never")[0] for text in remarks] == [f"the slopes of {name}"] * said


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ("frelu@alternate=step", True),
        ("frelu@alternate=step:49:1", True),
        ("frelu@alternate=step:50:50", False),
        ("frelu@alternate=step,momentum=0", False),
        ("frelu@alternate=step,optimizer=adam", False),
        ("frelu@alternate=epoch,epochs=2", False),
        ("frelu", False),
    ],
)
def test_short_phases_with_momentum_are_said_to_be_unstable(arm: str, said: bool) -> None:
    remarks = Request.of({"activations": ["relu", arm], "epochs": 1, "model": "mlp"}, {}).remarks
    assert len(remarks) == said
    assert all(text.startswith(f"{arm} alternates by step with a momentum of 0.9: where") for text in remarks)


def test_a_reference_that_was_not_named_is_said_to_be_trained() -> None:
    assert Request.of({"activations": ["sau", "gelu"]}, {}).remarks == [
        "relu is trained too: it is the reference that the others are compared with."
    ]
    assert Request.of({"activations": ["sau", "gelu"], "reference": "gelu"}, {}).remarks == []


def test_more_threads_than_the_machine_has_are_refused_with_their_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "machine_threads", lambda: 8)
    command = ["compare", "--activations", "relu", "--threads", "10000", "--out", str(tmp_path / "new")]
    for flags in ([], ["--dry-run"]):
        assert main([*command, *flags]) == 2
        err = capsys.readouterr().err
        assert err == "bevel: --threads must be at most 8, as many as this machine has; got 10000.\n"


def refused_ray(address: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a run on a cluster that is none says."""
    assert main(["compare", "--activations", "relu", "--ray", address, "--out", str(folder / "out")]) == 2
    return capsys.readouterr().err


def address_of(server: socket.socket) -> str:
    pytest.importorskip("ray", reason="ray is not installed")
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_without_a_cluster_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = address_of(server)
    start = time.monotonic()
    said = refused_ray(address, tmp_path, capsys)
    assert re.search(rf"no Ray cluster at '{address}' \(.*refused.*`ray start --head` makes", said)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "what listens at THERE does not answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what listens at THERE is something else"),
        (b"no", "what listens at THERE is something else"),
    ],
)
def test_an_address_where_something_else_listens_is_refused(
    answer: bytes, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "ANSWER_WITHIN", 1.0)

    def serve() -> None:
        with server.accept()[0] as caller, contextlib.suppress(OSError):
            caller.sendall(answer)
            caller.recv(100)
            if not answer:
                caller.recv(100)  # until the caller goes

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = address_of(server)
        threading.Thread(target=serve, daemon=True).start()
        start = time.monotonic()
        said = refused_ray(address, tmp_path, capsys)
        assert time.monotonic() - start < 15
    said = said.replace(address, "THERE")
    assert f"there is no Ray cluster at 'THERE' ({text}); `ray start --head` makes one." in said


def test_ray_without_its_extra_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = refused_ray("auto", tmp_path, capsys)
    assert re.fullmatch(r"bevel: --ray needs Ray.*\n", said)
    assert ".[cluster]" in said
