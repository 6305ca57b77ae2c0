"""Chromium, the real browser, and what a user does with it on the page.

Runs the Chromium and the driver of the path, or those in `.chromium`, which
`make demo-page-check` unpacks.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
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
    "--force-device-scale-factor=1",
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
        """Opens the page anew: a new user, without a picture."""
        self.driver.get(self.address)
        self.wait(lambda: self.part("segment").is_displayed())

    def part(self, name: str) -> WebElement:
        """Returns the part of the page that has an id."""
        return self.driver.find_element(By.ID, name)

    def boxes(self, name: str) -> dict[str, WebElement]:
        """Returns the boxes of a part by the texts beside them."""
        labels = self.part(name).find_elements(By.TAG_NAME, "label")
        return {
            str(label.get_property("textContent")).strip(): (
                label.find_element(By.TAG_NAME, "input")
            )
            for label in labels
        }

    def choose(self, name: str, text: str) -> None:
        """Clicks the box of a part whose text begins with these words."""
        (box,) = (
            box
            for label, box in self.boxes(name).items()
            if f"{label} ".startswith(f"{text} ")
        )
        box.click()

    def text(self, name: str) -> str:
        """Returns the text of a part."""
        return str(self.part(name).get_property("textContent")).strip()

    def message(self) -> str:
        """Returns the sentence that the page says, "" if there is none."""
        told = self.driver.find_elements(By.CSS_SELECTOR, "#message p")
        return told[0].text if told else ""

    def wait(self, true: Callable[[], Any]) -> Any:
        """Waits until something is true, and returns it."""
        # Parts come and go while the page changes.
        passing = (NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.driver, SECONDS, 0.05, passing)
        return waiting.until(lambda _: true())

    def drop(self, path: Path) -> None:
        """Puts a file where files are dropped."""
        self.wait(
            lambda: self.driver.find_element(
                By.CSS_SELECTOR, "#drop input[type=file]"
            )
        ).send_keys(str(path))

    def source(self) -> str:
        """Returns the picture that is shown, as it stands in the page."""
        images = self.part("figure").find_elements(By.TAG_NAME, "img")
        return str(images[0].get_attribute("src")) if images else ""

    def changes(self, act: Callable[[], Any]) -> np.ndarray:
        """Does something, and returns the picture that is shown then."""
        before = self.source()
        act()
        return picture_in(
            self.wait(lambda: (now := self.source()) != before and now)
        )

    def tells(self, act: Callable[[], Any]) -> str:
        """Does something, and returns what the page says then."""
        before = self.message()
        act()
        return str(self.wait(lambda: (now := self.message()) != before and now))

    def file(self, kind: str) -> bytes:
        """Fetches the file that a link leads to, "mask" or "overlay"."""
        link = self.part(f"{kind}-file").get_attribute("href")
        with urllib.request.urlopen(str(link), timeout=SECONDS) as answer:
            return bytes(answer.read())

    def download(self, kind: str) -> Path:
        """Clicks the link to a file, and waits until it is there."""
        link = self.part(f"{kind}-file")
        path = self.downloads / str(link.get_attribute("download"))
        path.unlink(missing_ok=True)
        link.click()
        self.wait(path.is_file)
        return path

    def shot(self, path: Path) -> None:
        """Takes a picture of the whole page."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})
        taken = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot",
            {
                "captureBeyondViewport": True,
                "clip": {**size["cssContentSize"], "scale": 1},
            },
        )
        path.write_bytes(base64.b64decode(taken["data"]))

    @contextlib.contextmanager
    def dark(self) -> Iterator[None]:
        """Prefers dark pages in the block."""
        feature = "prefers-color-scheme"
        self._media([{"name": feature, "value": "dark"}])
        yield
        self._media([])

    @contextlib.contextmanager
    def phone(self) -> Iterator[None]:
        """Is as narrow as a phone in the block."""
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1}
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {**size, "mobile": True}
        )
        yield
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def complaints(self) -> list[str]:
        """Returns the errors on the console since it was last asked."""
        found = [
            each["message"]
            for each in self.driver.get_log("browser")
            if each["level"] == "SEVERE"
        ]
        if any("upload_progress" in each for each in found):
            # Gradio asks how an upload gets on, which may be over by then, and
            # writes down the answer.
            found = [
                each
                for each in found
                if not ("upload_progress" in each or each.endswith(" Response"))
            ]
        return found

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

    def _media(self, features: list[dict[str, str]]) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": features}
        )


def picture_in(source: str) -> np.ndarray:
    """Decodes an address that holds a picture."""
    data = base64.b64decode(source.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


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
    for option in _OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.add_argument("--window-size=1280,1300")
    # Its own first page would ask for things.
    options.add_argument("about:blank")
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads)}
    )
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    libraries = sorted({str(each.parent) for each in UNPACKED.rglob("*.so*")})
    service = webdriver.ChromeService(
        str(driver),
        env={
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(
                [*libraries, os.environ.get("LD_LIBRARY_PATH", "")]
            ),
        },
    )
    running = webdriver.Chrome(options, service)
    try:
        yield Browser(running, address, downloads)
    finally:
        running.quit()
