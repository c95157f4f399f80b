"""The small experiment of every task as its file says it, on real samples: arms, ledger, report and pictures."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import box_data
import each_task
import photographs
import pytest
import scene_data
import sentence_data
from PIL import Image
from sample_data import here, place

from bevel_lab.cli import main
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS
from bevel_lab.experiment import ledger
from bevel_lab.report.figures import samples as pictures
from bevel_lab.report.text import findings

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
SMALL = ("detection", "segmentation", "translation", "video")
MEASURED = {"detection": "map", "segmentation": "accuracy", "translation": "token accuracy", "video": "Top-1"}
"""Of each task, what a report must have in words."""


def _few_sentences(root: Path, folder: Path) -> str:
    """Some of Multi30k's: an untrained Transformer needs minutes for all that there are to be translated."""
    folder.mkdir()
    data = DATASETS.item("multi30k").load(Source(place(root, "multi30k")))
    for name, count in (("train", 100), ("valid", 8), ("test", 8)):
        part = getattr(data, name)
        sentence_data.write_part(folder, name, list(zip(part.source, part.target, strict=True))[:count])
    return f"folder_text:{folder}:en-de"


def _few_cells(root: Path, folder: Path) -> str:
    """Some of BCCD's images, among them those in which a box has no area."""
    given, lists = place(root, "BCCD") / "BCCD", Path("ImageSets", "Main")
    (folder / lists).mkdir(parents=True)
    for name in ("JPEGImages", "Annotations"):
        (folder / name).symlink_to(given / name)
    for part, count in (("trainval", 16), ("test", 6)):
        names = (given / lists / f"{part}.txt").read_text().split()
        odd = [name for name in names[count:] if name in ("BloodImage_00338", "BloodImage_00343")]
        (folder / lists / f"{part}.txt").write_text("\n".join([*names[:count], *odd]))
    return f"folder_voc:{folder}"


def _boxes(folder: Path) -> str:
    """Digits as blood cells are given: the boxes of one image have no area."""
    annotation = box_data.write_voc(folder) / "Annotations" / "trainval_2.xml"
    annotation.write_text(re.sub(r"<xmax>\d+", "<xmax>0", annotation.read_text()))
    return f"folder_voc:{folder}"


def _few_streets(root: Path, folder: Path) -> str:
    """Some of CamVid's scenes; of all its 168 that are not trained on, every arm would make masks."""
    data = DATASETS.item("camvid_half").load(Source(place(root, "camvid_half")))
    for name, part, count in (("train", data.train, 16), ("val", data.validation, 4), ("test", data.test, 4)):
        for number in range(count):
            scene = part.read(number)
            for kind, pixels in (("images", scene[:3].permute(1, 2, 0)), ("masks", scene[3])):
                path = folder / name / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.numpy()).save(path)
    (folder / "classes.txt").write_text("\n".join(data.classes))
    return f"folder_masks:{folder}"


def _streets(folder: Path) -> str:
    """Pieces of photographs, in colors instead of classes."""
    parts = {"train": (16, 0), "val": (4, 100), "test": (4, 200)}
    return f"folder_masks:{scene_data.write_parts(folder, parts, photographs.scene)}"


def _samples(task: str, root: Path, folder: Path) -> list[str]:
    """What names a few samples: of the experiment's own data set where it is here, else real ones of the same kind."""
    if task == "detection":
        return ["--dataset", _few_cells(root, folder) if here("BCCD") else _boxes(folder)]
    if task == "segmentation":
        return ["--dataset", _few_streets(root, folder) if here("camvid_half") else _streets(folder)]
    if task == "translation":
        few = _few_sentences(root, folder) if here("multi30k") else f"folder_text:{_corpus(folder)}:en-de"
        return ["--dataset", few]
    # Fashion-MNIST's 2,000 moving pictures take minutes; tests/lab/test_video.py trains on them
    return ["--dataset", f"folder_clips:{each_task.write_clips(folder)}", "--validation", "0.25"]


def _corpus(folder: Path) -> Path:
    folder.mkdir()
    return sentence_data.write_corpus(folder)


@pytest.mark.process
@pytest.mark.filterwarnings("always::bevel_lab.data.invalid.SkippedSamples")
@pytest.mark.parametrize("task", SMALL)
def test_it_ends_in_a_report_with_pictures(task: str, tmp_path: Path) -> None:
    file, root = EXPERIMENTS / f"small-{task}.toml", tmp_path / "root"
    root.mkdir()
    said = tomllib.loads(file.read_text(encoding="utf-8"))
    command = ["run", str(file), "--data-root", str(root), "--epochs", "1", "--seeds", "1", "--train-limit", "16"]
    command += _samples(task, root, tmp_path / "samples")
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
    return each_task.trial_settings(tmp_path_factory.mktemp("samples"))


@pytest.mark.network
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
