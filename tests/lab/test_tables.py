"""Every table of the papers, as its file says it, is estimated on small real samples; some are killed and ended."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import photographs
import pytest
from PIL import Image
from sample_digits import sample_digits
from waiting import until

import bevel_lab
from bevel_lab.cli import main
from bevel_lab.execution.run import Request
from bevel_lab.experiment import ledger
from bevel_lab.experiment.protocols import names

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
TABLES = {
    "sau-mnist": ("folder:digits", "lenet"),
    "sau-cifar10": ("cifar10_subset", "shufflenet_v2_x0_5"),
    "sau-cifar100": ("cifar100_subset", "shufflenet_v2_x0_5"),
    "sau-tiny-imagenet": ("tiny_imagenet_subset", "mobilenet_v2"),
    "sau-imagenet": ("folder:photographs", "shufflenet_v2_x1_0"),
    "frelu-cifar100": ("cifar100_subset", "mobilenet_v1"),
    "frelu-imagenet": ("folder:photographs", "mobilenet_v1"),
    "fair-cifar100": ("cifar100_subset", "shufflenet_v2_x1_0"),
}
"""File → sample, and the lightest of the file's networks."""

OTHERS = {
    "aa-digits": ("digits", "mlp"),
    "evidence-alternation": ("folder:digits", "lenet"),
    "evidence-alternation-no-momentum": ("folder:digits", "lenet"),
    "evidence-cifar10-resnet": ("cifar10_subset", "resnet8"),
    "evidence-cifar10-shufflenet": ("cifar10_subset", "resnet8"),
    "evidence-cnn-fashion": ("folder:digits", "cnn"),
    "evidence-fashion-cnn": ("folder:digits", "cnn"),
    "evidence-fashion-lenet": ("folder:digits", "lenet"),
    "evidence-gpu": ("cifar10_subset", "resnet8"),
    "evidence-lenet-fashion": ("folder:digits", "lenet"),
    "evidence-resnet8-cifar10": ("cifar10_subset", "resnet8"),
    "evidence-shufflenet-cifar100": ("cifar100_subset", "resnet8"),
    "small-pde": ("poisson_1d", "pde_mlp"),
    "smooth-to-hard": ("folder:digits", "cnn"),
}
"""The lab's own experiments: file → sample and network. The wide networks are those of tables above."""
ELSEWHERE = (
    "small-(detection|segmentation|translation|video)|sau-(voc|cityscapes|wmt14)|tsm-something-something|frelu-coco"
)
"""In ``test_small.py``."""

ROWS = 24
"""Images of each part."""
WNIDS = ("n01443537", "n01629819")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with pieces of scikit-learn's photographs, and its digits, in each set's own format."""
    root = tmp_path_factory.mktemp("sample")
    for folder, files, key in (
        ("cifar-10-batches-py", ("data_batch_1", "test_batch"), "labels"),
        ("cifar-100-python", ("train", "test"), "fine_labels"),
    ):
        (root / folder).mkdir()
        for seed, file in enumerate(files):
            pixels, labels = photographs.pieces(ROWS, 32, seed)
            rows = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(ROWS, -1)
            (root / folder / file).write_bytes(pickle.dumps({"data": rows, key: labels.tolist()}))
    tiny = photographs.folder(root / "tiny-imagenet-64", {"train": ROWS, "val": ROWS}, 64)
    for path in [*tiny.rglob("*.jpg")]:
        wnid = WNIDS[photographs.NAMES.index(path.parent.name)]
        place = tiny / path.parent.parent.name / wnid / f"{wnid}_{path.stem}.JPEG"
        place.parent.mkdir(exist_ok=True)
        path.rename(place)
    for name in photographs.NAMES:
        (tiny / "train" / name).rmdir()
        (tiny / "val" / name).rmdir()
    (tiny / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    photographs.folder(root / "photographs", {"train": 12, "test": 8}, 300)
    digits = sample_digits()
    for label in range(4):
        for i, number in enumerate(np.flatnonzero(digits.target == label)[: ROWS // 2]):
            path = root / "digits" / ("train" if i % 2 else "test") / str(label) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[number] * 15).astype(np.uint8)).resize((28, 28)).save(path)
    return root


def test_every_experiment_is_here() -> None:
    found = {path.stem for path in EXPERIMENTS.glob("*.toml")}
    for path in EXPERIMENTS.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        assert f"bevel run experiments/{path.stem}.toml" in text, "the head of the file says how it is run"
        data = tomllib.loads(text)
        if path.stem in TABLES:
            assert TABLES[path.stem][1] in data["model"]
            found.remove(path.stem)
    assert {name for name in found if not re.fullmatch(ELSEWHERE, name)} == {*OTHERS, ENDED["quick"]}


ENDED = {"paper": "sau-mnist", "fair": "fair-cifar100", "quick": "digits"}
"""Of each protocol, the table that is started, killed and ended; all of them with ``--thorough``."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "ended" in metafunc.fixturenames:
        every = metafunc.config.getoption("--thorough")
        metafunc.parametrize("ended", [*TABLES, ENDED["quick"]] if every else ENDED.values())


