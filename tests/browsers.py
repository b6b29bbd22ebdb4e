"""Headless Chromium for tests of pages, where there is one."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    "--disable-dev-shm-usage",  # which is small in containers
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--force-device-scale-factor=1"),
)


def why_no_browser() -> str:
    """Say why no page can be opened here; empty where it can."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "needs selenium"
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"needs {' and '.join(lacking)}" if lacking else ""


class Browser:
    """A window whose size and theme can be changed, and whose complaints are heard."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str, width: int = 1000, height: int = 900, dark: bool = False) -> None:
        self.size(width, height, dark)
        self.driver.get(address)
        self.settle()

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def settle(self) -> None:
        """Wait until what was asked for was drawn."""
        twice = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        self.driver.execute_async_script(twice)

    def keys(self, *keys: str) -> None:
        """Press keys, as they come from the keyboard to whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()
        self.settle()

    def drag(self, element: str, dx: int, dy: int) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        found = self.driver.find_element("css selector", element)
        ActionChains(self.driver).click_and_hold(found).move_by_offset(dx, dy).release().perform()
        self.settle()

    def pixels(self, element: str) -> list[np.ndarray]:
        """Return what canvases show, each of shape (height, width, 4)."""
        from PIL import Image

        script = "return Array.from(document.querySelectorAll(arguments[0]), (c) => c.toDataURL())"
        pictures = [base64.b64decode(url.partition(",")[2]) for url in self.run(script, element)]
        return [np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")) for data in pictures]

    def complaints(self) -> list[str]:
        """Return the errors and warnings of the console since they were asked for last."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """Start a browser whose own files lie in a folder; where it does not start, the test is skipped."""
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = str(shutil.which("chromium"))
    try:
        driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    except WebDriverException as error:  # a sandbox may forbid what it needs
        pytest.skip(f"chromium does not start here: {str(error.msg)[:200]}")
    try:
        driver.set_script_timeout(20)
        yield Browser(driver)
    finally:
        driver.quit()
