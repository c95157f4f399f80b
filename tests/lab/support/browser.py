"""Opening a page in the tests' browser, and what it asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def open_page(browser: Any, path: Path, width: int) -> None:
    """Load the page whole, in a window ``width`` pixels wide, with empty logs."""
    from selenium.webdriver.support.wait import WebDriverWait

    for log in ("browser", "performance"):
        browser.get_log(log)
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(path.as_uri())
    # on a busy machine a page of a megabyte was seen half parsed when get() came back
    WebDriverWait(browser, 30).until(lambda b: b.execute_script("return document.readyState") == "complete")


def requests(browser: Any) -> list[str]:
    """The addresses that documents asked for since :func:`open_page`, but for the browser's own (``chrome:``).


    The start page was seen to ask for an image after another page was opened, on a busy machine.
    """
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent if params["documentURL"].startswith(("file:", "http"))]
