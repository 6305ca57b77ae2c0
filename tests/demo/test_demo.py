"""Tests of keras_pspnet.demo without a browser, and without Gradio.

`tests/page` has the page itself in a real browser: `make demo-page-check`.
"""

import os
import re
import signal
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from command_line import usage_error
from PIL import Image

import keras_pspnet as kp
from keras_pspnet.cli import demo as cli_demo
from keras_pspnet.cli import main as cli
from keras_pspnet.data.images import read_image, read_mask
from keras_pspnet.demo.results import (
    VIEW_SIDE,
    segment_file,
    sentence,
    write_examples,
)
from keras_pspnet.inference.predictor import Predictor
from keras_pspnet.labels import AERIAL, LabelSet

LABELS = LabelSet("three", ("<red>", "green", "blue"), ((200, 0, 0),) * 3)
# Takes the greatest channel for the class.
NETWORK = Predictor(lambda images: images / 20, LABELS)
SEVERAL = {"scales": (0.75, 1.0, 1.5), "flip": True}


def blocks(height=20, width=30, seed=0):
    """Blocks of colors, so that other scales give other masks."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (-(-height // 3), -(-width // 3), 3), np.uint8)
    return small.repeat(3, 0).repeat(3, 1)[:height, :width]


def png(image):
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def upload(tmp_path):
    """A function that puts a file where uploads are."""

    def put(data, name="photo.png"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return put


# === Results ===


@pytest.mark.parametrize("arguments", [{}, SEVERAL, {"flip": True}])
def test_a_result_is_what_segment_gives(tmp_path, upload, arguments):
    path = upload(png(blocks()))
    arguments = {**arguments, "max_side": 25}
    result, confidence = segment_file(NETWORK, path, tmp_path, **arguments)
    want = kp.segment(NETWORK, path, confidence=True, **arguments)
    assert result.mask.name == "photo_mask.png"
    np.testing.assert_array_equal(read_mask(result.mask), want.mask)
    np.testing.assert_array_equal(confidence, want.confidence_image())
    assert want.areas() == {
        LABELS.names[each]: share for each, share in result.shares.items()
    }
    assert re.fullmatch(r"30 x 20 pixels, \d+\.\d\d s", result.summary)


def test_layers_are_the_classes_that_are_on(tmp_path, upload):
    image = np.full((10, 10, 3), (0, 0, 250), np.uint8)
    image[:3] = (250, 0, 0)
    path = upload(png(image))
    result, _ = segment_file(NETWORK, path, tmp_path)
    assert result.shares == {2: 0.7, 0: 0.3}
    shown, layers = result.layers(0.5)
    np.testing.assert_array_equal(shown, image)
    assert [name for _, name in layers] == ["blue", "<red>"]
    np.testing.assert_array_equal(layers[0][0][:, 0], [0] * 3 + [0.5] * 7)
    assert (sum(layer for layer, _ in layers) == 0.5).all()
    ((layer, name),) = result.layers(1, [0])[1]
    assert name == "<red>" and layer.sum() == 30
    assert result.layers(1, [])[1] == []


def test_large_images_are_shown_smaller_with_whole_classes(tmp_path, upload):
    image = blocks(300, 2 * VIEW_SIDE + 7)
    arguments = {"max_side": None}
    result, confidence = segment_file(
        NETWORK, upload(png(image)), tmp_path, **arguments
    )
    mask = read_mask(result.mask)
    assert mask.shape == image.shape[:2]
    shown, layers = result.layers(1)
    height, width = shown.shape[:2]
    assert width == VIEW_SIDE == confidence.width
    # The class in the middle of what each pixel stands for.
    for row, column in ((0, 0), (height - 1, 5), (70, width - 1)):
        y = int((row + 0.5) * image.shape[0] / height)
        x = int((column + 0.5) * image.shape[1] / width)
        (name,) = (name for layer, name in layers if layer[row, column])
        assert LABELS.names.index(name) == mask[y, x]
    # Files have the size of the image.
    overlay = read_image(result.write_overlay(0.5, False))
    assert overlay.shape == image.shape


def test_the_overlay_is_the_library_s(tmp_path, upload):
    path = upload(png(blocks()), "a photo.png")
    result, _ = segment_file(NETWORK, path, tmp_path)
    want = kp.segment(NETWORK, path)
    for look in ((0.55, False), (0.2, True, [0, 2]), (1, False, [])):
        file = result.write_overlay(*look)
        # One file, however often somebody changes the look.
        assert file == result.mask.parent / "a photo_overlay.png"
        np.testing.assert_array_equal(read_image(file), want.overlay(*look))
    assert len(list(file.parent.iterdir())) == 2


def test_what_was_let_in_is_shown(tmp_path, upload, monkeypatch):
    """With --max-pixels above the library's own limit."""
    path = upload(png(blocks()))
    result, _ = segment_file(NETWORK, path, tmp_path, max_pixels=600)
    monkeypatch.setattr(read_image, "__defaults__", (599, 3))
    monkeypatch.setattr(read_mask, "__defaults__", (599,))
    with pytest.raises(ValueError, match="at most 599 pixels"):
        read_image(path)
    assert result.layers(1)[0].shape == (20, 30, 3)
    assert result.write_overlay(1, False).is_file()


