"""What users do with the page, beside what the library says."""

import io
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from chromium import ROOT, SECONDS
from image_files import encoded
from PIL import Image
from selenium.webdriver.common.keys import Keys

import keras_pspnet as kp
from keras_pspnet.data.images import read_mask
from keras_pspnet.data.synthetic.towns import make_town
from keras_pspnet.visualization.colors import class_colors

SHOTS = ROOT / "build" / "page"


def fetched(image) -> np.ndarray:
    address = image.get_attribute("src")
    with urllib.request.urlopen(address, timeout=SECONDS) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())))


def close(shown: np.ndarray, want: np.ndarray) -> bool:
    """Whether a WebP file on the page is that image."""
    difference = shown[..., :3].astype(int) - want
    return float(np.abs(difference).mean()) < 8


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def legend(browser) -> list[str]:
    return [part.text for part in browser.all(".legend-item")]


def labels(browser) -> list[str]:
    return [part.text for part in browser.all("label") if "%" in part.text]


def changes(browser, act) -> None:
    """Does something, and waits until other layers are shown."""

    def layers() -> list[str]:
        return [each.get_attribute("src") for each in browser.all("img.mask")]

    before = layers()
    act()
    browser.wait(lambda: (now := layers()) and now != before)


def check_layers(browser, result, names, alpha=0.55, colorblind=False) -> None:
    """Compares image, layers and legend with a result of the library."""
    assert legend(browser) == names
    (image,) = browser.all("img.base-image")
    assert close(fetched(image), result.image)
    colors = class_colors(result.labels, colorblind)
    for name, part in zip(names, browser.all("img.mask"), strict=True):
        number = result.labels.names.index(name)
        layer, here = fetched(part), result.mask == number
        assert (layer[here] == [*colors[number], int(alpha * 255)]).all()
        assert (layer[~here, 3] == 0).all()


def test_an_image_to_its_mask(browser, model, photo) -> None:
    browser.upload(photo)
    result = kp.segment(model, photo)
    assert result.mask.shape == (300, 420)
    names = list(result.areas())
    browser.wait(lambda: legend(browser) == names)
    check_layers(browser, result, names)
    assert labels(browser) == [
        f"{name} {share:.1%}" for name, share in result.areas().items()
    ]
    browser.part("p", "420 x 300 pixels, ")
    mask = browser.download("mask", "my photo_mask.png")
    np.testing.assert_array_equal(read_mask(mask), result.mask)
    overlay = browser.download("overlay", "my photo_overlay.png")
    np.testing.assert_array_equal(read(overlay), result.overlay())


def test_looks(browser, model, photo) -> None:
    result = kp.segment(model, photo)
    names = list(result.areas())
    changes(browser, lambda: browser.upload(photo))
    changes(browser, browser.part("label", names[0]).click)
    check_layers(browser, result, names[1:])
    slider = browser.all("input[aria-label*=Opacity][type=number]")[0]
    changes(browser, lambda: (slider.clear(), slider.send_keys("1\t")))
    changes(browser, browser.part("label", "Color-blind").click)
    check_layers(browser, result, names[1:], 1, True)
    overlay = browser.download("overlay", "my photo_overlay.png")
    drawn = [result.labels.names.index(name) for name in names[1:]]
    want = result.overlay(1, True, drawn)
    np.testing.assert_array_equal(read(overlay), want)
    browser.part("[role=tab]", "Confidence").click()
    (shown,) = browser.wait(lambda: browser.all("img[alt=Confidence]"))
    sure = kp.segment(model, photo, confidence=True).confidence_image()
    assert close(fetched(shown), np.asarray(sure))


def test_scales_and_flip(browser, model, photo) -> None:
    want = kp.segment(model, photo, scales=(0.75, 1), flip=True)
    assert (kp.segment(model, photo).mask != want.mask).any()
    changes(browser, lambda: browser.upload(photo))
    browser.part("label", "0.75").click()
    browser.part("label", "Average flipped").click()
    changes(browser, browser.part("button", "Segment").click)
    check_layers(browser, want, list(want.areas()))


