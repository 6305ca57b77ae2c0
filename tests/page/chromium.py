"""Chromium, the real browser, and what a user does with it on the page.

Runs the Chromium and the driver of the path, or those in `.chromium`, which
`make demo-page-check` unpacks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).parent.parent.parent
UNPACKED = ROOT / ".chromium"
SECONDS = 60

# A browser for tests: nothing of its maker's services, nothing kept.
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--window-size=1280,1300",
    # Its own first page would ask for things.
    "about:blank",
)


def find() -> tuple[Path, Path]:
    """Finds Chromium and its driver.

    Raises:
        FileNotFoundError: If there is none, with what to do about it.
    """
    found = []
    for name, unpacked in (
        ("chromium", UNPACKED / "usr/lib/chromium/chromium"),
        ("chromedriver", UNPACKED / "usr/bin/chromedriver"),
    ):
        # Where both were unpacked, they are of one version.
        path = unpacked if unpacked.is_file() else shutil.which(name)
        if path is None:
            raise FileNotFoundError(
                f"There is no {name}. Install Debian's chromium and "
                "chromium-driver, or let `make demo-page-check` fetch them, "
                "which takes apt-get and its lists (apt-get update)."
            )
        found.append(Path(path))
    return found[0], found[1]


@dataclasses.dataclass
class Browser:
    """A browser for the page.

    Attributes:
        driver: The browser itself.
        address: The page's.
        downloads: Folder that files come to.
    """

    driver: webdriver.Chrome
    address: str
    downloads: Path

    def open(self) -> None:
        """Opens the page anew: a new user, without an image."""
        self.driver.get("about:blank")
        # The last page complains of what was under way when it was left.
        self.driver.get_log("browser")
        self.driver.get(self.address)
        self.wait(lambda: self.all(".gallery-item"))

    def all(self, selector: str) -> list[WebElement]:
        """Returns the parts that a CSS selector finds."""
        return self.driver.find_elements("css selector", selector)

    def part(self, selector: str, text: str) -> WebElement:
        """Returns the visible part that begins with a text."""
        return self.wait(
            lambda: next(
                (
                    part
                    for part in self.all(selector)
                    if part.is_displayed() and part.text.startswith(text)
                ),
                None,
            )
        )

    def wait(self, true: Callable[[], Any]) -> Any:
        """Waits until something is true, and returns it."""
        # Parts come and go while the page changes.
        passing = (NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.driver, SECONDS, 0.05, passing)
        return waiting.until(lambda _: true())

    def upload(self, path: Path) -> None:
        """Puts a file where files are dropped, in place of the last one."""
        for clear in self.all("button[aria-label=Clear]"):
            clear.click()
        field = "input[type=file]"
        self.wait(lambda: self.all(field))[0].send_keys(str(path))

    def message(self) -> str:
        """Waits for a message, closes it, and returns it."""
        (first, *_) = self.wait(lambda: self.all("[data-testid=toast-text]"))
        text = first.get_property("textContent")
        for close in self.all("[data-testid=toast-close]"):
            close.click()
        self.wait(lambda: not self.all("[data-testid=toast-text]"))
        return str(text).strip()

    def download(self, kind: str, name: str) -> Path:
        """Clicks the button of a file, and waits until it is there."""
        path = self.downloads / name
        path.unlink(missing_ok=True)
        button = self.part("button", f"Download {kind}")
        self.wait(button.is_enabled)
        button.click()
        self.wait(path.is_file)
        return path

    def requests(self) -> set[str]:
        """Returns what was asked for over the network since the last time."""
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                found.add(message["params"]["url"])
        # Not what the browser holds itself: chrome:, data:.
        return {each for each in found if each.startswith(("http", "ws"))}


@contextlib.contextmanager
def browsing(address: str, folder: Path) -> Iterator[Browser]:
    """Starts a browser with nothing kept from before.

    Args:
        address: The page's.
        folder: An empty folder for what it keeps and downloads.
    """
    chromium, driver = find()
    downloads = folder / "downloads"
    options = webdriver.ChromeOptions()
    options.binary_location = str(chromium)
    for option in (*_OPTIONS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(option)
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads)}
    )
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    libraries = sorted({str(each.parent) for each in UNPACKED.rglob("*.so*")})
    known = os.environ.get("LD_LIBRARY_PATH", "")
    path = os.pathsep.join([*libraries, known])
    service = webdriver.ChromeService(
        str(driver), env={**os.environ, "LD_LIBRARY_PATH": path}
    )
    running = webdriver.Chrome(options, service)
    try:
        yield Browser(running, address, downloads)
    finally:
        running.quit()
