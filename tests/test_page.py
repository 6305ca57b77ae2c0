"""Tests of keras_pspnet.page without a browser, and without Gradio.

`tests/page` has the page itself in a real browser: `make demo-page-check`.
"""

import base64
import html
import os
import re
import signal
import threading
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_pspnet as kp
from keras_pspnet.cli import demo, main
from keras_pspnet.data.decode import read_image, read_mask
from keras_pspnet.labels import AERIAL, VOC, LabelSet
from keras_pspnet.network import Network
from keras_pspnet.page import examples, markup
from keras_pspnet.page.desk import (
    GIVEN_UP,
    NO_PICTURE,
    NO_SIZE,
    NOTHING_TO_COMPARE,
    Desk,
    sentence,
)
from keras_pspnet.page.looks import Look, draw, encode, mask_file
from keras_pspnet.page.runs import (
    PLAIN,
    VIEW_SIDE,
    Way,
    agreement,
    difference,
    run,
)
from keras_pspnet.page.shelf import Entry, Shelf
from keras_pspnet.visualization.colors import WRONG, confidence_colors

LABELS = LabelSet("three", ("<red>", "green", "blue"), ((200, 0, 0),) * 3)
SEVERAL = Way((0.75, 1.0, 1.5), True)
MEMORY = 2**24


class Counting(Network):
    """Takes the greatest channel for the class, and counts its runs."""

    def __init__(self):
        super().__init__(lambda images: images / 20, LABELS)
        object.__setattr__(self, "shapes", [])

    def __call__(self, images):
        self.shapes.append(images.shape)
        return super().__call__(images)


@pytest.fixture
def network():
    return Counting()


@pytest.fixture
def desk(network):
    return Desk(network, Shelf(MEMORY), {})


