"""The page and a browser, started once for all tests."""

from collections.abc import Iterator
from pathlib import Path

import chromium
import demo_server
import numpy as np
import pytest
from PIL import Image

import keras_pspnet as kp
from keras_pspnet.data.synthetic.towns import make_town

# MB, for files that are uploaded; pixels of images.
MAX_UPLOAD, MAX_PIXELS = 2, 10**6


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Iterator[demo_server.Demo]:
    folder = tmp_path_factory.mktemp("demo")
    limits = {"--max-upload": MAX_UPLOAD, "--max-pixels": MAX_PIXELS}
    options = [str(each) for pair in limits.items() for each in pair]
    with demo_server.running(folder, *options) as running:
        yield running


@pytest.fixture(scope="session")
def chrome(demo, tmp_path_factory) -> Iterator[chromium.Browser]:
    folder = tmp_path_factory.mktemp("chromium")
    with chromium.browsing(demo.address, folder) as browser:
        yield browser


@pytest.fixture
def browser(chrome, demo) -> Iterator[chromium.Browser]:
    """The page, just opened; it must not complain or ask other hosts."""
    chrome.open()
    yield chrome
    complaints = [
        each["message"]
        for each in chrome.driver.get_log("browser")
        if each["level"] == "SEVERE"
        # Gradio asks how an upload gets on, which may be over by then, and
        # writes down the answer.
        and "upload_progress" not in each["message"]
        and not each["message"].endswith(" Response")
    ]
    assert complaints == []
    asked = chrome.requests()
    assert asked
    assert {each for each in asked if not each.startswith(demo.address)} == (
        set()
    )
    assert demo.errors.read_text() == ""


@pytest.fixture(scope="session")
def model():
    return kp.load_pretrained("aerial")


@pytest.fixture(scope="session")
def photo(tmp_path_factory) -> Path:
    """A photograph that lies on its side, as cameras write them."""
    path = tmp_path_factory.mktemp("images") / "my photo.jpg"
    exif = Image.Exif()
    exif[274] = 6
    turned = np.rot90(make_town(3, (300, 420))[0])
    Image.fromarray(turned).save(path, exif=exif, quality=95)
    return path
