"""What users do with the page, beside what the library says."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_pspnet as kp
from keras_pspnet.data.decode import read_mask
from keras_pspnet.data.towns import make_town
from keras_pspnet.demo.examples import SIZE
from keras_pspnet.palettes import confidence_colors

SEVERAL = (0.75, 1.0, 1.25)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def entries(result) -> list[str]:
    return [f"{name}  {share:.1%}" for name, share in result.areas().items()]


def close(shown: np.ndarray, want: np.ndarray) -> bool:
    """Whether a JPEG on the page is that picture."""
    assert shown.shape == want.shape
    return float(np.abs(shown.astype(int) - want).mean()) < 3


def test_a_picture_to_its_mask(browser, model, photo) -> None:
    shown = browser.changes(lambda: browser.drop(photo))
    result = kp.segment(model, photo, confidence=True)
    assert result.mask.shape == (300, 420)
    assert close(shown, result.overlay())
    assert list(browser.boxes("legend")) == entries(result)
    assert all(box.is_selected() for box in browser.boxes("legend").values())
    caption = browser.text("figure")
    assert caption.startswith("420 x 300 pixels; size 1; ")
    assert caption.endswith(f"mean confidence {result.confidence.mean():.2f}")
    path = browser.download("mask")
    assert path.name == "my_photo_mask.png"
    np.testing.assert_array_equal(read_mask(path), result.mask)
    overlay = pixels(browser.download("overlay").read_bytes())
    np.testing.assert_array_equal(overlay, result.overlay())


def test_a_class_that_is_off_changes_the_overlay_alone(
    browser, model, photo
) -> None:
    browser.changes(lambda: browser.drop(photo))
    result = kp.segment(model, photo)
    mask, caption = browser.file("mask"), browser.text("figure")
    off = next(iter(result.areas()))
    rest = [
        number
        for number, name in enumerate(result.labels.names)
        if name in result.areas() and name != off
    ]
    shown = browser.changes(lambda: browser.choose("legend", off))
    assert close(shown, result.overlay(classes=rest))
    assert not close(shown, result.overlay())
    np.testing.assert_array_equal(
        pixels(browser.file("overlay")), result.overlay(classes=rest)
    )
    assert browser.file("mask") == mask
    # With the seconds of the one run there was.
    assert browser.text("figure") == caption
    # On again: as it was.
    shown = browser.changes(lambda: browser.choose("legend", off))
    assert close(shown, result.overlay())


def test_looks(browser, model, photo) -> None:
    browser.changes(lambda: browser.drop(photo))
    result = kp.segment(model, photo, confidence=True)
    shown = browser.changes(lambda: browser.choose("show", "Confidence"))
    assert close(shown, confidence_colors(result.confidence))
    shown = browser.changes(lambda: browser.choose("show", "Picture"))
    assert close(shown, result.image)
    browser.changes(lambda: browser.choose("show", "Classes"))
    slider = browser.part("opacity").find_element("css selector", "input")
    browser.changes(lambda: (slider.clear(), slider.send_keys("1\t")))
    np.testing.assert_array_equal(
        pixels(browser.file("overlay")), result.overlay(1.0)
    )
    before = browser.file("mask")
    browser.changes(
        lambda: browser.choose("colorblind", "Colour-blind palette")
    )
    assert list(browser.boxes("legend"))[0].startswith("1 · land  ")
    # Other colours, the same classes.
    assert browser.file("mask") != before
    np.testing.assert_array_equal(read_mask(browser.file("mask")), result.mask)


def test_scales_and_mirror_images_compared(browser, model, photo) -> None:
    browser.changes(lambda: browser.drop(photo))
    plain = kp.segment(model, photo, confidence=True)
    other = kp.segment(model, photo, scales=SEVERAL, flip=True, confidence=True)
    for scale in SEVERAL:
        if scale != 1:
            browser.choose("scales", f"{scale:g}")
    browser.choose("flip", "Mirror")
    browser.part("compare").click()
    browser.wait(lambda: "same class" in browser.text("comparison"))
    told = browser.text("comparison")
    same = (plain.mask == other.mask).mean()
    assert 0.5 < same < 1
    assert f"{same:.2%} of the pixels have the same class." in told
    assert f"Different in {1 - same:.2%} of the pixels" in told
    confidences = re.findall(r"\d\.\d\d s; mean confidence (\d\.\d\d)", told)
    assert confidences == [
        f"{each.confidence.mean():.2f}" for each in (plain, other)
    ]
    assert "Sizes 0.75, 1, 1.25, mirrored too: " in told
    # The same as the result itself.
    browser.changes(browser.part("segment").click)
    np.testing.assert_array_equal(read_mask(browser.file("mask")), other.mask)
    assert list(browser.boxes("legend")) == entries(other)


def test_a_drawn_picture(browser, model) -> None:
    browser.changes(browser.part("example-0").click)
    np.testing.assert_array_equal(
        read_mask(browser.file("mask")),
        kp.segment(model, make_town(5, SIZE)[0]).mask,
    )


def test_two_users_see_their_own_pictures(browser, model, photo) -> None:
    driver = browser.driver
    first = driver.current_window_handle
    browser.changes(lambda: browser.drop(photo))
    mask = browser.file("mask")
    driver.switch_to.new_window("tab")
    try:
        browser.open()
        assert browser.source() == ""
        told = browser.tells(browser.part("segment").click)
        assert told.startswith("Drop a picture first")
        browser.changes(browser.part("example-1").click)
        assert browser.file("mask") != mask
    finally:
        driver.close()
        driver.switch_to.window(first)
    assert browser.file("mask") == mask
    browser.changes(lambda: browser.choose("show", "Picture"))


# === Bad input ===


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def encoded(picture: Image.Image, form: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def test_bad_input_is_told_and_the_page_goes_on(
    browser, demo, model, photo, tmp_path
) -> None:
    view = Image.fromarray(make_town(1, (200, 200))[0])
    jpeg = encoded(view, "JPEG")
    huge = encoded(Image.new("L", (5000, 4000)), "PNG")
    floats = Image.fromarray(np.ones((9, 9), np.float32))
    bad = {
        "words.png": (b"no picture", "must be a picture file (JPEG, PNG"),
        "page.html": (b"<script>alert(1)</script>", "must be a picture file"),
        "empty.png": (b"", "must not be an empty file."),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "must be a JPEG file that can be"),
        "huge.png": (huge, "must have at most 1,000,000 pixels; it has 5000 x"),
        "floats.tif": (encoded(floats, "TIFF"), "must have unsigned channels"),
    }
    assert len(huge) < 2**16
    told = browser.tells(browser.part("segment").click)
    assert told == "Drop a picture first, or try one of the drawn ones."
    for name, (data, want) in bad.items():
        path = write(tmp_path / name, data)
        told = browser.tells(lambda path=path: browser.drop(path))
        assert told.startswith(f"{name}: The picture {want}")
        assert browser.source() == ""
    shown = browser.changes(lambda: browser.drop(photo))
    assert close(shown, kp.segment(model, photo).overlay())
    assert browser.message() == ""
    # A bad file leaves what is there.
    browser.changes(lambda: browser.choose("show", "Picture"))
    before = browser.source()
    browser.tells(lambda: browser.drop(tmp_path / "cut.jpg"))
    assert browser.source() == before
    browser.choose("scales", "1")
    told = browser.tells(browser.part("segment").click)
    assert told == "Choose at least one size."
    # Nothing of all that is kept, and nothing was thrown.
    assert demo.uploads() == []
    assert demo.errors.read_text() == ""


def test_large_files_are_refused_with_a_sentence(browser, tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    path = write(tmp_path / "large.png", encoded(Image.fromarray(noise), "PNG"))
    assert path.stat().st_size > 2 * 2**20
    browser.drop(path)
    toast = browser.wait(
        lambda: browser.driver.find_element("css selector", ".toast-body").text
    )
    assert "exceed the maximum allowed size of 2.0 Mb" in toast
    browser.changes(browser.part("example-0").click)


@pytest.mark.parametrize("form", ["CMYK", "16 bits", "animated", "1 pixel"])
def test_odd_pictures(browser, model, tmp_path, form) -> None:
    view = Image.fromarray(make_town(1, (120, 160))[0])
    if form == "CMYK":
        data = encoded(view.convert("CMYK"), "JPEG")
    elif form == "16 bits":
        grey = np.asarray(view.convert("L")).astype(np.uint16) * 257
        data = encoded(Image.fromarray(grey), "PNG")
    elif form == "animated":
        other = Image.fromarray(make_town(2, (120, 160))[0])
        data = encoded(view, "GIF", save_all=True, append_images=[other])
    else:
        data = encoded(view.crop((0, 0, 1, 1)), "PNG")
    path = write(tmp_path / f"{form}.bin", data)
    browser.changes(lambda: browser.drop(path))
    result = kp.segment(model, path)
    np.testing.assert_array_equal(read_mask(browser.file("mask")), result.mask)
