"""A headless Chromium of Debian's that opens reviews as files, as somebody does with what CI kept."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from mailproxy.as_html import as_html
from mailproxy.review import Review

ARGUMENTS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)
# Chromium's sandbox does not work for root, and then it does not start.
AS_ROOT = "--no-sandbox"


class Browser:
    """One page at a time in a real browser, in the words of the tests."""

    def __init__(self, driver: Chrome, directory: Path):
        self.driver = driver
        self._file = directory / "review.html"

    def open(self, review: Review) -> None:
        self.open_text(as_html(review))

    def open_text(self, html: str) -> None:
        self._file.write_text(html, encoding="utf-8")
        self.driver.get(self._file.as_uri())

    def emulate(self, command: str, **values: object) -> None:
        """Send a command of the browser's Emulation domain."""
        self.driver.execute_cdp_cmd(f"Emulation.{command}", values)

    def prefer(self, scheme: str) -> None:
        self.emulate("setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script: str, *values: object) -> Any:
        return self.driver.execute_script(script, *values)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def seen(self, selector: str) -> list[str]:
        """Return the texts of those elements that somebody can see."""
        texts: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter((one) => one.checkVisibility({contentVisibilityAuto: false}))"
            ".map((one) => one.textContent.replace(/\\s+/g, ' ').trim())",
            selector,
        )
        return texts

    def type(self, keys: str) -> None:
        """Press keys wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(keys)

    def complaints(self) -> list[object]:
        """Return what the page was refused by its own policy, and errors of its script, since it was opened."""
        return list(self.driver.get_log("browser"))  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.fail("no chromium or no chromedriver: install Debian's packages chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (*ARGUMENTS, *[AS_ROOT] * (os.geteuid() == 0)):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    running = Chrome(options=options, service=ChromeService(driver))
    yield running
    running.quit()


@pytest.fixture
def browser(_driver: Chrome, tmp_path: Path) -> Iterator[Browser]:
    found = Browser(_driver, tmp_path)
    yield found
    found.emulate("setScriptExecutionDisabled", value=False)
    found.emulate("setEmulatedMedia", media="", features=[])
    found.emulate("clearDeviceMetricsOverride")
    found.complaints()


@pytest.fixture
def opened(browser: Browser) -> Callable[[Review], Browser]:
    """Open a review and return the browser; the page must have nothing to complain of."""

    def _opened(review: Review) -> Browser:
        browser.open(review)
        assert browser.complaints() == []
        return browser

    return _opened
