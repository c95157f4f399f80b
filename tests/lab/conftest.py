"""What the lab's tests share."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentence_data
from sample_data import place


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that looks at a page starts a browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.process)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed has a line a sentence, as tests read it; test_terminal.py asks for narrow ones."""
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture(scope="session", autouse=True)
def no_plain_loop() -> Iterator[None]:
    """No trial is followed by half a second of a plain loop, but where a test asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bevel_lab.training.plain_loop.SECONDS", math.inf)
        yield


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real MNIST and Fashion-MNIST files."""
    return place(tmp_path_factory.mktemp("data"), "MNIST", "FashionMNIST")


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with real parts of CIFAR-10, CIFAR-100 and Tiny ImageNet."""
    return place(tmp_path_factory.mktemp("unpacked"), "cifar-10-batches-py", "cifar-100-python", "tiny-imagenet-32")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """125 sentences of a small grammar, in the three parts."""
    return sentence_data.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def real_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the real Multi30k and the sample of WMT14."""
    return place(tmp_path_factory.mktemp("real"), "multi30k", "wmt14_en_de_sample")


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


@pytest.fixture(scope="module")
def extensions() -> Iterator[None]:
    """The modules of ``docs/_ext``, importable."""
    pytest.importorskip("sphinx", reason="the packages of documentation are not installed (make install)")
    folder = str(Path(__file__).parents[2] / "docs" / "_ext")
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)
