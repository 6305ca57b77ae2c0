"""Tests of visualization.segmentation: what an image shows, by pixel."""

import os
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from keras_pspnet.data.images import read_mask
from keras_pspnet.labels import ADE20K, AERIAL, VOC, LabelSet
from keras_pspnet.visualization import Segmentation, colorize
from keras_pspnet.visualization.colors import COLORBLIND, confidence_colors

LABELS = LabelSet("two", ("left", "right"), ((255, 0, 0), (0, 0, 255)))


def halves(height=40, width=60):
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 1
    return mask


def gray(height=40, width=60, value=100):
    return np.full((height, width, 3), value, np.uint8)


def ramp(height=40, width=60):
    """Confidence from 0 on the left to 1 on the right."""
    row = np.linspace(0, 1, width, dtype=np.float32)
    return np.ascontiguousarray(np.broadcast_to(row, (height, width)))


def colors_in(image):
    return {color for _, color in Image.fromarray(image).getcolors(2**24)}


@pytest.fixture
def result():
    return Segmentation(gray(), halves(), LABELS)


def test_colorize_is_a_table():
    mask = np.arange(150, dtype=np.uint8).reshape(10, 15)
    colors = colorize(mask, ADE20K)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors.reshape(-1, 3), ADE20K.colors)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_colorize_paints_ignored_pixels_black(dtype):
    mask = np.array([[0, 255, 1]], dtype)
    np.testing.assert_array_equal(
        colorize(mask, LABELS), [[[255, 0, 0], [0, 0, 0], [0, 0, 255]]]
    )


def test_colorize_for_color_blind_people():
    mask = np.array([[0, 4, 255]], np.uint8)
    colors = colorize(mask, AERIAL, colorblind=True)
    assert colors.tolist() == [[[0, 114, 178], [230, 159, 0], [0, 0, 0]]]
    colors = colorize(np.arange(150).reshape(10, 15), ADE20K, colorblind=True)
    assert colors_in(colors) == set(COLORBLIND[:150])


@pytest.mark.parametrize(
    ("mask", "error", "match"),
    [
        (np.zeros((2, 2, 1), int), ValueError, r"`mask` must.*\(2, 2, 1\)"),
        (np.zeros((0, 2), int), ValueError, r"`mask` must.*\(0, 2\)"),
        (np.zeros((2, 2)), TypeError, "`mask` must hold integers.*float64"),
        (np.full((2, 2), 2), ValueError, r"within 0\.\.1, or 255.*with 2"),
        (np.full((2, 2), -1), ValueError, "`mask` must hold classes.*with -1"),
        (np.full((2, 2), 300), ValueError, "`mask` must hold classes.*300"),
    ],
)
def test_colorize_refuses(mask, error, match):
    with pytest.raises(error, match=match):
        colorize(mask, LABELS)


@pytest.mark.parametrize(
    ("image", "mask", "error", "match"),
    [
        (gray()[..., :1], halves(), ValueError, r"`image`.*\(40, 60, 1\)"),
        (gray()[0], halves(), ValueError, r"`image` must have.*\(60, 3\)"),
        (gray() / 255, halves(), TypeError, "`image` must be uint8.*float64"),
        (gray(), halves().astype(int), TypeError, "`mask` must be uint8.*int"),
        (gray(), halves()[None], ValueError, r"`mask` must have the shape"),
        (gray(), halves() + 1, ValueError, r"`mask` must hold.*with 2"),
        (gray(), halves(60, 40), ValueError, r"`mask` must have the size of"),
    ],
)
def test_segmentation_refuses(image, mask, error, match):
    with pytest.raises(error, match=match):
        Segmentation(image, mask, LABELS)


@pytest.mark.parametrize(
    ("confidence", "error", "match"),
    [
        (ramp()[None], ValueError, r"`confidence` must have.*\(1, 40, 60\)"),
        (ramp(60, 40), ValueError, "`confidence` must have the size of its"),
        (ramp() * 2, ValueError, r"within 0\.\.1. Received: confidence with 1"),
        (ramp() - 1, ValueError, r"within 0\.\.1. Received: .* with -1\.0"),
        (ramp() * np.nan, ValueError, "Received: confidence with nan"),
    ],
)
def test_segmentation_refuses_confidence(confidence, error, match):
    with pytest.raises(error, match=match):
        Segmentation(gray(), halves(), LABELS, confidence)


def test_overlay_blends_and_parts(result):
    overlay = result.overlay(alpha=0.6)
    assert overlay.dtype == np.uint8 and overlay.shape == (40, 60, 3)
    # 0.4 of the gray and 0.6 of the class color; the line is 0.6 white.
    assert overlay[20, 5].tolist() == [193, 40, 40]
    assert overlay[20, 55].tolist() == [40, 40, 193]
    assert overlay[20, 29].tolist() == [230, 169, 169]
    assert len(colors_in(overlay)) == 3


