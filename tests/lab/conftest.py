"""What the lab's tests share."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentence_data

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


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """125 sentences of a small grammar, in the three parts."""
    return sentence_data.corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def real_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real Multi30k and the sample of WMT14."""
    packed = SHARED / "mt_en_de" / "mt_en_de.zip"
    if not packed.is_file():
        pytest.skip(f"the real data is not here: {packed} does not exist")
    root = tmp_path_factory.mktemp("real")
    with zipfile.ZipFile(packed) as content:
        content.extractall(root / "mt_en_de")
    return root


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium, to look at reports."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic")
    for flag in ("headless", "no-sandbox", "no-first-run", "hide-scrollbars", *(f"disable-{name}" for name in quiet)):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()
