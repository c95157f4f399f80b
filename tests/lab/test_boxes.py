"""Data sets with boxes: read as their originals' tools read them, and everything that is wrong with one is named."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import box_data
import pytest
import torch
from sample_data import place

from bevel.errors import InvalidValue
from bevel_lab.data.images.boxes import BoxedImages, ImageWithBoxes
from bevel_lab.data.invalid import DataNote
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS
from bevel_lab.errors import LabError


def _load(name: str, skip: bool = False, root: Path = Path("data")) -> BoxedImages:
    data: BoxedImages = DATASETS.item(name).load(Source(root, skip_invalid=skip))
    return data


def test_voc_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    from torchvision.datasets import VOCDetection

    folder = box_data.write_voc(tmp_path / "VOCdevkit" / "VOC2007", {"train": 3, "val": 3, "trainval": 9, "test": 2})
    data = _load(f"folder_voc:{folder}")
    assert (data.classes, len(data.train), len(data.test)) == (("one", "two", "zero"), 9, 2)
    theirs = VOCDetection(str(tmp_path), "2007", "trainval")
    for sample, (_, target) in zip(data.train, theirs, strict=True):
        for index, thing in enumerate(target["annotation"]["object"]):
            edges = [float(thing["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax")]
            assert sample.boxes[index].tolist() == edges
            assert data.classes[int(sample.labels[index]) - 1] == thing["name"]
            assert bool(sample.ignored[index]) == (thing["difficult"] == "1")
    assert data.train[0].ignored.tolist() == [False, True]
    assert data.facts["boxes"] == 22
    assert data.facts["note"] == "trained on trainval, tested on test of VOC2007"


def test_coco_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    from torchvision.datasets import CocoDetection

    folder = box_data.write_coco(tmp_path / "coco_sample")
    data = _load("coco_sample", root=tmp_path)
    assert data.classes == ("one", "two", "zero"), "in the order of their numbers"
    theirs = CocoDetection(str(folder / "train2017"), str(folder / "annotations" / "instances_train2017.json"))
    for sample, (_, things) in zip(data.train, theirs, strict=True):
        widths = torch.tensor([thing["bbox"] for thing in things], dtype=torch.float32)
        widths[:, 2:] += widths[:, :2]
        assert torch.equal(sample.boxes, widths)
        assert [(3, 5, 8)[label - 1] for label in sample.labels.tolist()] == [t["category_id"] for t in things]
        assert sample.ignored.tolist() == [bool(thing["iscrowd"]) for thing in things]
    assert _load(f"folder_coco:{folder}").facts == data.facts


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    first = _load(f"folder_voc:{box_data.write_voc(tmp_path / 'a')}")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert _load(f"folder_voc:{tmp_path / 'b'}").facts["digest"] == first.facts["digest"]
    path = tmp_path / "b" / "Annotations" / "test_1.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1", 1))
    assert _load(f"folder_voc:{tmp_path / 'b'}").facts["digest"] != first.facts["digest"]


def _replaced(old: str, new: str, name: str = "trainval_2") -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "Annotations" / f"{name}.xml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return damage


def _box(**edges: int) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        tree = ET.parse(folder / "Annotations" / "trainval_2.xml")
        for key, value in edges.items():
            node = tree.find(f"object/bndbox/{key}")
            assert node is not None
            node.text = str(value)
        tree.write(folder / "Annotations" / "trainval_2.xml")

    return damage


def _cut(folder: Path) -> None:
    path = folder / "JPEGImages" / "trainval_2.jpg"
    path.write_bytes(path.read_bytes()[:-300])


ENTITY = '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<annotation>'

BAD_BOXES = [
    (_box(xmin=30, xmax=30), r"trainval_2.xml:3: the box 30, .* has no area; its right and bottom"),
    (_box(ymin=40, ymax=10), r"trainval_2.xml:3: the box .* has no area"),
    (_box(xmax=81), r"trainval_2.xml:3: the box .* leaves its image of 64×80 pixels"),
    (_box(ymin=-2), r"trainval_2.xml:3: the box .* leaves its image of 64×80 pixels"),
    (_replaced("<xmin>", "<xmin>x"), r"trainval_2.xml:3: the object has no bndbox of four numbers"),
    (_replaced("<xmin>", "<xmin>nan</xmin><xmin>"), r"trainval_2.xml:3: the box nan, .* is no box"),
    (_replaced("<name>", "<title></title><naam>"), r"is no XML \(mismatched tag\)"),
]
BAD_IMAGES = [
    (_replaced("</bndbox>", ""), r"trainval_2.xml:6 is no XML \(mismatched tag\)"),
    (
        _replaced("<annotation>", "<?xml version='1.0' encoding='klingon'?>\n<annotation>"),
        r"trainval_2.xml:1 is no XML",
    ),
    (_replaced("<annotation>", ENTITY), r"trainval_2.xml:1 declares a document type"),
    (_replaced("<width>80", "<width>81"), r"trainval_2.jpg has 64×80 pixels where its annotation says 64×81"),
    (lambda f: (f / "Annotations" / "trainval_2.xml").unlink(), r"trainval_2.xml cannot be read"),
    (lambda f: (f / "JPEGImages" / "trainval_2.jpg").unlink(), r"trainval_2.jpg is no whole image \(FileNotFound"),
    (lambda f: (f / "JPEGImages" / "trainval_2.jpg").write_text("<html>"), r"trainval_2.jpg is no whole image"),
]


@pytest.mark.parametrize(("damage", "words"), [*BAD_BOXES, *BAD_IMAGES])
def test_what_is_wrong_with_a_voc_folder_is_named(tmp_path: Path, damage: Callable[[Path], Any], words: str) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    damage(folder)
    with pytest.raises(LabError, match=rf"{words}.*, or skip it with --skip-invalid\."):
        _load(f"folder_voc:{folder}")


@pytest.mark.parametrize(("damage", "words"), [*BAD_BOXES[:-1], *BAD_IMAGES, (_cut, "trainval_2.jpg is no whole")])
def test_what_is_left_out_is_counted_and_named(tmp_path: Path, damage: Callable[[Path], Any], words: str) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    whole = _load(f"folder_voc:{folder}")
    damage(folder)
    _replaced("<xmax>", "<xmax>99", "trainval_7")(folder)
    with pytest.warns(UserWarning, match=r"skipped as invalid, 2: "):
        data = _load(f"folder_voc:{folder}", skip=True)
    assert str(data.facts["skipped"]).startswith("2: ")
    assert "Annotations/trainval_7.xml:3: the box" in str(data.facts["skipped"])
    assert str(tmp_path) not in str(data.facts["skipped"]), "the same on every machine"
    boxed = (damage, words) in BAD_BOXES
    assert len(data.train) == len(whole.train) - (not boxed)
    assert data.facts["boxes"] == int(whole.facts["boxes"]) - (2 if boxed else 3)


def _renamed(folder: Path, old: str, new: str, suffix: str = ".jpg") -> None:
    """Give a sample of the training part another name, in its three places."""
    (folder / "Annotations" / f"{old}.xml").rename(folder / "Annotations" / f"{new}.xml")
    (folder / "JPEGImages" / f"{old}.jpg").rename(folder / "JPEGImages" / f"{new}{suffix}")
    path = folder / "ImageSets" / "Main" / "trainval.txt"
    path.write_text(path.read_text().replace(f"{old}\n", f"{new}\n"))


def test_a_name_is_its_line_but_for_what_lists_of_classes_add(tmp_path: Path) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    before = _load(f"folder_voc:{folder}")
    for number, name in enumerate(("photo", "photo (1)", "photo (2)", "photo -1", "photo 1")):
        _renamed(folder, f"trainval_{number}", name)
    path = folder / "ImageSets" / "Main" / "trainval.txt"
    path.write_text(
        path.read_text().replace("photo (2)\n", "photo (2)  -1\n").replace("trainval_5\n", "trainval_5  1\n")
    )
    data = _load(f"folder_voc:{folder}")
    assert [s.path.stem for s in data.train[:6]] == [
        "photo", "photo (1)", "photo (2)", "photo -1", "photo 1", "trainval_5",
    ]  # fmt: skip
    for new, old in zip(data.train, before.train, strict=True):
        assert torch.equal(new.boxes, old.boxes)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".JPEG", ".PNG"])
def test_images_are_found_whatever_the_case_of_their_suffix(tmp_path: Path, suffix: str) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    _renamed(folder, "trainval_3", "other", suffix)
    assert _load(f"folder_voc:{folder}").train[3].path.name == f"other{suffix}"


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("1", True),
        ("true", True),
        ("True", True),
        ("1.0", True),
        (" 1 ", True),
        ("0", False),
        ("false", False),
        ("", False),
    ],
)
def test_an_object_is_difficult_however_that_is_written(tmp_path: Path, text: str, ignored: bool) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    _replaced("<difficult>0", f"<difficult>{text}")(folder)
    assert _load(f"folder_voc:{folder}").train[2].ignored.tolist() == [ignored, False]


def test_what_is_neither_difficult_nor_not_is_named(tmp_path: Path) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    _replaced("<difficult>0", "<difficult>perhaps")(folder)
    with pytest.raises(LabError, match=r"trainval_2.xml:3: the object's difficult is 'perhaps'; write 0 or 1"):
        _load(f"folder_voc:{folder}")


def test_a_class_that_training_does_not_know_is_named(tmp_path: Path) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    _replaced("<name>", "<name>twenty-", "test_1")(folder)
    with pytest.raises(LabError, match=r"test_1.xml:3: there is no class 'twenty-.*'; the classes are one, two, zero"):
        _load(f"folder_voc:{folder}")


NFC, NFD = "caf\xe9", "cafe\u0301"
"""One name in two Unicode forms."""
LIST = "ImageSets/Main/trainval.txt"


def _recalled(folder: Path, pattern: str, old: str, new: str) -> None:
    for path in (folder / "Annotations").glob(pattern):
        path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("place", ["test_*", "trainval_[0-4].xml", "list", "image"])
def test_names_that_differ_by_their_unicode_form_are_shown(tmp_path: Path, place: str) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    if place in ("list", "image"):
        _renamed(folder, "trainval_4", NFC)
        path = folder / LIST if place == "list" else folder / "JPEGImages" / f"{NFC}.jpg"
        if place == "list":
            path.write_text(path.read_text().replace(NFC, NFD))
        else:
            path.rename(path.with_name(f"{NFD}.jpg"))
    else:
        _recalled(folder, "*", "zero", NFC)
        assert NFC in _load(f"folder_voc:{folder}").classes
        _recalled(folder, place, NFC, NFD)
    with pytest.raises(LabError, match=r"'cafe\\u0301.*' and 'caf\\xe9.*' look alike and differ by their Unicode form"):
        _load(f"folder_voc:{folder}")


def test_a_name_that_is_listed_twice_is_named(tmp_path: Path) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    (folder / LIST).write_text((folder / LIST).read_text() + "trainval_2  1\n")
    with pytest.raises(LabError, match=r"trainval.txt names 'trainval_2' 2 times; name each image once"):
        _load(f"folder_voc:{folder}")


def test_a_list_that_is_not_read_is_said(tmp_path: Path) -> None:
    folder = box_data.write_voc(tmp_path / "own", {"train": 4, "val": 2, "test": 2})
    with pytest.warns(DataNote, match=r"own has lists test and val; it is tested on test, and val is not read"):
        _load(f"folder_voc:{folder}")


def test_a_truncated_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    from bevel_lab.tasks._detection_data import DetectionDataset

    folder = box_data.write_voc(tmp_path / "own")
    _cut(folder)
    data = _load(f"folder_voc:{folder}")
    with pytest.raises(LabError, match=r"trainval_2.jpg is no whole image"):
        list(DetectionDataset(data.train, 0, "").batches([[(0, 0), (2, 0)]]))


def test_lists_that_are_missing_or_empty_are_named(tmp_path: Path) -> None:
    folder = box_data.write_voc(tmp_path / "own")
    (folder / "ImageSets" / "Main" / "test.txt").write_text("\n")
    with pytest.raises(LabError, match=r"test.txt names no image; it has one a line"):
        _load(f"folder_voc:{folder}")
    (folder / "ImageSets" / "Main" / "test.txt").unlink()
    with pytest.raises(LabError, match=r"has trainval but no test part"):
        _load(f"folder_voc:{folder}")
    (folder / "ImageSets" / "Main" / "trainval.txt").unlink()
    with pytest.raises(LabError, match=r"train.txt cannot be read"):
        _load(f"folder_voc:{folder}")
    with pytest.raises(LabError, match=r"there is no folder .*; folder_voc: takes a path"):
        _load(f"folder_voc:{tmp_path / 'none'}")
    for name, there in (("voc2007", "VOCdevkit/VOC2007"), ("bccd", "BCCD")):
        with pytest.raises(LabError, match=rf"no folder .*{there}; pass --data-root .*, or --download to fetch"):
            _load(name, root=tmp_path)
    box_data.write_voc(tmp_path / "VOCdevkit" / "VOC2007")
    with pytest.raises(
        LabError, match=r"has 9 training images, 3 test images, where the whole has 5,011, 4,952; complete"
    ):
        _load("voc2007", root=tmp_path)


def _json(change: Callable[[Any], object]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


COCO = [
    (_json(lambda c: c["annotations"][3].update(category_id=99)), r"annotations\[3\]: there is no class 'category 99'"),
    (_json(lambda c: c["annotations"][3].update(image_id=99)), r"annotations\[3\] is of image 99, which is not among"),
    (_json(lambda c: c["annotations"][3].update(bbox=[1, 2, 3])), r"annotations\[3\] has bbox \[1, 2, 3\]"),
    (_json(lambda c: c["annotations"][3].update(bbox=["1", 2, 3, 4])), r"annotations\[3\] has bbox \['1', 2, 3, 4\]"),
    (_json(lambda c: c["annotations"][3].update(iscrowd="0")), r"annotations\[3\] has iscrowd '0'"),
    (_json(lambda c: c["annotations"][3].update(iscrowd=2)), r"annotations\[3\] has iscrowd 2"),
    (_json(lambda c: c["annotations"][3].update(image_id=1.0)), r"annotations\[3\] has image_id 1.0"),
    (_json(lambda c: c["annotations"][3].update(category_id="3")), r"annotations\[3\] has category_id '3'"),
    (_json(lambda c: c["annotations"].insert(3, "box")), r"annotations\[3\] is 'box'"),
    (
        _json(lambda c: c["annotations"].insert(3, c["annotations"][1])),
        r"annotations\[1\] and annotations\[3\] have one id, 1",
    ),
    (_json(lambda c: c["annotations"][3].update(bbox=[1, 2, 0, 4])), r"annotations\[3\]: the box .* has no area"),
    (
        _json(lambda c: c["annotations"][3].update(bbox=[70, 2, 12, 4])),
        r"annotations\[3\]: the box .* leaves its image",
    ),
    (
        _json(lambda c: c["images"][2].update(file_name="../x.jpg")),
        r"images\[2\] has file_name '../x.jpg'",
    ),
    (_json(lambda c: c["images"][2].update(file_name="x.jpg")), r"train2017/x.jpg is no whole image"),
    (_json(lambda c: c["images"][2].update(height="64")), r"images\[2\] has height and width \('64', 80\)"),
    (_json(lambda c: c["annotations"][3].update(id="3")), r"annotations\[3\] has id '3'"),
    (_json(lambda c: c["images"][2].update(height=65)), r"000000000002.jpg has 64×80 pixels .* says 65×80"),
]
NOT_COCO = [
    (lambda path: path.write_text('{"images":\n[1,,]'), r"instances_train2017.json:2 is no JSON"),
    (_json(lambda c: c.pop("categories")), r"is no file of COCO's instances; it has lists of images"),
    (_json(lambda c: c["images"][2].pop("id")), r"images\[2\] has no id"),
    (_json(lambda c: c["images"][2].update(id="2")), r"images\[2\] has no id, a whole number; it has '2'"),
    (_json(lambda c: c["images"][2].update(id=1)), r"images\[1\] and images\[2\] have one id, 1; delete"),
    (
        _json(lambda c: c["images"][2].update(file_name=c["images"][0]["file_name"])),
        r"images\[0\] and images\[2\] have one file_name, '000000000000.jpg'; delete",
    ),
    (_json(lambda c: c["categories"][1].pop("name")), r"categories\[1\] has no name"),
    (_json(lambda c: c["categories"][1].update(id=3.5)), r"categories\[1\] has no id, a whole number; it has 3.5"),
    (
        _json(lambda c: c["categories"][2].update(name=c["categories"][0]["name"])),
        r"categories\[0\] and categories\[2\] have one name, 'zero'; delete",
    ),
    (lambda path: path.unlink(), r"instances_train2017.json cannot be read"),
    (lambda path: path.write_text("[]"), r"is no file of COCO's instances"),
]


@pytest.mark.parametrize(("damage", "words"), [*COCO, *NOT_COCO])
def test_what_is_wrong_with_a_coco_folder_is_named(tmp_path: Path, damage: Callable[[Path], Any], words: str) -> None:
    folder = box_data.write_coco(tmp_path / "own")
    damage(folder / "annotations" / "instances_train2017.json")
    with pytest.raises(LabError, match=words):
        _load(f"folder_coco:{folder}")
    if (damage, words) in COCO:
        with pytest.warns(UserWarning, match=words):
            data = _load(f"folder_coco:{folder}", skip=True)
        assert str(data.facts["skipped"]).startswith("1: ")


def test_both_parts_of_coco_may_number_their_classes_otherwise(tmp_path: Path) -> None:
    folder = box_data.write_coco(tmp_path / "own")
    before = _load(f"folder_coco:{folder}")

    def renumber(content: Any) -> None:
        for entry in content["categories"]:
            entry["id"] += 10
        for entry in content["annotations"]:
            entry["category_id"] += 10

    _json(renumber)(folder / "annotations" / "instances_val2017.json")
    assert _load(f"folder_coco:{folder}").facts == before.facts


def test_coco_is_the_whole_of_it(tmp_path: Path) -> None:
    box_data.write_coco(tmp_path / "coco")
    with pytest.raises(
        LabError, match=r"has 8 training images, 4 validation images, where the whole has 118,287, 5,000; .* folder_co"
    ):
        _load("coco", root=tmp_path)
    with pytest.raises(LabError, match=r"there is no folder .*coco_sample; it holds train2017"):
        _load("coco_sample", root=tmp_path)


def test_boxes_that_nobody_checked_are_refused() -> None:
    none = torch.zeros(1, dtype=torch.bool)
    with pytest.raises(InvalidValue, match="boxes must lie inside their image; some of x do not"):
        ImageWithBoxes(Path("x"), (10, 10), torch.tensor([[0.0, 0, 11, 5]]), torch.ones(1, dtype=torch.int64), none)
    with pytest.raises(InvalidValue, match="boxes must be float32"):
        ImageWithBoxes(Path("x"), (10, 10), torch.tensor([[0, 0, 9, 5]]), torch.ones(1, dtype=torch.int64), none)
    empty = ImageWithBoxes(Path("x"), (10, 10), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), none[:0])
    with pytest.raises(InvalidValue, match="the training part of a detection data set needs at least one box"):
        BoxedImages([empty], [empty], ("a",))


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real samples."""
    return place(tmp_path_factory.mktemp("samples"), "BCCD", "coco_sample")


def test_two_real_boxes_without_an_area_are_left_out(samples: Path) -> None:
    with pytest.raises(LabError, match=r"BloodImage_00338.xml:158: the box 504, 337, 504, 337 of a 'RBC' has no area"):
        _load("bccd", root=samples)
    with pytest.warns(UserWarning, match="invalid, 2: "):
        data = _load("bccd", skip=True, root=samples)
    assert (len(data.train), len(data.test), data.facts["boxes"]) == (292, 72, 4886)
    counts = torch.bincount(torch.cat([s.labels for s in (*data.train, *data.test)])).tolist()
    assert dict(zip(data.classes, counts[1:], strict=True)) == {"RBC": 4153, "WBC": 372, "Platelets": 361}


def test_the_real_sample_of_coco(samples: Path) -> None:
    data = _load("coco_sample", root=samples)
    assert (len(data.train), len(data.test), data.facts["boxes"], len(data.classes)) == (50, 50, 788, 80)
    assert data.classes[:2] == ("person", "bicycle")
    assert "skipped" not in data.facts