def test_overlay_extremes(result):
    np.testing.assert_array_equal(result.overlay(alpha=0), result.image)
    np.testing.assert_array_equal(result.image, gray())
    full = result.overlay(alpha=1)
    inside = np.ones((40, 60), bool)
    inside[:, 29] = False
    np.testing.assert_array_equal(
        full[inside], colorize(result.mask, LABELS)[inside]
    )


def test_overlay_for_color_blind_people():
    result = Segmentation(gray(), halves() * 4, AERIAL)
    overlay = result.overlay(alpha=0.6, colorblind=True)
    # 0.4 of the gray and 0.6 of the colors of building and water; the line
    # is white altogether.
    assert overlay[20, 5].tolist() == [40, 108, 147]
    assert overlay[20, 55].tolist() == [178, 135, 40]
    assert overlay[20, 29].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(
        result.overlay(alpha=0, colorblind=True), result.image
    )


def test_overlay_of_some_classes():
    mask = np.repeat(np.uint8([0, 1, 2, 255]), 10)[None].repeat(8, 0)
    result = Segmentation(gray(8, 40), mask, VOC)
    overlay = result.overlay(alpha=1, classes=[1])
    assert overlay.shape == (8, 40, 3)
    for column in (5, 25, 35):
        np.testing.assert_array_equal(overlay[:, column], result.image[:, 0])
    assert overlay[4, 15].tolist() == list(VOC.colors[1])
    # Lines on both sides of the class, none between those left out.
    lines = (overlay == 255).all(axis=-1).any(axis=0)
    assert np.flatnonzero(lines).tolist() == [9, 19]
    np.testing.assert_array_equal(result.overlay(classes=()), result.image)
    every = np.where(mask == 255, 0, mask)
    whole = Segmentation(gray(8, 40), every, VOC)
    np.testing.assert_array_equal(
        whole.overlay(classes=range(21)), whole.overlay()
    )


@pytest.mark.parametrize("classes", [[2], (-1,), {0, 255}])
def test_overlay_refuses_classes_that_are_none(result, classes):
    with pytest.raises(ValueError, match="`classes` must hold ids within 0..1"):
        result.overlay(classes=classes)


def test_contour_grows_with_the_image():
    large = Segmentation(gray(16, 2000), halves(16, 2000), LABELS)
    row = large.overlay(alpha=1)[8]
    assert (row == 255).all(axis=-1).sum() == 2


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_overlay_refuses(result, alpha):
    with pytest.raises(ValueError, match=f"`alpha` must be.*alpha={alpha}"):
        result.overlay(alpha)


def test_areas_are_sorted_shares_of_all_pixels():
    mask = np.zeros((10, 10), np.uint8)
    mask[:3] = 5
    mask[9, :2] = 255
    mask[9, 2:4] = 20
    result = Segmentation(gray(10, 10), mask, VOC)
    areas = result.areas()
    assert list(areas) == ["background", "bottle", "tvmonitor"]
    assert list(areas.values()) == [0.66, 0.3, 0.02]


def test_areas_of_nothing_but_ignored_pixels():
    mask = np.full((4, 4), 255, np.uint8)
    result = Segmentation(gray(4, 4), mask, LABELS)
    assert result.areas() == {}
    assert result.with_legend().height > 4


def test_image_is_the_overlay_above_a_legend():
    result = Segmentation(gray(80, 400), halves(80, 400), LABELS)
    image = np.asarray(result.with_legend())
    np.testing.assert_array_equal(image[:80], result.overlay())
    legend = image[80:]
    assert (legend == (255, 255, 255)).all(axis=-1).mean() > 0.5
    for color in LABELS.colors:
        assert (legend == color).all(axis=-1).sum() >= 100
    assert (legend.sum(axis=-1) < 200).sum() > 100  # dark text


def test_tiny_images_are_enlarged():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    result = Segmentation(image, halves(8, 8), LABELS)
    shown = np.asarray(result.with_legend())
    assert shown.shape[1] == 320 and shown.shape[0] > 340
    expected = result.overlay().repeat(40, 0).repeat(40, 1)
    np.testing.assert_array_equal(shown[:320], expected)


def test_images_narrower_than_a_legend_stand_in_its_middle():
    result = Segmentation(gray(200, 180), halves(200, 180), LABELS)
    image = np.asarray(result.with_legend())
    np.testing.assert_array_equal(image[:200, 70:250], result.overlay())
    assert (image[:200, :70] == 255).all()


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
def test_strips_are_shown(size):
    mask = np.zeros(size, np.uint8)
    result = Segmentation(gray(*size), mask, LABELS, np.ones(size, np.float32))
    # 0.45 of the gray and 0.55 of red; yellow.
    red, yellow = (185, 45, 45), (253, 231, 36)
    factor = 320 if size == (1, 1) else 1
    for image, color in (
        (result.with_legend(), red),
        (result.confidence_image(), yellow),
    ):
        found = (np.asarray(image)[: size[0] * factor] == color).all(axis=-1)
        assert found.sum() == mask.size * factor**2