def _command(table: str, sample: Path, folder: Path) -> tuple[list[str], list[str]]:
    """The table's own file, with its first arm and its last, cut down to seconds; and these arms."""
    dataset, model = TABLES.get(table, ("digits", "cnn"))
    text = (EXPERIMENTS / f"{table}.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    arms, file = [data["activations"][0], data["activations"][-1]], folder / f"{table}.toml"
    file.write_text(text + ("\n[tune]\ntrials = 2\n" if data["protocol"] == "fair" else ""))
    command = ["run", str(file), "--data-root", str(sample), "--dataset", dataset]
    command += ["--model", model, "--activations", *arms, "--no-controls", "--seeds", "1"]
    command += ["--epochs", "2", "--train-limit", "16", "--batch-size", "4", "--validation", "0.25"]
    return [*command, "--threads", "1", "--workers", "1", "--out", str(folder / "out")], arms


@pytest.mark.network
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_estimated(
    table: str, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sample)
    command, _ = _command(table, sample, tmp_path)
    # two images a batch are the fewest that norms take, and half the work of four
    assert main([*command, "--batch-size", "2", "--dry-run"]) == 0
    assert re.search(r"\d+ trials, about (?s:.*) Nothing was run\.", capfd.readouterr().out)


@pytest.mark.parametrize("file", OTHERS)
def test_an_experiment_of_the_lab_is_estimated(file: str, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sample)
    path = EXPERIMENTS / f"{file}.toml"
    whole = Request.of(path, {}).experiment
    dataset, model = OTHERS[file]
    cut = {"dataset": dataset, "model": model, "train_limit": 8, "batch_size": 4, "validation": 0.25}
    found = bevel_lab.estimate(path, **cut, data_root=str(sample), device="cpu", threads=1, workers=1)
    assert [row.label for row in found.rows] == [arm.label for arm in whole.arms]
    assert found.runs == whole.seeds + (whole.tuning.trials if whole.tuning else 0)
    assert all(row.timed and row.cost.seconds > 0 for row in found.rows)


def test_one_table_of_each_protocol_is_ended() -> None:
    for protocol, table in ENDED.items():
        assert tomllib.loads((EXPERIMENTS / f"{table}.toml").read_text(encoding="utf-8"))["protocol"] == protocol
    assert sorted(ENDED) == names()


@pytest.mark.process
def test_a_table_is_started_killed_and_ended(
    ended: str, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sample)
    command, arms = _command(ended, sample, tmp_path)

    def written() -> dict[Path, bytes]:
        """Whole lines of the ledgers: of tuning too, where the table has it."""
        return {path: path.read_bytes().rpartition(b"\n")[0] for path in tmp_path.rglob(ledger.LEDGER)}

    _killed(command, lambda: any(written().values()))
    before = written()
    assert main(command) == 0
    assert all(written()[path].startswith(lines) for path, lines in before.items()), "what was there stays"
    records, torn = ledger.parse(tmp_path / "out" / ledger.LEDGER)
    assert not torn
    assert sorted(record.label for record in records.values()) == sorted(arms)
    assert (tmp_path / "out" / "report.html").exists()


def _killed(command: list[str], ready: Callable[[], bool]) -> None:
    """Run the command in a process of its own until ``ready``, then kill it and all its workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bevel_lab", *command], start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        until(ready, "record", process)
        assert process.poll() is None, "it ended before it was killed"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
