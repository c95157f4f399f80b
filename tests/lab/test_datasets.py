"""Data sets as values: their parts, their augmentation, and what happens when files are missing or damaged."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bevel.errors import InvalidValue
from bevel_lab.data.images import LabeledImages, LabeledTensors, stratified
from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS
from bevel_lab.datasets._idx import IdxSet, parse
from bevel_lab.errors import LabError


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_digits_are_all_of_scikit_learns_digits_in_two_parts() -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    data = DATASETS.item("digits").load(Source())
    assert data.train.images.shape == (1437, 1, 8, 8)
    assert data.test.images.shape == (360, 1, 8, 8)
    ours = torch.cat([data.train.images, data.test.images]).flatten(1).double() * 16 / 255
    both = np.column_stack([ours.round().numpy(), torch.cat([data.train.labels, data.test.labels]).numpy()])
    theirs = np.column_stack([pixels, labels])
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, theirs.tolist()))
    share = torch.bincount(data.test.labels) / torch.bincount(torch.from_numpy(labels))
    assert ((share - 0.2).abs() < 0.005).all()


def test_digits_test_part_never_changes() -> None:
    a, b = DATASETS.item("digits").load(Source()), DATASETS.item("digits").load(Source())
    assert torch.equal(a.test.images, b.test.images)
    assert a.test.labels[:12].tolist() == [1, 8, 1, 5, 9, 6, 5, 0, 7, 8, 2, 3]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.data())
def test_stratified_draws_every_class_in_its_share(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(labels) - 1))
    tensor = torch.tensor(labels)
    drawn, rest = stratified(tensor, count, _generator())
    assert len(drawn) == count
    assert torch.cat([drawn, rest]).sort().values.tolist() == list(range(len(labels)))
    for c in set(labels):
        exact = labels.count(c) * count / len(labels)
        assert abs(int((tensor[drawn] == c).sum()) - exact) < 1


def test_stratified_depends_on_the_generator_and_refuses_empty_parts() -> None:
    labels = torch.arange(100) % 10
    assert torch.equal(stratified(labels, 20, _generator(1))[0], stratified(labels, 20, _generator(1))[0])
    assert not torch.equal(stratified(labels, 20, _generator(1))[0], stratified(labels, 20, _generator(2))[0])
    for count in (0, 100):
        with pytest.raises(InvalidValue, match=r"must have 1 … 99 of them"):
            stratified(labels, count, _generator())


def test_bad_values_are_refused() -> None:
    images, labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 2])
    with pytest.raises(InvalidValue, match=r"uint8, N×C×H×W"):
        LabeledTensors(images.float(), labels)
    with pytest.raises(InvalidValue, match="one an image"):
        LabeledTensors(images, labels[:2])
    with pytest.raises(InvalidValue, match="names must be one an image, or none; got 2 for 3 images"):
        LabeledTensors(images, labels, ["a", "b"])
    with pytest.raises(InvalidValue, match=r"labels must be 0 … 1; the training part has 0 … 2"):
        LabeledImages(LabeledTensors(images, labels), LabeledTensors(images, labels), classes=2, flips=False)


def _idx(shape: tuple[int, ...], length: int) -> bytes:
    return bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape) + bytes(range(length))


def test_an_idx_file_is_decoded() -> None:
    assert parse(_idx((2, 3), 6), 2, Path("x")).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not an idx file"),
        (b"\x1f\x8b\x08\x00" + bytes(30), "is not an idx file of 2-d bytes; unpack"),
        (_idx((6,), 6), "is not an idx file of 2-d bytes"),
        (_idx((2, 3), 5), "truncated or too long: its header says 18 bytes, it has 17"),
        (_idx((2, 3), 7), "truncated or too long: its header says 18 bytes, it has 19"),
    ],
)
def test_a_damaged_idx_file_is_named(data: bytes, words: str) -> None:
    with pytest.raises(LabError, match=words) as caught:
        parse(data, 2, Path("raw/images"))
    assert "raw/images" in str(caught.value)


def test_a_flipped_byte_is_found_by_checksum(tmp_path: Path) -> None:
    files = {
        f"{prefix}-{kind}-idx{len(shape)}-ubyte": _idx(shape, length)
        for prefix in ("train", "t10k")
        for kind, shape, length in (("images", (3, 2, 4), 24), ("labels", (3,), 3))
    }
    tiny = IdxSet("Tiny", False, {name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    raw = tmp_path / "Tiny" / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    data = tiny.load(Source(tmp_path))
    assert data.train.images.flatten().tolist() == list(range(24))
    assert data.test.labels.tolist() == [0, 1, 2]
    for name, content in files.items():
        (raw / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(LabError, match=rf"{name} is damaged: its checksum is not Tiny's"):
            tiny.load(Source(tmp_path))
        (raw / name).write_bytes(content)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"there is no folder .*MNIST/raw; pass --data-root .* or --download"):
        DATASETS.item("mnist").load(Source(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").touch()
    with pytest.raises(LabError, match=r"train-labels-idx1-ubyte does not exist; pass --data-root"):
        DATASETS.item("fashion_mnist").load(Source(tmp_path))


@pytest.fixture(scope="session")
def handwriting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IdxSet]:
    """A data root with scikit-learn's digits in MNIST's files, and what they are."""
    root, sha256 = tmp_path_factory.mktemp("handwriting"), {}
    data = DATASETS.item("digits").load(Source())
    (root / "MNIST" / "raw").mkdir(parents=True)
    for prefix, part in (("train", data.train), ("t10k", data.test)):
        pixels = torch.nn.functional.interpolate(part.images.float(), (28, 28)).byte().numpy()
        for kind, values in (("images-idx3", pixels[:, 0]), ("labels-idx1", part.labels.byte().numpy())):
            content = _idx(values.shape, 0) + values.tobytes()
            (root / "MNIST" / "raw" / f"{prefix}-{kind}-ubyte").write_bytes(content)
            sha256[f"{prefix}-{kind}-ubyte"] = hashlib.sha256(content).hexdigest()
    return root, IdxSet("MNIST", False, sha256)


def _as_torchvision(data: LabeledImages, root: Path, folder: str) -> None:
    import torchvision

    for part, train in ((data.train, True), (data.test, False)):
        theirs = getattr(torchvision.datasets, folder)(str(root), train=train)
        assert torch.equal(part.images[:, 0], theirs.data)
        assert torch.equal(part.labels, theirs.targets)


def test_idx_files_are_read_as_torchvision_reads_them(handwriting: tuple[Path, IdxSet]) -> None:
    root, known = handwriting
    _as_torchvision(known.load(Source(root)), root, "MNIST")


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_original_files_are_read_as_torchvision_reads_them(real_data: Path, name: str, folder: str) -> None:
    data = DATASETS.item(name).load(Source(real_data))
    _as_torchvision(data, real_data, folder)
    assert data.flips == (name == "fashion_mnist")


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damage_to_a_file_is_found(handwriting: tuple[Path, IdxSet], tmp_path: Path, file: str, damage: str) -> None:
    whole, known = handwriting
    shutil.copytree(whole / "MNIST", tmp_path / "MNIST")
    path = tmp_path / "MNIST" / "raw" / file
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LabError, match=rf"{file} is (truncated|damaged)"):
        known.load(Source(tmp_path))