def test_users_share_nothing(tmp_path, upload):
    def work(seed):
        path = upload(png(blocks(seed=seed)), f"{seed}.png")
        return path, segment_file(NETWORK, path, tmp_path, **SEVERAL)[0]

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(work, range(6)))
    for path, result in found:
        want = kp.segment(NETWORK, path, **SEVERAL)
        np.testing.assert_array_equal(read_mask(result.mask), want.mask)
    folders = {result.mask.parent.name for _, result in found}
    # 128 bits that nobody guesses.
    assert len(folders) == 6
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in folders)


# === What users read ===


def truncated():
    return png(blocks(200, 200))[:-300]


def bomb():
    """The head of a PNG of 10 gigapixels, as its reader sees it first."""
    data = bytearray(png(blocks()))
    data[16:24] = (100000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def floats():
    stream = BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(stream, "TIFF")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"", r"must be an? \w+ file \(JPEG, PNG, WEBP, BMP, GIF, TIFF\)\."),
        (b"hello", r"must be an? \w+ file \(JPEG, PNG, WEBP, BMP, GIF, TIFF"),
        (truncated(), "must be a PNG file that can be decoded"),
        (
            bomb(),
            r"must have at most 89,478,485 pixels; it has 100000 x 100000\.",
        ),
        (
            floats(),
            r"must be RGB of 8 bits\.",
        ),
    ],
)
def test_bad_files_get_a_sentence(tmp_path, upload, data, want):
    with pytest.raises(ValueError, match="`image` must") as caught:
        segment_file(NETWORK, upload(data), tmp_path)
    told = sentence(caught.value)
    assert re.match(f"The image {want}", told)
    assert "`" not in told and "Received" not in told and told[-1] == "."
    assert str(tmp_path) not in told


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        (
            {"max_pixels": 599},
            "The image must have at most 599 pixels; it has 30 x 20.",
        ),
        ({"scales": ()}, "Scales must be a sequence of"),
    ],
)
def test_bad_arguments_get_a_sentence(tmp_path, upload, arguments, want):
    with pytest.raises(ValueError, match="` must") as caught:
        segment_file(NETWORK, upload(png(blocks())), tmp_path, **arguments)
    assert sentence(caught.value).startswith(want)


def test_files_that_were_removed_get_a_sentence(tmp_path, upload):
    path = upload(png(blocks()))
    result, _ = segment_file(NETWORK, path, tmp_path)
    path.unlink()
    for ask in (
        lambda: segment_file(NETWORK, path, tmp_path),
        lambda: result.layers(1),
        lambda: result.write_overlay(1, False),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            ask()
        assert sentence(caught.value) == (
            "This image is no longer kept. Upload it again."
        )


def test_no_memory_gets_a_sentence():
    want = "There is not enough memory for this image at these scales."
    assert sentence(MemoryError()) == want
    assert sentence(MemoryError("x")) == want


# === Examples ===


def test_the_shipped_model_sees_every_class_in_the_examples(tmp_path):
    model = kp.load_pretrained("aerial")
    for path in write_examples(tmp_path):
        areas = kp.segment(model, path).areas()
        assert set(areas) == set(AERIAL.names)
        assert min(areas.values()) > 0.05


# === The command ===


def test_the_extra_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr().err == (
        "keras-pspnet: error: gradio must be installed for this page: "
        "pip install keras-pspnet[demo]\n"
    )


@pytest.mark.parametrize(
    ("option", "match"),
    [
        (["--port", "65536"], "`port` must be within 0..65535."),
        (["--scales", "11"], "`scales` must be a sequence of numbers from 0.1"),
        (["--window", "3"], "`window` must be an integer of at least 16"),
    ],
)
def test_options_are_checked_first(monkeypatch, capsys, option, match):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert cli.main(["demo", *option]) == 2
    assert match in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--max-upload", "--max-pixels"])
def test_limits_are_positive(capsys, option):
    line = usage_error(capsys, "demo", option, "0")
    assert f"{option}: must be an integer of at least 1: '0'" in line


def test_uploads_are_gone_whatever_ends_the_command(monkeypatch):
    handlers = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        # Set again when the test is over, whatever the command sets.
        monkeypatch.setenv(name, "")
    with pytest.raises(SystemExit) as ended, cli_demo._gradio_settings():
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        (folder / "upload.png").touch()
        assert folder.stat().st_mode & 0o077 == 0
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
        handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert ended.value.code == 143
    assert not folder.exists()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:7860"),
        ("0.0.0.0", "http://127.0.0.1:7860"),
        ("::1", "http://[::1]:7860"),
    ],
)
def test_addresses(host, address):
    assert cli_demo._address(host, 7860) == address
