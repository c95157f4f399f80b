"""Data sets of picture files, and SVHN: real digits written in each one's own format, and damage to them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_digits import sample_digits
from small_trials import trial

from bevel_lab.data.images import LabeledImageFiles, LabeledImages
from bevel_lab.data.invalid import DataNote
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS, DataSet, svhn
from bevel_lab.datasets.imagenet import ImageNet
from bevel_lab.datasets.tiny_imagenet import TinyImageNet
from bevel_lab.errors import LabError
from bevel_lab.training.run import run_trial

WNIDS = ["n01443537", "n01629819", "n02124075"]


def _digit(number: int, side: int) -> Image.Image:
    pixels = sample_digits().images[number] * 15
    return Image.fromarray(pixels.astype(np.uint8)).resize((side, side))


def _save(path: Path, number: int, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _digit(number, side).save(path)


def _classes(folder: Path, classes: list[str], each: int, side: int, suffix: str = "JPEG", first: int = 0) -> None:
    """``each`` digits a class, below ``folder / class``; digit k of scikit-learn's first ones shows k modulo 10."""
    for label, name in enumerate(classes):
        for i in range(each):
            _save(folder / name / f"{name}_{i}.{suffix}", label + 10 * (i + first), side)


def _mat(path: Path, labels: list[int], **change: np.ndarray) -> None:
    import scipy.io

    images = np.stack([np.asarray(_digit(y % 10 + 10 * len(labels), 32).convert("RGB")) for y in labels], -1)
    scipy.io.savemat(path, {"X": images, "y": np.array(labels, np.uint8)[:, None]} | change)


@pytest.fixture
def house_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SVHN's two files, with the checksums they have instead of the originals'."""
    import torchvision

    lists = {}
    for name, labels in (("train", [1, 10, 9, 10, 2]), ("test", [10, 3])):
        _mat(tmp_path / f"{name}_32x32.mat", labels)
        digest = hashlib.md5((tmp_path / f"{name}_32x32.mat").read_bytes()).hexdigest()
        lists[name] = ["http://nowhere", f"{name}_32x32.mat", digest]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", lists)
    monkeypatch.setattr(svhn, "FILES", {file: md5 for _, file, md5 in lists.values()})
    return tmp_path


def test_svhn_is_read_as_torchvision_reads_it(house_numbers: Path) -> None:
    import torchvision

    data = DATASETS.item("svhn").load(Source(house_numbers))
    for part, split in ((data.train, "train"), (data.test, "test")):
        theirs = torchvision.datasets.SVHN(str(house_numbers), split)
        assert np.array_equal(part.images.numpy(), theirs.data)
        assert part.labels.tolist() == theirs.labels.tolist()
    assert data.train.labels.tolist() == [1, 0, 9, 0, 2]
    assert not data.flips


def test_svhn_files_that_are_not_the_originals_are_named(house_numbers: Path) -> None:
    path = house_numbers / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LabError, match=r"test_32x32.mat is not the original file: its MD5 is \w+, not \w+"):
        DATASETS.item("svhn").load(Source(house_numbers))
    path.unlink()
    with pytest.raises(LabError, match=r"test_32x32.mat does not exist; pass --data-root .* or --download"):
        DATASETS.item("svhn").load(Source(house_numbers))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": np.array([[1], [2], [11]], np.uint8)}, r"has labels 1 … 11; SVHN's are 1 … 10"),
        ({"y": np.array([[0], [2], [3]], np.uint8)}, r"has labels 0 … 3"),
        ({"y": np.array([[1], [2]], np.uint8)}, r"uint8 pixels 32×32×3×3 and 2 labels"),
        ({"X": np.zeros((32, 32, 3, 3))}, r"has float64 pixels"),
        ({"X": np.zeros((28, 28, 3, 3), np.uint8)}, r"pixels 28×28×3×3"),
    ],
)
def test_a_mislabelled_svhn_file_is_named(tmp_path: Path, change: dict[str, np.ndarray], words: str) -> None:
    _mat(tmp_path / "x.mat", [1, 2, 3], **change)
    with pytest.raises(LabError, match=rf"x.mat .*{words}"):
        svhn.parse(tmp_path / "x.mat")


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", b"\0" * 500])
def test_what_is_no_matlab_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(LabError, match=r"x.mat is no MATLAB file of SVHN"):
        svhn.parse(tmp_path / "x.mat")


TINY = TinyImageNet("tiny-imagenet-200", (4, 2), (64, 64))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Tiny ImageNet's layout with three classes."""
    root = tmp_path / "tiny-imagenet-200"
    for label, wnid in enumerate(WNIDS):
        for i in range(4):
            _save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", label + 10 * i, 64)
    lines = []
    for i, wnid in enumerate([*WNIDS, *WNIDS[::-1]]):
        _save(root / "val" / "images" / f"val_{i}.JPEG", 50 + i, 64)
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS[::-1]))
    return root