def test_two_users_see_their_own_images(browser, model, photo) -> None:
    driver = browser.driver
    first = driver.current_window_handle
    other = make_town(5, (480, 640))[0]
    driver.switch_to.new_window("tab")
    second = driver.current_window_handle
    try:
        browser.open()
        # Both at once: neither waits for the other's answer.
        browser.part("button", "Coast").click()
        driver.switch_to.window(first)
        browser.upload(photo)
        for window, image in ((first, photo), (second, other)):
            driver.switch_to.window(window)
            result = kp.segment(model, image)
            browser.wait(lambda: browser.all("img.mask"))
            check_layers(browser, result, list(result.areas()))
            changes(browser, browser.part("label", "water").click)
            left = [name for name in result.areas() if name != "water"]
            check_layers(browser, result, left)
    finally:
        driver.switch_to.window(second)
        driver.close()
        driver.switch_to.window(first)


# === Bad input ===


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_bad_input_gets_a_sentence_and_the_page_goes_on(
    browser, photo, tmp_path
) -> None:
    jpeg = encoded(Image.fromarray(make_town(1, (200, 200))[0]), "JPEG")
    huge = encoded(Image.new("L", (5000, 4000)), "PNG")
    floats = Image.fromarray(np.ones((9, 9), np.float32))
    bad = {
        "words.png": (b"no image", r"must be an? \w+ file \(JPEG, PNG"),
        "page.html": (b"<script>alert(1)</script>", r"must be an? \w+ file"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "must be a JPEG file that can be"),
        "huge.png": (huge, "must have at most 1,000,000 pixels; it has 5000 x"),
        "floats.tif": (encoded(floats, "TIFF"), r"must be RGB of 8 bits\."),
    }
    browser.part("button", "Segment").click()
    assert browser.message() == "Upload an image, or choose an example."
    for name, (data, want) in bad.items():
        browser.upload(write(tmp_path / name, data))
        assert re.match(f"The image {want}", browser.message())
        # Nothing of another image beside it.
        assert not browser.all("img.mask") and not labels(browser)
    # Nor where a file was taken away.
    changes(browser, lambda: browser.upload(photo))
    browser.part("button[aria-label=Clear]", "").click()
    browser.wait(lambda: not browser.all("img.mask"))
    changes(browser, lambda: browser.upload(photo))
    browser.part("label", "1").click()
    browser.part("button", "Segment").click()
    assert browser.message().startswith("Scales must be a sequence of")


def test_large_files_are_refused_with_a_sentence(browser, tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    path = write(tmp_path / "large.png", encoded(Image.fromarray(noise), "PNG"))
    assert path.stat().st_size > 2 * 2**20
    browser.upload(path)
    assert "exceed the maximum allowed size of 2.0 Mb" in browser.message()
    changes(browser, browser.part("button", "Coast").click)


# === Everybody ===


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_the_colors_of_the_system(browser, scheme) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    command = "Emulation.setEmulatedMedia"
    browser.driver.execute_cdp_cmd(command, {"features": [feature]})
    browser.open()
    changes(browser, browser.part("button", "Coast").click)
    button = browser.part("button", "Download overlay")
    browser.wait(button.is_enabled)
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{scheme}.png"
    assert browser.driver.save_screenshot(path)
    assert (read(path)[5, 5, 0] > 128) == (scheme == "light")


def test_keys_alone(browser) -> None:
    def reach(text: str):
        """Goes on until a part of this name has the focus."""
        for _ in range(40):
            browser.driver.switch_to.active_element.send_keys(Keys.TAB)
            part = browser.driver.switch_to.active_element
            if part.accessible_name.startswith(text):
                return part
        raise AssertionError(f"{text} is not reached")

    for name in ("Click to upload", "Coast", "Suburb", "0.5", "Average flip"):
        reach(name)
    reach("Segment")
    browser.driver.execute_script("document.activeElement.blur()")
    changes(browser, lambda: reach("Coast").send_keys(Keys.ENTER))
    box = reach("land 3")
    changes(browser, lambda: box.send_keys(Keys.SPACE))
    assert not box.is_selected()
    for name in ("number input for Opacity", "Color", "Download mask"):
        reach(name)