def test_legend_holds_every_class():
    mask = np.arange(150, dtype=np.uint8).repeat(8)[None].repeat(9, axis=0)
    result = Segmentation(gray(9, 1200), mask, ADE20K)
    assert set(ADE20K.colors) <= colors_in(np.asarray(result.with_legend())[9:])


def test_confidence_image_is_the_map_above_a_legend():
    result = Segmentation(gray(80, 400), halves(80, 400), LABELS, ramp(80, 400))
    image = np.asarray(result.confidence_image())
    assert image.shape[0] > 100 and image.shape[1] == 400
    assert image[40, 0].tolist() == [68, 1, 84]
    assert image[40, 399].tolist() == [253, 231, 36]
    assert (np.diff(image[40].astype(int).sum(axis=-1)) >= 0).mean() > 0.9
    # The legend shows five of its colors and the mean.
    legend = colors_in(np.ascontiguousarray(image[80:]))
    steps = confidence_colors(np.linspace(0, 1, 5)).tolist()
    assert {tuple(color) for color in steps} <= legend


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_save_overlay(tmp_path, result, suffix):
    path = tmp_path / f"out{suffix}"
    result.save(path)
    with Image.open(path) as saved:
        assert saved.format == ("PNG" if suffix == ".png" else "JPEG")
        difference = np.abs(
            np.asarray(saved).astype(int) - np.asarray(result.with_legend())
        )
    assert difference.mean() < (1e-9 if suffix == ".png" else 6)
    assert os.listdir(tmp_path) == [path.name]


def test_save_confidence(tmp_path):
    result = Segmentation(gray(), halves(), LABELS, ramp())
    result.save(tmp_path / "out.png", what="confidence")
    with Image.open(tmp_path / "out.png") as saved:
        np.testing.assert_array_equal(saved, result.confidence_image())
    result.save(tmp_path / "out.jpg", what="confidence")
    with Image.open(tmp_path / "out.jpg") as saved:
        assert saved.format == "JPEG"


def test_save_for_color_blind_people(tmp_path):
    result = Segmentation(gray(), halves() * 4, AERIAL, ramp())
    result.save(tmp_path / "out.png", colorblind=True)
    with Image.open(tmp_path / "out.png") as saved:
        np.testing.assert_array_equal(
            saved, result.with_legend(colorblind=True)
        )
    result.save(tmp_path / "mask.png", what="mask", colorblind=True)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), result.mask)
    with Image.open(tmp_path / "mask.png") as saved:
        np.testing.assert_array_equal(
            np.asarray(saved.convert("RGB")),
            colorize(result.mask, AERIAL, colorblind=True),
        )


def test_save_mask_reads_back(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask[mask >= 150] = 255
    path = tmp_path / "mask.png"
    Segmentation(gray(16, 16), mask, ADE20K).save(path, what="mask")
    np.testing.assert_array_equal(read_mask(path), mask)
    with Image.open(path) as saved:
        np.testing.assert_array_equal(
            np.asarray(saved.convert("RGB")), colorize(mask, ADE20K)
        )


@pytest.mark.parametrize("view", ["transposed", "every other column"])
def test_save_mask_from_a_view(tmp_path, view):
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:7] = 1
    mask = mask.T if view == "transposed" else mask[:, ::2]
    path = tmp_path / "mask.png"
    Segmentation(gray(*mask.shape), mask, LABELS).save(path, what="mask")
    np.testing.assert_array_equal(read_mask(path), mask)


def test_save_refuses_before_writing(tmp_path, result):
    for name in ("out.gif", "out", "out.webp"):
        with pytest.raises(
            ValueError, match=rf"`path` must end in \.png or.*{name}'"
        ):
            result.save(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"\.png or \.tif or .* for a mask.*jpg"
    ):
        result.save(tmp_path / "out.jpg", what="mask")
    with pytest.raises(
        ValueError, match=r"`path` must end in .* for a confidence.*'out.gif'"
    ):
        result.save("out.gif", what="confidence")
    with pytest.raises(
        ValueError,
        match=r"`confidence` must be part.*confidence=True to `segment`",
    ):
        result.save(tmp_path / "out.png", what="confidence")
    with pytest.raises(
        ValueError,
        match="`what` must be one of 'overlay', 'mask', 'conf.*what='legend'",
    ):
        result.save(tmp_path / "out.png", what="legend")
    with pytest.raises(FileNotFoundError, match="`path` must be writable"):
        result.save(tmp_path / "none" / "out.png")
    assert os.listdir(tmp_path) == []


def test_shows_itself_in_notebooks(result):
    with Image.open(BytesIO(result._repr_png_())) as shown:
        np.testing.assert_array_equal(
            np.asarray(shown), np.asarray(result.with_legend())
        )