def test_tiny_imagenet_is_read_from_its_own_layout(tiny: Path) -> None:
    data = TINY.load(Source(tiny.parent))
    assert data.train.images.shape == (12, 3, 64, 64)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.test.labels.tolist() == [0, 1, 2, 2, 1, 0]
    with Image.open(tiny / "train" / WNIDS[1] / "images" / f"{WNIDS[1]}_2.JPEG") as image:
        assert np.array_equal(data.train.images[6].permute(1, 2, 0), np.asarray(image.convert("RGB")))
    assert "note" not in data.facts
    subset = DATASETS.item("tiny_imagenet_subset").load(Source(tiny.parent))
    assert torch.equal(subset.train.images, data.train.images)
    assert "not verified to be the original" in subset.facts["note"]


def test_what_is_hidden_is_no_image_of_tiny_imagenet_and_other_files_are_said(tiny: Path) -> None:
    (tiny / "val" / "val_annotations.txt").unlink()
    _classes(tiny / "val", WNIDS, 2, 64, first=4)
    for part in ("train", "val"):
        shutil.copytree(tiny / part / WNIDS[0], tiny / part / ".ipynb_checkpoints")
    shutil.rmtree(tiny / "val" / "images")
    images = tiny / "train" / WNIDS[0] / "images"
    for name in (f"._{WNIDS[0]}_0.JPEG", f"{WNIDS[0]}_7.png", f"{WNIDS[0]}_8.jpeg", f"{WNIDS[0]}_boxes.txt"):
        shutil.copy(images / f"{WNIDS[0]}_0.JPEG", images / name)
    with pytest.warns(DataNote, match=r"2 files below .*train are no images that are read here.*: 1 .jpeg, 1 .png"):
        data = DATASETS.item("tiny_imagenet_subset").load(Source(tiny.parent))
    assert (len(data.train), len(data.test)) == (12, 6)
    (tiny / "wnids.txt").write_text(f"{WNIDS[0]}\n")
    with pytest.raises(LabError, match=rf"wnids.txt has one class, '{WNIDS[0]}'; a classifier needs two"):
        DATASETS.item("tiny_imagenet_subset").load(Source(tiny.parent))


def _rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / old).rename(root / new)


def _resized(root: Path) -> None:
    _save(root / "val" / "images" / "val_2.JPEG", 3, 32)


def _cut(root: Path) -> None:
    path = root / "train" / WNIDS[2] / "images" / f"{WNIDS[2]}_3.JPEG"
    path.write_bytes(path.read_bytes()[:-300])


