"""How the page looks, and who can use it; screenshots go to build/page."""

import numpy as np
import pytest
from axe_core_python.selenium import Axe
from chromium import ROOT
from PIL import Image
from selenium.webdriver.common.keys import Keys

FOLDER = ROOT / "build" / "page"


@pytest.fixture(scope="module", autouse=True)
def folder() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)


def shot(browser, name: str) -> np.ndarray:
    path = FOLDER / f"{name}.png"
    browser.shot(path)
    return np.asarray(Image.open(path).convert("RGB"))


def segmented(browser) -> None:
    browser.changes(browser.part("example-0").click)
    browser.wait(browser.part("colorblind").is_displayed)


def faults(browser) -> list[str]:
    """What axe finds of what shuts people out, and where."""
    found = Axe().run(browser.driver)["violations"]
    return [
        f"{each['id']} {node['target']} {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
        if each["impact"] in ("serious", "critical")
    ]


def test_light(browser) -> None:
    image = shot(browser, "empty")
    assert image[5, 5].min() > 200
    segmented(browser)
    browser.changes(lambda: browser.choose("legend", "vegetation"))
    image = shot(browser, "light")
    assert image[5, 5].min() > 200
    assert image.shape[1] == 1280
    assert faults(browser) == []


def test_dark(browser) -> None:
    with browser.dark():
        browser.open()
        segmented(browser)
        browser.tells(lambda: browser.part("compare").click())
        image = shot(browser, "dark")
        assert image[5, 5].max() < 60
        assert faults(browser) == []


def test_comparison(browser) -> None:
    segmented(browser)
    browser.choose("scales", "0.75")
    browser.choose("flip", "Mirror")
    browser.part("compare").click()
    browser.wait(lambda: "same class" in browser.text("comparison"))
    browser.changes(lambda: browser.choose("show", "Confidence"))
    shot(browser, "comparison")
    assert faults(browser) == []


def test_phone(browser) -> None:
    with browser.phone():
        browser.open()
        segmented(browser)
        browser.changes(
            lambda: browser.choose("colorblind", "Colour-blind palette")
        )
        image = shot(browser, "phone")
        # Nothing is cut off, and nothing to be scrolled sideways.
        assert image.shape[1] == 390
        assert faults(browser) == []


def test_keys_alone(browser) -> None:
    def tab() -> str:
        """Goes to the next part, and returns the ids around it."""
        active = browser.driver.switch_to.active_element
        active.send_keys(Keys.TAB)
        active = browser.driver.switch_to.active_element
        around = active.find_elements("xpath", "ancestor-or-self::*[@id]")
        return " ".join(str(each.get_attribute("id")) for each in around)

    reached = [tab() for _ in range(16)]
    passed = " ".join(reached).split()
    order = ["drop", "example-0", "example-1", "scales", "flip", "segment"]
    places = [passed.index(name) for name in order]
    assert places == sorted(places)

    browser.driver.execute_script("document.activeElement.blur()")
    while "example-0" not in tab():
        pass
    active = browser.driver.switch_to.active_element
    browser.changes(lambda: active.send_keys(Keys.ENTER))
    while "legend" not in tab():
        pass
    box = browser.driver.switch_to.active_element
    browser.changes(lambda: box.send_keys(Keys.SPACE))
    assert not box.is_selected()
    for name in ("show", "opacity", "colorblind", "mask-file"):
        while name not in tab():
            pass
