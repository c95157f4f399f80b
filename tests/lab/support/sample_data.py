"""Real data that is too large, or not free, to lie in the repository, and where tests find it.

They look into the folder that the variable BEVEL_SAMPLE_DATA names: a data root, as ``bevel data fetch`` fills it, or
the packs of bevel's developers, which are looked for beside the checkout where the variable is unset.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

VARIABLE = "BEVEL_SAMPLE_DATA"
FOLDER = Path(os.environ.get(VARIABLE) or Path(__file__).resolve().parents[4] / "shared" / "data").resolve()
PACKED = (FOLDER / "tools" / "unpack.py").is_file()
"""Whether the folder has packs, whose names may be those of sets."""
FETCHED = {"MNIST", "FashionMNIST", "BCCD", "camvid_half", "multi30k", "wmt14_en_de_sample"}
"""Sets that tests take from a data root as well: of the others they want the packs' parts."""
PACKS = {
    "MNIST": "mnist",
    "FashionMNIST": "fashion_mnist",
    "cifar-10-batches-py": "cifar10",
    "cifar-100-python": "cifar100_subset",
    "tiny-imagenet-32": "tiny_imagenet32_subset",
    "imagenet20": "imagenet20",
    "BCCD": "bccd_voc",
    "coco_sample": "coco_sample",
    "camvid_half": "camvid_half",
    "multi30k": "mt_en_de",
    "wmt14_en_de_sample": "mt_en_de",
    "video_action": "video_action_sample",
}
"""What a set is called below a data root → the pack that has it."""


def here(name: str) -> bool:
    """Whether the set that is called so below a data root can be placed."""
    return (PACKED and (FOLDER / PACKS[name]).is_dir()) or _fetched(name)


def _fetched(name: str) -> bool:
    return not PACKED and name in FETCHED and (FOLDER / name).is_dir()


def place(root: Path, *names: str) -> Path:
    """Put sets below ``root``, as a data root has them; skips the test where one is not here."""
    missing = [name for name in names if not here(name)]
    if missing:
        pytest.skip(f"sample data: {missing[0]} is not here (set {VARIABLE})")
    for name in names:
        if _fetched(name):
            (root / name).symlink_to(FOLDER / name)
        elif name.startswith("cifar"):
            _cifar(root)
        elif not (root / name).exists():
            _unpack(FOLDER / PACKS[name], root, name)
    return root


def _unpack(pack: Path, root: Path, name: str) -> None:
    if archive := next(pack.glob("*.zip"), None):
        folder = {"imagenet20": "imagenet20", "video_action": "video_action"}.get(name, "")
        with zipfile.ZipFile(archive) as content:
            content.extractall(root / folder)
        if name == "BCCD":
            (root / "VOCdevkit" / "VOC2007").rename(root / name)
        return
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for packed in sorted(pack.glob("*.gz")):
        with gzip.open(packed) as content, (raw / packed.stem).open("wb") as out:
            shutil.copyfileobj(content, out)


def _cifar(root: Path) -> None:
    """Both of CIFAR's sets at once, by the packs' own program, which wants four of them."""
    if (root / "cifar-100-python").exists():
        return
    packed = root / ".packs"
    packed.mkdir()
    for pack in ("cifar10", "cifar100_subset", "mnist", "fashion_mnist"):
        (packed / pack).symlink_to(FOLDER / pack)
    subprocess.run([sys.executable, FOLDER / "tools" / "unpack.py", packed, root / ".unpacked"], check=True)
    for folder in ("cifar-10-batches-py", "cifar-100-python"):
        (root / ".unpacked" / folder).rename(root / folder)
