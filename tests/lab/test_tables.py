"""Every table of the papers, as its file says it, on small real samples: estimated, started, killed, and ended."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED

from bevel_lab.cli import main
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS
from bevel_lab.experiment import ledger

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
TABLES = {
    "sau-mnist": ("mnist", "lenet"),
    "sau-cifar10": ("cifar10_subset", "shufflenet_v2_x0_5"),
    "sau-cifar100": ("cifar100_subset", "shufflenet_v2_x0_5"),
    "sau-tiny-imagenet": ("tiny_imagenet_subset", "mobilenet_v2"),
    "sau-imagenet": ("folder:photographs", "shufflenet_v2_x1_0"),
    "frelu-cifar100": ("cifar100_subset", "mobilenet_v1"),
    "frelu-imagenet": ("folder:photographs", "mobilenet_v1"),
    "fair-cifar100": ("cifar100_subset", "shufflenet_v2_x1_0"),
}
"""File → sample, and the lightest of the file's networks."""

ROWS = 24
"""Images of each part."""


@pytest.fixture(scope="module")
def sample(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a few of the real images of each set, in the originals' formats."""
    root = tmp_path_factory.mktemp("sample")
    _cifar(root / "cifar-10-batches-py", unpacked, "cifar10_subset", ("data_batch_1", "test_batch"), "labels")
    _cifar(root / "cifar-100-python", unpacked, "cifar100_subset", ("train", "test"), "fine_labels")
    (tiny,) = unpacked.glob("tiny-imagenet-*")
    for name in ("wnids.txt", "words200.txt"):
        shutil.copy(tiny / name, _made(root / tiny.name) / name)
    _some(tiny / "val", root / tiny.name / "val", 1)
    _some(tiny / "train", root / tiny.name / "train", 1)
    (root / "MNIST").symlink_to(unpacked / "MNIST")
    with zipfile.ZipFile(SHARED / "imagenet20" / "imagenet20.zip") as packed:
        photographs = sorted(name for name in packed.namelist() if name.endswith(".jpg"))
        for k, name in enumerate(photographs):
            folder = _made(root / "photographs" / ("train" if k % 5 < 3 else "test") / str(k % 2))
            (folder / Path(name).name).write_bytes(packed.read(name))
    return root


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cifar(folder: Path, unpacked: Path, name: str, files: tuple[str, str], labels: str) -> None:
    data: Any = DATASETS.item(name).load(Source(unpacked))
    for file, part in zip(files, (data.train, data.test), strict=True):
        content = {"data": part.images[:ROWS].reshape(ROWS, -1).numpy(), labels: part.labels[:ROWS].tolist()}
        (_made(folder) / file).write_bytes(pickle.dumps(content))


def _some(source: Path, target: Path, each: int) -> None:
    """The annotations, and so many images of every folder."""
    for folder in (source, *filter(Path.is_dir, source.rglob("*"))):
        place = _made(target / folder.relative_to(source))
        files = sorted(path for path in folder.iterdir() if path.is_file())
        pictures = [path for path in files if path.suffix.lower() in (".jpeg", ".jpg", ".png")]
        for path in [*pictures[:each], *(path for path in files if path not in pictures)]:
            shutil.copy(path, place / path.name)


def test_every_table_of_classification_is_here() -> None:
    found = {path.stem for path in EXPERIMENTS.glob("*.toml")}
    for path in EXPERIMENTS.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        assert f"bevel run experiments/{path.stem}.toml" in text, "the head of the file says how it is run"
        data = tomllib.loads(text)
        if path.stem in TABLES:
            assert TABLES[path.stem][1] in data["model"]
            found.remove(path.stem)
    assert not any(re.match("sau-(mnist|cifar|tiny|imagenet)|frelu-(cifar|imagenet)|fair", name) for name in found)


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_estimated_started_killed_and_ended(
    table: str, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sample)
    dataset, model = TABLES[table]
    text = (EXPERIMENTS / f"{table}.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    arms, file = data["activations"], tmp_path / f"{table}.toml"
    file.write_text(text + ("\n[tune]\ntrials = 2\n" if data["protocol"] == "fair" else ""))
    command = ["run", str(file), "--data-root", str(sample), "--dataset", dataset]
    command += ["--model", model, "--activations", arms[0], arms[-1], "--no-controls", "--seeds", "1"]
    command += ["--epochs", "2", "--train-limit", "16", "--batch-size", "4", "--validation", "0.25"]
    command += ["--threads", "1", "--workers", "1", "--out", str(tmp_path / "out")]
    assert main([*command, "--dry-run"]) == 0
    assert re.search(r"\d+ trials, about (?s:.*) Nothing was run\.", capfd.readouterr().out)

    def written() -> dict[Path, bytes]:
        """Whole lines of the ledgers: of tuning too, where the table has it."""
        return {path: path.read_bytes().rpartition(b"\n")[0] for path in tmp_path.rglob(ledger.LEDGER)}

    _killed(command, lambda: any(written().values()))
    before = written()
    assert main(command) == 0
    assert all(written()[path].startswith(lines) for path, lines in before.items()), "what was there stays"
    records, torn = ledger.parse(tmp_path / "out" / ledger.LEDGER)
    assert not torn
    assert sorted(record.label for record in records.values()) == sorted([arms[0], arms[-1]])
    assert (tmp_path / "out" / "report.html").exists()


def _killed(command: list[str], ready: Callable[[], bool]) -> None:
    """Run the command in a process of its own until ``ready``, then kill it and all its workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bevel_lab", *command], start_new_session=True, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    trainer = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert trainer, "it was killed on its way"
