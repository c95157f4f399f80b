"""Opening a page in the tests' browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_page(browser: Any, path: Path, width: int) -> None:
    """Load the page whole, in a window ``width`` pixels wide."""
    from selenium.webdriver.support.wait import WebDriverWait

    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(path.as_uri())
    # on a busy machine a page of a megabyte was seen half parsed when get() came back
    WebDriverWait(browser, 30).until(lambda b: b.execute_script("return document.readyState") == "complete")
