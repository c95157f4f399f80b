"""The small experiment of every task as its file says it, on real samples: arms, ledger, report and pictures."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import each_task
import pytest
import sentence_data
from conftest import SHARED

from bevel_lab.cli import main
from bevel_lab.experiment import ledger
from bevel_lab.report.figures import samples as pictures
from bevel_lab.report.text import findings

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SMALL = ("detection", "segmentation", "translation", "video")
MEASURED = {"detection": "map", "segmentation": "accuracy", "translation": "token accuracy", "video": "top1"}
"""Of each task, what a report must have in words."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with all the sample packs, unpacked as the docs say."""
    if not SHARED.is_dir():
        pytest.skip(f"the real data is not here: {SHARED} does not exist")
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, SHARED / "tools" / "unpack.py", SHARED, folder], check=True)
    return folder


def _sentences(root: Path, folder: Path) -> str:
    """A few of Multi30k's: an untrained Transformer needs minutes for all that there are to be translated."""
    folder.mkdir()
    for name, part, count in (("train", "train", 100), ("valid", "val", 8), ("test", "test_2016_flickr", 8)):
        texts = (gzip.decompress(next(root.rglob(f"{part}.{end}.gz")).read_bytes()) for end in ("en", "de"))
        lines = (text.decode().splitlines()[:count] for text in texts)
        sentence_data.write(folder, name, list(zip(*lines, strict=True)))
    return f"folder_text:{folder}:en-de"


@pytest.mark.slow
@pytest.mark.filterwarnings("always::bevel_lab.data.invalid.SkippedSamples")
@pytest.mark.parametrize("task", SMALL)
def test_it_ends_in_a_report_with_pictures(task: str, root: Path, tmp_path: Path) -> None:
    file = EXPERIMENTS / f"small-{task}.toml"
    said = tomllib.loads(file.read_text(encoding="utf-8"))
    command = ["run", str(file), "--data-root", str(root), "--epochs", "1", "--seeds", "1", "--train-limit", "16"]
    if task == "translation":
        command += ["--dataset", _sentences(root, tmp_path / "few")]
    if task == "video":  # 2,000 moving pictures a test part; tests/lab/test_video.py trains on them
        command += ["--dataset", f"folder_clips:{each_task.clips(tmp_path / 'clips')}", "--validation", "0.25"]
    assert main([*command, "--workers", "1", "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    records, torn = ledger.parse(tmp_path / "out" / ledger.LEDGER)
    assert not torn
    assert sorted(record.label for record in records.values()) == sorted(said["activations"])
    assert {"relu", "sau", "frelu"} <= set(said["activations"])
    assert {record.trial.task for record in records.values()} == {task}
    left_out = tmp_path / "out" / "skipped.txt"
    assert left_out.exists() == (task == "detection"), "two boxes of BCCD have no area"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert pictures.TITLE in page
    samples = {len(record.pictures) for record in records.values()}
    assert min(samples) >= 3, "every arm's guesses"
    images = {"detection": len(records) + 1, "segmentation": len(records) + 1, "translation": 0, "video": 1}[task]
    assert page.count('<img src="data:image/png;base64,') >= min(samples) * images, "truth, and guesses that are drawn"
    assert MEASURED[task] in page
    assert (findings.MEASURED in page) == (task != "video")


LARGE = {
    "sau-voc": "detection",
    "sau-cityscapes": "segmentation",
    "sau-wmt14": "translation",
    "tsm-something-something": "video",
}
"""The papers' tables beyond classification, and their tasks; but frelu-coco, whose 800 pixels take minutes on a CPU."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return each_task.settings(tmp_path_factory.mktemp("samples"))


@pytest.mark.slow
@pytest.mark.parametrize("table", LARGE)
def test_a_papers_table_is_estimated(
    table: str, samples: dict[str, dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own network and arms, on a few samples of the same kind."""
    arms = tomllib.loads((EXPERIMENTS / f"{table}.toml").read_text(encoding="utf-8"))["activations"]
    command = ["run", str(EXPERIMENTS / f"{table}.toml"), "--dataset", samples[LARGE[table]]["dataset"]]
    command += ["--activations", "relu", arms[-1], "--no-controls", "--batch-size", "2", "--validation", "0.25"]
    command += ["--precision", "float32", "--threads", "1", "--train-limit", "6", "--dry-run"]
    assert main(command) == 0
    assert re.search(r"20 trials, about (?s:.*) Nothing was run\.", capfd.readouterr().out)
