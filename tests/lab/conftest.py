"""What the lab's tests share."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real MNIST and Fashion-MNIST files, in torchvision's layout."""
    root = tmp_path_factory.mktemp("data")
    for source, folder in (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")):
        if not (SHARED / source).is_dir():
            pytest.skip(f"the real data is not here: {SHARED / source} does not exist")
        raw = root / folder / "raw"
        raw.mkdir(parents=True)
        for packed in sorted((SHARED / source).glob("*.gz")):
            with gzip.open(packed) as content, (raw / packed.stem).open("wb") as out:
                shutil.copyfileobj(content, out)
    return root


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with real parts of CIFAR-10, CIFAR-100 and Tiny ImageNet, in their own layouts."""
    packed, root = tmp_path_factory.mktemp("packed"), tmp_path_factory.mktemp("unpacked")
    for folder in ("cifar10", "cifar100_subset", "tiny_imagenet32_subset", "mnist", "fashion_mnist"):
        if not (SHARED / folder).is_dir():
            pytest.skip(f"the real data is not here: {SHARED / folder} does not exist")
        (packed / folder).symlink_to(SHARED / folder)
    subprocess.run([sys.executable, SHARED / "tools" / "unpack.py", packed, root], check=True)
    return root
