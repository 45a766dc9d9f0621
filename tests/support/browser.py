"""A real browser without a window: Chromium, driven by Selenium."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
PATIENCE_S = 60
_Found = TypeVar("_Found")


@contextmanager
def browser() -> Iterator[Chrome]:
    """Start Chromium, or skip the test with the reason where there is none."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which(DRIVER)
    if program is None or driver is None:
        pytest.skip(
            "no Chromium with its driver is installed: apt-get install chromium chromium-driver"
        )
    options = ChromeOptions()
    options.binary_location = program
    # Chromium's own sandbox refuses root, as whom containers run; shared memory is small there.
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A path of its own keeps Selenium from looking for a driver in the network.
    chrome = Chrome(options=options, service=ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def show(chrome: Chrome, page: Path, *, width: int = 1280, dark: bool = False) -> None:
    """Open a page in a window of a width in CSS pixels, and forget what was logged before."""
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    preferred = {
        "prefers-color-scheme": "dark" if dark else "light",
        "prefers-reduced-motion": "reduce",  # what is pointed at does not scroll away meanwhile
    }
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": name, "value": value} for name, value in preferred.items()]},
    )
    chrome.get("about:blank")
    chrome.get_log("browser")
    chrome.get_log("performance")
    chrome.get(page.as_uri())


def awaited(chrome: Chrome, look: Callable[[], _Found]) -> _Found:
    """Return what a look finds as soon as it is anything; the browser may take its time."""
    return WebDriverWait(chrome, PATIENCE_S).until(lambda _: look())


def requests(chrome: Chrome) -> list[str]:
    """Return what was asked for since the page was opened; data within it is no request."""
    messages = (json.loads(each["message"])["message"] for each in chrome.get_log("performance"))
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in asked if not url.startswith(("data:", "blob:"))]


def printed(chrome: Chrome, **options: Any) -> bytes:
    """Return the page as PDF."""
    found = chrome.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, **options})
    return base64.b64decode(found["data"])


def whole_page(chrome: Chrome) -> bytes:
    """Return a PNG of all of the page."""
    found = chrome.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    return base64.b64decode(found["data"])
