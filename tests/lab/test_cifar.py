"""CIFAR's batches: the original files or a named subset, and a pickle that is read but never run."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sample_digits import sample_digits

from bevel_lab.data.source import Source
from bevel_lab.datasets import DATASETS, _arrays
from bevel_lab.datasets.cifar10 import CIFAR10
from bevel_lab.errors import LabError

FOLDER = "cifar-10-batches-py"


def _batch(count: int = 12, first: int = 0) -> dict[str, object]:
    """A batch as CIFAR-10's are, of real digits enlarged to 32×32."""
    pixels, labels = sample_digits().data, sample_digits().target
    grey = np.kron(pixels[first : first + count].reshape(-1, 1, 8, 8), np.ones((1, 3, 4, 4))) * 15
    return {"data": grey.astype(np.uint8).reshape(count, 3072), "labels": labels[first : first + count].tolist()}


def _write(root: Path, name: str, content: object, protocol: int = 4) -> Path:
    path = root / FOLDER / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    _write(tmp_path, "data_batch_1", _batch())
    _write(tmp_path, "data_batch_3", _batch(first=12))
    _write(tmp_path, "test_batch", _batch(first=24))
    return tmp_path


def _subset(root: Path) -> object:
    return DATASETS.item("cifar10_subset").load(Source(root))


def test_a_subset_is_the_batches_that_are_there_and_says_which(small: Path) -> None:
    data = _subset(small)
    wanted = np.concatenate([_batch()["data"], _batch(first=12)["data"]]).reshape(-1, 3, 32, 32)
    assert np.array_equal(data.train.images.numpy(), wanted)
    assert data.test.labels.tolist() == _batch(first=24)["labels"]
    assert "training batches data_batch_1, data_batch_3, not verified" in data.facts["note"]
    assert (data.facts["train"], data.facts["test"], data.classes, data.flips) == (24, 12, 10, True)
    (small / FOLDER / "data_batch_3").unlink()
    assert _subset(small).facts["digest"] != data.facts["digest"]


def test_the_whole_set_is_the_original_files_only(small: Path) -> None:
    with pytest.raises(LabError, match=r"data_batch_1 is not the original file: .*ask for cifar10_subset"):
        DATASETS.item("cifar10").load(Source(small))
    digest = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in (small / FOLDER).iterdir()}
    train = {name: digest[name] for name in ("data_batch_1", "data_batch_3")}
    short = dataclasses.replace(CIFAR10, train=train, test={"test_batch": digest["test_batch"]})
    data = short.whole(Source(small))
    assert len(data.train) == 24
    assert "note" not in data.facts
    (small / FOLDER / "data_batch_3").unlink()
    with pytest.raises(LabError, match=r"data_batch_3 does not exist; pass --data-root .* or --download"):
        short.whole(Source(small))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_as_pickle_reads_them(tmp_path: Path, protocol: int, order: str) -> None:
    content = _batch()
    content["data"] = np.array(content["data"], order=order)
    path = _write(tmp_path, "data_batch_1", content, protocol)
    pixels, labels = _arrays.read(path, "data", "labels")
    assert np.array_equal(pixels.numpy(), content["data"])
    assert labels == content["labels"]


def test_a_batch_as_python_2_wrote_it_is_read(tmp_path: Path) -> None:
    """The original files' form: text strings of bytes, protocol 2, numpy's old names."""
    rows = bytes(range(256)) * 12
    text = b"U\x04data"  # SHORT_BINSTRING, which Python 3 no longer writes
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89T" + len(rows).to_bytes(4, "little") + rows + b"tb"
    )
    path = tmp_path / "data_batch_1"
    path.write_bytes(b"\x80\x02}(" + text + array + b"U\x06labels]K\x07au.")
    theirs = pickle.loads(path.read_bytes(), encoding="latin1")
    pixels, labels = _arrays.read(path, "data", "labels")
    assert np.array_equal(pixels.numpy(), theirs["data"])
    assert labels == theirs["labels"] == [7]


class _Harmful:
    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("call", [exec, eval, np.load, torch.load, getattr, io.open])
def test_a_pickle_that_would_call_something_is_refused(small: Path, call: Callable[..., object]) -> None:
    path = _write(small, "data_batch_1", {"data": _Harmful(call, "raise SystemExit"), "labels": [1]})
    with pytest.raises(LabError, match=rf"data_batch_1 is not a batch of images \(it asks for .*{call.__name__}"):
        _subset(small)
    assert path.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [3] * 11 + [10]}, r"has labels 3 … 10; CIFAR-10's are 0 … 9"),
        ({"labels": [3] * 11 + [-1]}, r"has labels -1 … 3"),
        ({"labels": [3] * 11}, r"has pixels 12×3072 and 11 labels"),
        ({"labels": ["3"] * 12}, r"not a list of whole numbers"),
        ({"data": np.zeros((12, 3071), np.uint8)}, r"has pixels 12×3071"),
        ({"data": np.zeros((12, 3072), np.float32)}, r"not of unsigned bytes"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, r"its array is empty"),
        ({"data": [[0] * 3072] * 12}, r"'data' is not an array"),
    ],
)
def test_a_mislabelled_or_odd_batch_is_named(small: Path, change: dict[str, object], words: str) -> None:
    assert re.search(words, _refusal(small, _batch() | change))


def test_what_is_no_batch_is_named(small: Path) -> None:
    assert "no 'labels'" in _refusal(small, {"data": _batch()["data"]})
    assert "is not a batch of images" in _refusal(small, ["data"])


def _refusal(small: Path, content: object) -> str:
    """What is said of a batch with this content; it names the batch."""
    _write(small, "data_batch_3", content)
    with pytest.raises(LabError, match="data_batch_3") as caught:
        _subset(small)
    return str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_batch_is_named(small: Path, keep: int) -> None:
    path = small / FOLDER / "test_batch"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(LabError, match="test_batch is not a batch of images"):
        _subset(small)


def test_what_is_missing_is_named(small: Path) -> None:
    (small / FOLDER / "test_batch").unlink()
    with pytest.raises(LabError, match="test_batch cannot be read"):
        _subset(small)
    shutil.rmtree(small / FOLDER)
    with pytest.raises(LabError, match=r"cifar-10-batches-py has no training batch \(data_batch_1, .*--data-root"):
        _subset(small)


@pytest.mark.parametrize(
    ("name", "origin", "sizes"),
    [("cifar10_subset", "CIFAR10", (10_000, 10_000)), ("cifar100_subset", "CIFAR100", (10_000, 2_000))],
)
def test_real_parts_are_read_as_torchvision_reads_them(
    unpacked: Path, monkeypatch: pytest.MonkeyPatch, name: str, origin: str, sizes: tuple[int, int]
) -> None:
    import torchvision

    data = DATASETS.item(name).load(Source(unpacked))
    kind = getattr(torchvision.datasets, origin)
    there = [[file, None] for file, _ in kind.train_list if (unpacked / kind.base_folder / file).exists()]
    monkeypatch.setattr(kind, "train_list", there)
    monkeypatch.setattr(kind, "test_list", [[kind.test_list[0][0], None]])
    for part, train, size in zip((data.train, data.test), (True, False), sizes, strict=True):
        theirs = kind(str(unpacked), train=train)
        assert len(part) == size
        assert np.array_equal(part.images.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert part.labels.tolist() == theirs.targets
    with pytest.raises(LabError, match="is not the original file"):
        DATASETS.item(name.removesuffix("_subset")).load(Source(unpacked))
