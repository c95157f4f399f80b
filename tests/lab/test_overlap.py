"""The same sample in training and test: a note with the count and three names in every format; refused if asked to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import box_data
import each_task
import numpy as np
import pytest
import scene_data
import torch
from PIL import Image

from bevel_lab.cli import main
from bevel_lab.data import overlap
from bevel_lab.data.images import LabeledImages, LabeledTensors
from bevel_lab.data.invalid import DataNote
from bevel_lab.data.overlap import SharedSamples, check_shared, same_files
from bevel_lab.data.source import Source
from bevel_lab.datasets import load
from bevel_lab.errors import LabError

Names = list[tuple[str, str]]


def _images(root: Path, side: int, parts: tuple[str, ...] = ("train", "test")) -> None:
    draw = np.random.default_rng(side)
    for part in parts:
        for kind in ("a", "b"):
            for number in range(4):
                path = root / part / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw.integers(0, 256, (side, side, 3), np.uint8)).save(path)


def _folder(root: Path, side: int) -> tuple[str, Names]:
    _images(root, side)
    for name, other in (("a/1", "b/3"), ("b/0", "b/0")):
        shutil.copy(root / "train" / f"{other}.png", root / "test" / f"{name}.png")
    return f"folder:{root}", [("test/a/1.png", "train/b/3.png"), ("test/b/0.png", "train/b/0.png")]


def _small(root: Path) -> tuple[str, Names]:
    return _folder(root, 8)


def _large(root: Path) -> tuple[str, Names]:
    return _folder(root, 80)


def _drawn(root: Path) -> tuple[str, Names]:
    """A folder whose test part is drawn: copies of one image land in both."""
    _images(root, 80, ("",))
    for number in range(1, 4):
        shutil.copy(root / "a" / "0.png", root / "a" / f"{number}.png")
    return f"folder:{root}", [("a/3.png", "a/0.png")]


def _masks(root: Path) -> tuple[str, Names]:
    scene_data.write_parts(root, {"train": (4, 0), "val": (3, 100), "test": (3, 200)})
    for name, seen in (("200", "train/images/001"), ("202", "val/images/102")):
        shutil.copy(root / f"{seen}.jpg", root / "test" / "images" / f"{name}.jpg")
    return f"folder_masks:{root}", [
        ("test/images/200.jpg", "train/images/001.jpg"),
        ("test/images/202.jpg", "val/images/102.jpg"),
    ]


def _clips(root: Path) -> tuple[str, Names]:
    each_task.write_clips(root)
    shutil.rmtree(root / "test" / "left" / "2")
    shutil.copytree(root / "train" / "right" / "3", root / "test" / "left" / "2")
    return f"folder_clips:{root}", [("test/left/2", "train/right/3")]


def _text(root: Path) -> tuple[str, Names]:
    root.mkdir()
    lines = {part: [f"{part} sentence number {k}" for k in range(9)] for part in ("train", "valid", "test")}
    lines["test"][2] = lines["train"][5] = "one sentence that both parts have and that is quite long"
    lines["test"][4] = lines["valid"][1]
    for part, texts in lines.items():
        for language in ("de", "en"):
            (root / f"{part}.{language}").write_text("".join(f"{text}\n" for text in texts))
    shown = ["'one sentence that both parts have and …'", "'valid sentence number 1'"]
    return f"folder_text:{root}:de-en", [(name, name) for name in shown]


def _voc_list(root: Path) -> tuple[str, Names]:
    lists = box_data.write_voc(root) / "ImageSets" / "Main"
    (lists / "test.txt").write_text((lists / "test.txt").read_text() + "trainval_2\n")
    return f"folder_voc:{root}", [("trainval_2.jpg", "trainval_2.jpg")]


def _voc_content(root: Path) -> tuple[str, Names]:
    images = box_data.write_voc(root) / "JPEGImages"
    shutil.copy(images / "trainval_4.jpg", images / "test_1.jpg")
    return f"folder_voc:{root}", [("test_1.jpg", "trainval_4.jpg")]


def _coco(root: Path) -> tuple[str, Names]:
    box_data.write_coco(root)
    shutil.copy(root / "train2017" / f"{5:012}.jpg", root / "val2017" / f"{9:012}.jpg")
    return f"folder_coco:{root}", [(f"val2017/{9:012}.jpg", f"train2017/{5:012}.jpg")]


FORMATS = [_small, _large, _drawn, _masks, _clips, _text, _voc_list, _voc_content, _coco]


@pytest.mark.filterwarnings("ignore:a fixed test part")
@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__.strip("_"))
def test_what_is_in_both_parts_is_named_in_every_format(
    tmp_path: Path, write: Callable[[Path], tuple[str, Names]]
) -> None:
    name, shared = write(tmp_path / "own")
    words = ", ".join(test if test == seen else f"{test} (the same as {seen})" for test, seen in shared)
    count = "1 sample" if len(shared) == 1 else f"{len(shared)} samples"
    problem = f"the test part shares {count} with the training or validation part: {words}"
    with pytest.warns(SharedSamples) as said:
        load(name, Source())
    assert [str(one.message) for one in said if one.category is SharedSamples] == [problem]
    with pytest.raises(LabError) as refused:
        load(name, Source(strict=True))
    assert str(refused.value) == f"{problem}; delete each from one part, or run without --strict."


def test_three_are_named_and_the_others_counted() -> None:
    images = torch.arange(5 * 12, dtype=torch.uint8).view(5, 3, 2, 2)
    part = LabeledTensors(images, torch.arange(5) % 2)
    rest = LabeledTensors(images.flip(0) + 0, torch.arange(5) % 2)
    words = [f"test image {k} (the same as training image {4 - k})" for k in range(3)]
    with pytest.warns(SharedSamples, match=r"shares 5 samples .*, and 2 more$") as said:
        check_shared(LabeledImages(part, rest, classes=2, flips=False), strict=False)
    assert ": " + ", ".join(words) + ", and 2 more" in str(said[0].message)
    other = LabeledTensors(images + 100, torch.arange(5) % 2)
    check_shared(LabeledImages(part, other, classes=2, flips=False), strict=True)


def test_files_of_one_size_and_one_end_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, first in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(first + bytes(10_000))
    a, b, c = (tmp_path / name for name in "abc")
    (tmp_path / "link").symlink_to(a)
    assert same_files([a], [b, c]) == [("c", "a")]
    monkeypatch.setattr(overlap, "COMPARED", 1)  # too many to read: paths only
    with pytest.warns(DataNote, match=r"3 samples are more than 1: only the paths of those in test and training"):
        assert same_files([a], [b, c]) == []
    with pytest.warns(DataNote, match="not their content"):
        assert same_files([a], [b, tmp_path / "link"]) == [("link", "a")]


def test_strict_is_a_flag_and_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, _ = _small(tmp_path / "own")
    file = tmp_path / "own.toml"
    settings = {"activations": ["relu"], "dataset": name, "model": "mlp", "out": str(tmp_path / "out"), "strict": True}
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    flags = ["--activations", "relu", "--dataset", name, "--model", "mlp", "--out", str(tmp_path / "out"), "--strict"]
    for command in (["run", str(file)], ["compare", *flags]):
        assert main(command) == 2
        assert capsys.readouterr().err == (
            "bevel: the test part shares 2 samples with the training or validation part: test/a/1.png (the same as "
            "train/b/3.png), test/b/0.png (the same as train/b/0.png); delete each from one part, or run without "
            "--strict.\n"
        )
    assert not (tmp_path / "out").exists()
