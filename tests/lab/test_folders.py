"""Users' own folders: what lies in them and is no sample is skipped or named, never taken for one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import each_task
import numpy as np
import pytest
import scene_data
from PIL import Image
from sample_digits import sample_digits

from bevel_lab.data.invalid import DataNote
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS
from bevel_lab.datasets._listing import files_of
from bevel_lab.errors import LabError

NFC, NFD = "caf\xe9", "cafe\u0301"
"""One name in two Unicode forms."""


def _digit(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sample_digits().images[number] * 15).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, three images each to train on and two to test."""
    for first, (part, count) in enumerate((("train", 3), ("test", 2))):
        for kind in range(2):
            for i in range(count):
                _digit(tmp_path / "photos" / part / f"class{kind}" / f"{i}.png", 20 * first + 10 * i + kind)
    return tmp_path / "photos"


def _load(path: Path) -> Any:
    return DATASETS.item(f"folder:{path}").load(Source())


def _counts(path: Path) -> tuple[int, int, int]:
    data = _load(path)
    return data.facts["train"], data.facts["test"], data.classes


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", "__MACOSX", ".git", "class0/.ipynb_checkpoints", "class0/__MACOSX"]
)
def test_hidden_folders_are_neither_classes_nor_copies(photos: Path, name: str) -> None:
    for part in ("train", "test"):
        shutil.copytree(photos / part / "class0", photos / part / name)
    assert _counts(photos) == (6, 4, 2)


def test_files_are_listed_as_torchvision_lists_them(photos: Path) -> None:
    from torchvision.datasets import ImageFolder

    for i, name in enumerate(("class0/b/1.png", "class0/a/2.png", "class0/B/0.PNG", "class1/x/y/z.png")):
        _digit(photos / "train" / name, 50 + i)
    theirs = ImageFolder(str(photos / "train"))
    files, classes = files_of(photos / "train")
    assert classes == theirs.classes
    assert [(str(files.root / name), int(label)) for name, label in zip(files.names, files.labels, strict=True)] == (
        theirs.samples
    )


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_folder_above_it_is_named(photos: Path, target: str) -> None:
    (photos / "train" / "class0" / "again").symlink_to(target, target_is_directory=True)
    with pytest.raises(LabError, match=r"class0/again is a link to a folder that it lies in; delete it"):
        _load(photos)


def test_a_link_to_another_folder_is_followed(photos: Path, tmp_path: Path) -> None:
    shutil.move(photos / "train" / "class0", tmp_path / "elsewhere")
    (photos / "train" / "class0").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert _counts(photos) == (6, 4, 2)


def test_files_that_are_passed_over_are_said(photos: Path) -> None:
    for name in ("a.gif", "b.gif", "notes.txt", ".DS_Store"):
        (photos / "train" / "class0" / name).write_bytes(b"GIF89a")
    with pytest.warns(DataNote) as said:
        assert _counts(photos) == (6, 4, 2)
    assert [str(one.message) for one in said] == [
        f"3 files below {photos}/train are no images that are read here, and passed over: 2 .gif, 1 .txt"
    ]


def test_which_of_val_and_test_is_read_is_said(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "test", photos / "val")
    with pytest.warns(DataNote, match=r"photos has test and val; it is tested on test, and val is not read"):
        _load(photos)
    clips = each_task.write_clips(tmp_path / "clips")
    shutil.copytree(clips / "test", clips / "val")
    with pytest.warns(DataNote, match=r"clips has test and val; it is tested on test, and val is not read"):
        DATASETS.item(f"folder_clips:{clips}").load(Source())


def test_one_class_is_refused(photos: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        shutil.rmtree(photos / part / "class1")
    with pytest.raises(LabError, match=r"train has one class, 'class0'; a classifier needs two"):
        _load(photos)
    clips = each_task.write_clips(tmp_path / "clips")
    for part in ("train", "test"):
        shutil.rmtree(clips / part / "left")
    with pytest.raises(LabError, match=r"train has one class, 'right'; a classifier needs two"):
        DATASETS.item(f"folder_clips:{clips}").load(Source())


def test_a_class_without_an_image_is_named(photos: Path) -> None:
    (photos / "train" / "empty").mkdir()
    with pytest.raises(LabError, match=r"train/empty has no image \(\.jpg, .*\); add some, or delete it"):
        _load(photos)
    with pytest.raises(LabError, match=r"class0 has no folder of images for each class"):
        _load(photos / "train" / "class0")


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="its file system has one Unicode form")
def test_names_that_differ_by_their_unicode_form_are_shown_so_that_one_sees_it(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "class0").rename(photos / "train" / NFC)
    (photos / "test" / "class0").rename(photos / "test" / NFD)
    twins = r"'cafe\\u0301' and 'caf\\xe9' look alike and differ by their Unicode form; rename one"
    with pytest.raises(LabError, match=rf"photos/test: {twins}"):
        _load(photos)
    clips = each_task.write_clips(tmp_path / "clips")
    (clips / "train" / "left").rename(clips / "train" / NFC)
    (clips / "test" / "left").rename(clips / "test" / NFD)
    with pytest.raises(LabError, match=twins):
        DATASETS.item(f"folder_clips:{clips}").load(Source())
    (photos / "test" / NFD).rename(photos / "test" / NFC)
    for part in ("train", "test"):
        shutil.copytree(photos / part / NFC, photos / part / NFD)
    with pytest.raises(LabError, match=twins):
        _load(photos)
    street = scene_data.write_parts(tmp_path / "street", {"train": (3, 0), "test": (2, 10)})
    (street / "train" / "images" / "001.jpg").rename(street / "train" / "images" / f"{NFC}.jpg")
    (street / "train" / "masks" / "001.png").rename(street / "train" / "masks" / f"{NFD}.png")
    with pytest.raises(LabError, match=twins):
        DATASETS.item(f"folder_masks:{street}").load(Source())
    for kind in ("images", "masks"):
        shutil.rmtree(street / "train" / kind)
        shutil.copytree(street / "test" / kind, street / "train" / kind)
    (street / "classes.txt").write_text(f"sky\n{NFC}\n{NFD}", "utf-8")
    with pytest.raises(LabError, match=twins):
        DATASETS.item(f"folder_masks:{street}").load(Source())