def picture(height=20, width=30, seed=0):
    """Blocks of colours, so that other sizes give other masks."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (-(-height // 3), -(-width // 3), 3), np.uint8)
    return small.repeat(3, 0).repeat(3, 1)[:height, :width]


def png(image):
    return encode(Image.fromarray(image), "PNG")


# === Runs ===


@pytest.mark.parametrize("way", [PLAIN, SEVERAL, Way((1.0,), True)])
def test_a_run_is_what_segment_gives(network, way):
    image = picture()
    found = run(network, image, way, {"max_side": 25})
    want = kp.segment(
        network,
        image,
        scales=way.scales,
        flip=way.flip,
        max_side=25,
        confidence=True,
    )
    np.testing.assert_array_equal(found.result.mask, want.mask)
    np.testing.assert_array_equal(found.view.mask, want.mask)
    np.testing.assert_array_equal(found.view.confidence, want.confidence)
    assert found.confidence == pytest.approx(want.confidence.mean(), abs=1e-6)
    assert found.result.confidence is None
    assert found.seconds > 0


def test_large_pictures_are_shown_smaller_with_whole_classes(network):
    image = picture(300, 2 * VIEW_SIDE + 7)
    found = run(network, image, PLAIN, {"max_side": None})
    assert found.result.mask.shape == image.shape[:2]
    height, width = found.view.mask.shape
    assert width == VIEW_SIDE and found.view.image.shape == (height, width, 3)
    # The class in the middle of what each pixel stands for.
    for row, column in ((0, 0), (height - 1, 5), (70, width - 1)):
        y = int((row + 0.5) * image.shape[0] / height)
        x = int((column + 0.5) * image.shape[1] / width)
        assert found.view.mask[row, column] == found.result.mask[y, x]
    # Mask, and its view's picture, mask and confidence.
    assert found.nbytes == image.shape[0] * image.shape[1] + (
        height * width * (3 + 1 + 4)
    )


def test_agreement_and_difference(network):
    image = picture()
    first, second = (run(network, image, way, {}) for way in (PLAIN, SEVERAL))
    same = first.result.mask == second.result.mask
    assert 0.05 < same.mean() < 1
    assert agreement(first, second) == same.mean()
    assert agreement(first, first) == 1
    shown = difference(first, second)
    np.testing.assert_array_equal((shown == WRONG).all(-1), ~same)


def test_ways_read_well():
    assert str(PLAIN) == "size 1"
    assert str(Way((0.75, 1.0), True)) == "sizes 0.75, 1, mirrored too"


# === Looks ===


def test_draws_what_the_library_draws(network):
    view = run(network, picture(), PLAIN, {}).view
    np.testing.assert_array_equal(draw(view, Look()), view.overlay())
    np.testing.assert_array_equal(
        draw(view, Look(alpha=0.2, classes=(0, 2))),
        view.overlay(0.2, classes=(0, 2)),
    )
    np.testing.assert_array_equal(draw(view, Look("Picture")), view.image)
    np.testing.assert_array_equal(
        draw(view, Look("Confidence")), confidence_colors(view.confidence)
    )


def test_the_mask_file_is_read_back(network):
    result = run(network, picture(), PLAIN, {}).result
    for colorblind in (False, True):
        data = mask_file(result, colorblind)
        np.testing.assert_array_equal(read_mask(data), result.mask)


# === The shelf ===


def entry(pixels, name="a"):
    return Entry(name, np.zeros((1, pixels, 3), np.uint8))


def test_the_shelf_gives_up_what_was_not_used_longest():
    shelf = Shelf(95)
    first, second = shelf.add(entry(10)), shelf.add(entry(11))
    assert first != second and len(first) > 16
    shelf.get(first)
    third = shelf.add(entry(12))
    with pytest.raises(KeyError):
        shelf.get(second)
    assert shelf.get(first).nbytes == 30 and shelf.get(third).nbytes == 36
    shelf.put(first, entry(30))
    with pytest.raises(KeyError):
        shelf.get(third)
    # What was given up does not come back by the end of its run.
    shelf.put(third, entry(1))
    shelf.drop(third)
    shelf.drop(None)
    with pytest.raises(KeyError):
        shelf.get(third)


def test_one_entry_may_be_larger_than_the_shelf():
    shelf = Shelf(10)
    token = shelf.add(entry(100))
    assert shelf.get(token).nbytes == 300
    other = shelf.add(entry(1))
    assert shelf.get(other).nbytes == 3
    with pytest.raises(KeyError):
        shelf.get(token)


def test_an_entry_keeps_two_results(network):
    image = picture()
    kept = Entry("a", image)
    assert kept.shown is None
    for way in (PLAIN, SEVERAL, Way((0.5,))):
        kept = kept.with_run(run(network, image, way, {}))
        assert kept.shown.way == way
    assert list(kept.runs) == [SEVERAL, Way((0.5,))]
    # A view that is not smaller shares the picture's memory.
    assert kept.nbytes == image.nbytes + 2 * 600 * (1 + 1 + 4)


# === The desk ===


def test_the_network_runs_once_whatever_is_looked_at(desk, network):
    token = desk.open("a.png", png(picture()))
    first = desk.segment(token, PLAIN, Look())
    assert len(network.shapes) == 1
    for look in (Look(classes=(0,)), Look("Confidence"), Look(alpha=0.1)):
        kept = desk.look(token, look)
        assert kept.look == look
        markup.figure(kept)
        draw(kept.shown.result, Look(classes=look.classes))
    desk.segment(token, PLAIN, Look())
    assert len(network.shapes) == 1
    assert kept.shown is first.shown
    desk.segment(token, Way((0.5,)), Look())
    assert len(network.shapes) == 2


def test_segmenting_again_draws_all_classes(desk):
    token = desk.take("a", picture())
    desk.segment(token, PLAIN, Look())
    desk.look(token, Look(classes=(1,)))
    assert desk.segment(token, PLAIN, Look(alpha=0.3)).look == Look(alpha=0.3)


def test_comparing_runs_what_is_missing(desk, network):
    token = desk.take("a", picture())
    shown = desk.segment(token, PLAIN, Look()).shown
    before = len(network.shapes)
    plain, other = desk.compare(token, Way((0.5, 1.0)))
    assert plain is shown and other.way == Way((0.5, 1.0))
    assert len(network.shapes) == before + 2
    assert desk.entry(token).shown is shown


def test_a_new_picture_takes_the_place_of_the_old(desk):
    first = desk.take("a", picture())
    second = desk.open("b.png", png(picture(seed=1)), first)
    np.testing.assert_array_equal(desk.entry(second).picture, picture(seed=1))
    with pytest.raises(ValueError, match=re.escape(GIVEN_UP)):
        desk.entry(first)


def test_a_broken_file_leaves_the_old_picture(desk):
    token = desk.take("a", picture())
    with pytest.raises(ValueError, match="must be a picture file"):
        desk.open("b.png", b"no picture", token)
    np.testing.assert_array_equal(desk.entry(token).picture, picture())


def test_users_share_nothing(desk):
    tokens = [desk.take("a", picture(seed=seed)) for seed in range(6)]
    found = {}

    def work(seed):
        found[seed] = desk.segment(tokens[seed], SEVERAL, Look()).shown

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(6):
        want = kp.segment(
            desk.network, picture(seed=seed), scales=SEVERAL.scales, flip=True
        )
        np.testing.assert_array_equal(found[seed].result.mask, want.mask)
        assert desk.entry(tokens[seed]).shown is found[seed]


def test_files_are_turned_upright_as_segment_does(desk):
    exif = Image.Exif()
    exif[274] = 6
    stream = BytesIO()
    Image.fromarray(picture()).save(stream, "JPEG", exif=exif)
    token = desk.open("a.jpg", stream.getvalue())
    assert desk.entry(token).picture.shape == (30, 20, 3)
    np.testing.assert_array_equal(
        desk.entry(token).picture, read_image(stream.getvalue())
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("photo.jpg", "photo"),
        ("../../etc/pass wd.png", "pass_wd"),
        ('a"\r\nX: y<b>.png', "a_X_y_b"),
        (".png", "png"),
        ("", "picture"),
        ("日本.png", "picture"),
    ],
)
def test_names_are_safe_in_headers_and_files(desk, name, stem):
    assert desk.entry(desk.take(name, picture())).name == stem


def test_asking_without_a_picture_or_a_way(desk, network):
    with pytest.raises(ValueError, match=re.escape(NO_PICTURE)):
        desk.segment(None, PLAIN, Look())
    with pytest.raises(ValueError, match=re.escape(NO_PICTURE)):
        desk.look(None, Look())
    token = desk.take("a", picture())
    for ask in (
        lambda: desk.segment(token, Way(()), Look()),
        lambda: desk.compare(token, Way(())),
    ):
        with pytest.raises(ValueError, match=re.escape(NO_SIZE)):
            ask()
    network.shapes.clear()
    with pytest.raises(ValueError, match=re.escape(NOTHING_TO_COMPARE)):
        desk.compare(token, PLAIN)
    assert network.shapes == []


# === What users read ===


def truncated():
    return png(picture(200, 200))[:-300]


def bomb():
    """The head of a PNG of 10 gigapixels, as its reader sees it first."""
    data = bytearray(png(picture()))
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
        (b"", "The picture must not be an empty file."),
        (
            b"hello",
            "The picture must be a picture file "
            "(JPEG, PNG, WEBP, BMP, GIF, TIFF).",
        ),
        (truncated(), "The picture must be a PNG file that can be decoded"),
        (
            bomb(),
            "The picture must have at most 89,478,485 pixels; "
            "it has 100000 x 100000.",
        ),
        (
            floats(),
            "The picture must have unsigned channels of at most 16 bits, not "
            "floats or longer integers.",
        ),
    ],
)
def test_bad_files_get_a_sentence(desk, data, want):
    with pytest.raises(ValueError) as caught:
        desk.open("a.png", data)
    told = sentence(caught.value)
    assert told.startswith(want)
    assert "`" not in told and "Received" not in told and told[-1] == "."


def test_the_limit_is_the_one_that_was_asked_for(network):
    desk = Desk(network, Shelf(MEMORY), {"max_pixels": 599})
    with pytest.raises(ValueError) as caught:
        desk.open("a.png", png(picture()))
    assert sentence(caught.value) == (
        "The picture must have at most 599 pixels; it has 30 x 20."
    )


def test_no_memory_gets_a_sentence():
    want = "There is not enough memory for this picture at these sizes."
    assert sentence(MemoryError()) == want
    assert sentence(MemoryError("x")) == want


# === Markup ===


def shown_picture(text):
    """The picture that HTML holds."""
    form, data = re.search(
        r'src="data:image/(\w+);base64,(.*?)"', text
    ).groups()
    assert form == "jpeg"
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))))


def test_a_figure_shows_and_tells(desk):
    token = desk.take("a<b", np.full((40, 60, 3), (250, 20, 20), np.uint8))
    kept = desk.segment(token, PLAIN, Look(alpha=0.5))
    text = markup.figure(kept)
    # Half the picture, half the class.
    np.testing.assert_allclose(
        shown_picture(text), kept.shown.view.overlay(0.5), atol=3
    )
    assert 'alt="a_b: classes over the picture"' in text
    assert "60 x 40 pixels; size 1; " in text
    assert f"mean confidence {kept.shown.confidence:.2f}" in text
    assert 'class="bar"' not in text
    assert 'class="bar"' in markup.figure(desk.look(token, Look("Confidence")))


def test_a_comparison_tells_the_share_that_agrees(desk):
    token = desk.take("a", picture())
    pair = desk.compare(token, SEVERAL)
    text = markup.comparison(*pair, Look())
    same = (pair[0].result.mask == pair[1].result.mask).mean()
    assert f"{same:.2%} of the pixels have the same class." in text
    assert f"Different in {1 - same:.2%} of the pixels" in text
    assert text.count("<img") == 3
    for each in pair:
        assert f"{each.seconds:.2f} s; mean conf" in text
    assert "Sizes 0.75, 1, 1.5, mirrored too: " in text


def test_legends_name_share_and_colour_of_what_is_there(desk):
    image = np.full((10, 10, 3), (0, 0, 250), np.uint8)
    image[:3] = (250, 0, 0)
    shown = desk.segment(desk.take("a", image), PLAIN, Look()).shown
    assert markup.legend_entries(shown, False) == [
        ("blue  70.0%", 2),
        ("<red>  30.0%", 0),
    ]
    assert markup.legend_entries(shown, True)[0] == ("2 · blue  70.0%", 2)
    rules = markup.legend_colors(shown, False)
    assert re.findall(
        r"nth-of-type\((\d)\)::before \{ background: (\S+ \d+, \d+\))", rules
    ) == [("1", "rgb(200, 0, 0)"), ("2", "rgb(200, 0, 0)")]
    assert markup.legend_colors(shown, True) != rules


@pytest.mark.parametrize("text", ["", '<b>"&'])
def test_messages_are_escaped(text):
    found = markup.message(text)
    assert found == (f'<p role="alert">{html.escape(text)}</p>' if text else "")


def test_the_head_lists_classes():
    assert "&lt;red&gt;, green, blue" in markup.head("m", LABELS)
    text = markup.head("<voc>", VOC)
    assert "&lt;voc&gt;" in text and "21 classes" in text
    assert "<details>" in text and "tvmonitor" in text


def test_links_lead_to_the_files_of_the_token(desk):
    token = desk.take("my photo.jpg", picture())
    text = markup.files(token, desk.entry(token))
    assert (
        f'href="result/{token}/mask.png" download="my_photo_mask.png"' in text
    )
    assert f'href="result/{token}/overlay.png"' in text


# === Examples ===


@pytest.mark.parametrize("labels", [AERIAL, VOC])
def test_examples_are_drawn_and_differ(labels):
    drawn = [draw() for draw in examples.examples(labels).values()]
    assert len(drawn) == 2
    for image in drawn:
        assert image.dtype == np.uint8
        assert image.shape == (*examples.SIZE, 3)
        assert image.std() > 20
    assert np.abs(drawn[0].astype(int) - drawn[1]).mean() > 10


def test_the_shipped_model_sees_every_class_in_the_drawn_views():
    model = kp.load_pretrained("aerial")
    for draw_view in examples.examples(AERIAL).values():
        areas = kp.segment(model, draw_view()).areas()
        assert set(areas) == set(AERIAL.names)
        assert min(areas.values()) > 0.05


# === The command ===


def test_the_extra_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main.main(["demo"]) == 2
    assert capsys.readouterr().err == (
        "keras-pspnet: error: gradio must be installed for this page: "
        "pip install keras-pspnet[demo]\n"
    )


@pytest.mark.parametrize(
    ("option", "match"),
    [
        (["--port", "65536"], "`port` must be within 0..65535."),
        (["--max-upload", "0"], "`max_upload` must be an integer of at least"),
        (["--memory", "-1"], "`memory` must be an integer of at least 1."),
        (["--scales", "11"], "`scales` must be a sequence of numbers from 0.1"),
        (["--window", "3"], "`window` must be an integer of at least 16"),
        (["--max-pixels", "0"], "`max_pixels` must be an integer of at least"),
    ],
)
def test_options_are_checked_first(monkeypatch, capsys, option, match):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert main.main(["demo", *option]) == 2
    assert match in capsys.readouterr().err


def test_uploads_are_gone_whatever_ends_the_command(monkeypatch):
    handlers = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        # Set again when the test is over, whatever the command sets.
        monkeypatch.setenv(name, "")
    with pytest.raises(SystemExit) as ended, demo._gradio_settings():
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
    assert demo._address(host, 7860) == address
