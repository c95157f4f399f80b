"""What the lab's tests share."""

from __future__ import annotations

import gzip
import shutil
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