def _text(root: Path) -> None:
    (root / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_0.JPEG").write_text("<html>not found</html>")


def _unknown(root: Path) -> None:
    notes = root / "val" / "val_annotations.txt"
    notes.write_text(notes.read_text().replace(f"val_1.JPEG\t{WNIDS[1]}", "val_1.JPEG\tn99999999"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_resized, r"val_2.JPEG has 32×32 pixels where the data set's have 64×64"),
        (_cut, rf"{WNIDS[2]}_3.JPEG is no whole image"),
        (_text, rf"{WNIDS[0]}_0.JPEG is no whole image"),
        (_unknown, r"val_annotations.txt gives 'val_1.JPEG' the class 'n99999999'"),
        (
            _rename(f"train/{WNIDS[0]}/images/{WNIDS[0]}_1.JPEG", f"train/{WNIDS[2]}/images/{WNIDS[0]}_1.JPEG"),
            rf"{WNIDS[0]}_1.JPEG is of {WNIDS[0]} by its name and of {WNIDS[2]} by its folder; move it, or unpack",
        ),
        (_rename(f"train/{WNIDS[0]}", "train/n00000001"), r"train/n00000001 is of no class in wnids.txt"),
        (_rename(f"train/{WNIDS[0]}", "elsewhere"), rf"train/{WNIDS[0]} does not exist"),
        (_rename("wnids.txt", "ids.txt"), r"wnids.txt cannot be read"),
        (_rename("val/images/val_0.JPEG", "val/images/lost.JPEG"), r"val_0.JPEG is no whole image \(FileNotFoundError"),
        (
            _rename(f"train/{WNIDS[1]}/images/{WNIDS[1]}_0.JPEG", "x.JPEG"),
            rf"train has 3 images of {WNIDS[1]}, not 4; .* ask for tiny_imagenet_subset",
        ),
    ],
)
def test_what_is_wrong_with_tiny_imagenet_is_named(tiny: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(tiny)
    with pytest.raises(LabError, match=words):
        TINY.load(Source(tiny.parent))


def test_a_part_of_tiny_imagenet_is_not_the_whole(tiny: Path) -> None:
    with pytest.raises(LabError, match=r"wnids.txt lists 3 classes, not 200; .* ask for tiny_imagenet_subset"):
        DATASETS.item("tiny_imagenet").load(Source(tiny.parent))


def test_tiny_imagenet_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("tiny_imagenet", "tiny_imagenet_subset"):
        with pytest.raises(LabError, match=r"has no folder tiny-imagenet-.*; pass --data-root"):
            DATASETS.item(name).load(Source(tmp_path))
    for name in ("tiny-imagenet-32", "tiny-imagenet-200"):
        (tmp_path / name).mkdir()
    with pytest.raises(LabError, match="has 2 folders tiny-imagenet-"):
        DATASETS.item("tiny_imagenet_subset").load(Source(tmp_path))


def test_the_real_tiny_imagenet_at_32_pixels(unpacked: Path) -> None:
    data = DATASETS.item("tiny_imagenet_subset").load(Source(unpacked))
    assert data.train.images.shape == (8000, 3, 32, 32)
    assert torch.bincount(data.train.labels).tolist() == [40] * 200
    assert torch.bincount(data.test.labels).tolist() == [10] * 200
    by_folder = DATASETS.item(f"folder:{unpacked / 'tiny-imagenet-32'}").load(Source())
    assert by_folder.facts["digest"] == data.facts["digest"]


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """ImageNet's layout as torchvision leaves it, with three classes."""
    root = tmp_path / "imagenet"
    _classes(root / "train", WNIDS, 4, 240)
    truth = [*WNIDS, *WNIDS[::-1]]
    for number, wnid in enumerate(truth, 1):
        _save(root / "val" / wnid / f"ILSVRC2012_val_{number:08}.JPEG", 50 + number, 250)
    torch.save(({wnid: (wnid.upper(),) for wnid in WNIDS}, truth), root / "meta.bin")
    return root


def test_imagenet_is_listed_as_torchvision_lists_it(imagenet: Path) -> None:
    import torchvision

    data = ImageNet(3, 12, 6).load(Source(imagenet.parent))
    for part, split in ((data.train, "train"), (data.test, "val")):
        theirs = torchvision.datasets.ImageNet(str(imagenet), split)
        assert [str(part.root / name) for name in part.names] == [path for path, _ in theirs.samples]
        assert part.labels.tolist() == theirs.targets
    assert (data.size, data.channels, data.classes) == ((224, 224), 3, 3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            f"train/{WNIDS[0]}/{WNIDS[0]}_2.JPEG",
            f"train/{WNIDS[1]}/{WNIDS[0]}_2.JPEG",
            rf"train/{WNIDS[1]}/{WNIDS[0]}_2.JPEG is of {WNIDS[0]} by its name and of {WNIDS[1]} by its folder; move",
        ),
        (
            f"val/{WNIDS[2]}/ILSVRC2012_val_00000003.JPEG",
            f"val/{WNIDS[0]}/ILSVRC2012_val_00000003.JPEG",
            rf"val_00000003.JPEG is of {WNIDS[2]} by meta.bin and of {WNIDS[0]} by its folder; move it, or unpack",
        ),
        (
            f"val/{WNIDS[0]}/ILSVRC2012_val_00000006.JPEG",
            f"val/{WNIDS[0]}/ILSVRC2012_val_00000007.JPEG",
            r"val_00000007.JPEG has no class in meta.bin, which knows 6 validation pictures; delete it",
        ),
        (
            f"val/{WNIDS[0]}/ILSVRC2012_val_00000006.JPEG",
            f"val/{WNIDS[0]}/ILSVRC2012_val_00000000.JPEG",
            r"val_00000000.JPEG has no class in meta.bin",
        ),
        (
            f"train/{WNIDS[0]}/{WNIDS[0]}_2.JPEG",
            f"val/{WNIDS[1]}/{WNIDS[0]}_2.JPEG",
            rf"val/{WNIDS[1]}/{WNIDS[0]}_2.JPEG is of {WNIDS[0]} by its name",
        ),
    ],
)
def test_a_picture_of_imagenet_in_another_class_is_named(imagenet: Path, old: str, new: str, words: str) -> None:
    _rename(old, new)(imagenet)
    with pytest.raises(LabError, match=words):
        ImageNet(3, 12, 6).load(Source(imagenet.parent))


def test_what_is_wrong_with_imagenet_is_named(imagenet: Path) -> None:
    source, three = Source(imagenet.parent), ImageNet(3, 12, 6)
    with pytest.raises(
        LabError,
        match="has 3 classes, 12 training images, 6 validation images, where the whole has 1,000, 1,281,167, 5",
    ):
        DATASETS.item("imagenet").load(source)
    extra = imagenet / "val" / "n77777777"
    _save(extra / "a.JPEG", 1, 230)
    with pytest.raises(LabError, match="val must have the classes of the training part; 'n77777777' is only there"):
        three.load(source)
    _save(imagenet / "train" / "n77777777" / "a.JPEG", 1, 230)
    with pytest.raises(LabError, match=r"n77777777 is of no class in .*meta.bin"):
        three.load(source)
    (imagenet / "meta.bin").write_bytes(b"junk")
    with pytest.raises(LabError, match=r"is not in torchvision's layout .* read it as folder:"):
        three.load(source)
    (imagenet / "meta.bin").unlink()
    with pytest.raises(LabError, match=r"devkit_t12.tar.gz is not present .* read it as folder:"):
        three.load(source)
    with pytest.raises(LabError, match=r"there is no folder .*imagenet"):
        three.load(Source(imagenet))


def test_a_trial_on_imagenet_reads_its_files(imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = vars(DATASETS.item("imagenet").load.__self__)
    for name, count in {"classes": 3, "train": 12, "test": 6}.items():
        monkeypatch.setitem(whole, name, count)
    source = Source(imagenet.parent)
    record = run_trial(trial(dataset="imagenet", epochs=1, batch_size=5, train_limit=0), source=source)
    assert (record.samples, record.data["train"], record.data["test"]) == (10, 12, 6)
    assert record.test["accuracy"] * 6 == pytest.approx(round(record.test["accuracy"] * 6))
    (imagenet / "val" / WNIDS[0] / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"no picture")
    with pytest.raises(LabError, match=r"val_00000001.JPEG is no whole image"):
        run_trial(trial(dataset="imagenet", epochs=1, batch_size=5, train_limit=0), source=source)


def test_a_trial_on_svhn_reads_its_files(house_numbers: Path) -> None:
    record = run_trial(trial(dataset="svhn", epochs=1, batch_size=2, train_limit=0), source=Source(house_numbers))
    assert (record.samples, record.data["train"], record.data["test"]) == (4, 5, 2)
    assert record.test["accuracy"] in (0, 0.5, 1)
    assert np.isfinite(record.test["loss"])


def _folder(path: Path) -> LabeledImages | LabeledImageFiles:
    data: LabeledImages | LabeledImageFiles = DATASETS.item(f"folder:{path}").load(Source())
    return data


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_of_small_pictures_is_held(tmp_path: Path, test: str) -> None:
    _classes(tmp_path / "train", ["cat", "dog"], 5, 28, "png")
    _classes(tmp_path / test, ["cat", "dog"], 3, 28, "png", first=5)
    data = _folder(tmp_path)
    assert isinstance(data, LabeledImages)
    assert data.train.images.shape == (10, 3, 28, 28)
    assert data.test.labels.tolist() == [0] * 3 + [1] * 3
    assert torch.equal(data.train.images[1, 0], _pixels(_digit(10, 28)))
    _save(tmp_path / "train" / "dog" / "odd.png", 3, 30)
    with pytest.raises(LabError, match=r"odd.png has 30×30 pixels where the data set's have 28×28"):
        _folder(tmp_path)


def _pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy())


def test_a_folder_without_a_test_part_gets_a_fixed_one_and_says_so(tmp_path: Path) -> None:
    _classes(tmp_path, ["a", "b"], 10, 16, "png")
    with pytest.warns(UserWarning, match="a fixed test part of 4 pictures was drawn"):
        data = _folder(tmp_path)
    with pytest.warns(UserWarning, match="drawn"):
        again = _folder(tmp_path)
    assert torch.bincount(data.train.labels).tolist() == [8, 8]
    assert torch.bincount(data.test.labels).tolist() == [2, 2]
    assert torch.equal(data.test.images, again.test.images)
    assert "was drawn" in data.facts["note"]


def test_a_relative_folder_is_seen_from_where_bevel_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("train", "test"):
        _classes(tmp_path / "pictures" / part, ["a", "b"], 2, 16, "png")
    monkeypatch.chdir(tmp_path)
    assert len(_folder(Path("pictures")).train) == 4
    with pytest.raises(LabError, match="there is no folder picture; folder: takes a path from where"):
        _folder(Path("picture"))


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="has no folder of images for each class"):
        _folder(tmp_path)
    _classes(tmp_path / "train", ["a", "b"], 2, 16, "png")
    with pytest.raises(LabError, match="has train but neither test nor val"):
        _folder(tmp_path)
    _classes(tmp_path / "val", ["a"], 2, 16, "png")
    with pytest.raises(LabError, match="val must have the classes of the training part; 'b' is not there"):
        _folder(tmp_path)
    (tmp_path / "val" / "b").mkdir()
    with pytest.raises(LabError, match=r"val/b has no image \(\.jpg"):
        _folder(tmp_path)
    (tmp_path / "val" / "b" / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(LabError, match=r"x.png is no whole image"):
        _folder(tmp_path)


def test_a_folder_of_large_pictures_is_streamed_and_trained_on(tmp_path: Path) -> None:
    _classes(tmp_path / "train", ["a", "b"], 10, 80, "jpg")
    _classes(tmp_path / "test", ["a", "b"], 2, 100, "jpg", first=10)
    assert isinstance(_folder(tmp_path), LabeledImageFiles)
    streamed = trial(dataset=f"folder:{tmp_path}", model="mlp", epochs=2, batch_size=8, train_limit=0)
    record = run_trial(streamed)
    assert record.samples == 2 * 16
    assert record.data["train"] == 20
    assert run_trial(streamed).result == record.result


def test_every_data_set_is_listed_with_a_summary() -> None:
    names = {"cifar10", "cifar100", "fashion_mnist", "folder", "imagenet", "mnist", "svhn", "tiny_imagenet"}
    assert names <= set(DATASETS)
    assert all(entry.summary for entry in DATASETS.values())
    assert isinstance(DATASETS.item("folder:x"), DataSet)
