"""Tests of keras_pspnet.visualize: what a picture shows, pixel by pixel."""

import os
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from keras_pspnet.data.decode import read_mask
from keras_pspnet.labels import ADE20K, SCENES, VOC, LabelSet
from keras_pspnet.visualize import Segmentation, colorize, comparison_sheet

LABELS = LabelSet("two", ("left", "right"), ((255, 0, 0), (0, 0, 255)))


def halves(height=40, width=60):
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 1
    return mask


def grey(height=40, width=60, value=100):
    return np.full((height, width, 3), value, np.uint8)


def colors_in(picture):
    return {color for _, color in Image.fromarray(picture).getcolors(2**24)}


@pytest.fixture
def result():
    return Segmentation(grey(), halves(), LABELS)


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
        (grey()[..., :1], halves(), ValueError, r"`image`.*\(40, 60, 1\)"),
        (grey()[0], halves(), ValueError, r"`image` must have.*\(60, 3\)"),
        (grey() / 255, halves(), TypeError, "`image` must be uint8.*float64"),
        (grey(), halves().astype(int), TypeError, "`mask` must be uint8.*int"),
        (grey(), halves()[None], ValueError, r"`mask` must have the shape"),
        (grey(), halves() + 1, ValueError, r"`mask` must hold.*with 2"),
        (grey(), halves(60, 40), ValueError, r"`mask` must have the size of"),
    ],
)
def test_segmentation_refuses(image, mask, error, match):
    with pytest.raises(error, match=match):
        Segmentation(image, mask, LABELS)


def test_overlay_blends_and_parts(result):
    overlay = result.overlay(alpha=0.6)
    assert overlay.dtype == np.uint8 and overlay.shape == (40, 60, 3)
    # 0.4 of the grey and 0.6 of the class colour; the line is 0.6 white.
    assert overlay[20, 5].tolist() == [193, 40, 40]
    assert overlay[20, 55].tolist() == [40, 40, 193]
    assert overlay[20, 29].tolist() == [230, 169, 169]
    assert len(colors_in(overlay)) == 3


def test_overlay_extremes(result):
    np.testing.assert_array_equal(result.overlay(alpha=0), result.image)
    full = result.overlay(alpha=1)
    inside = np.ones((40, 60), bool)
    inside[:, 29] = False
    np.testing.assert_array_equal(
        full[inside], colorize(result.mask, LABELS)[inside]
    )


def test_overlay_leaves_its_inputs_alone(result):
    result.overlay()
    np.testing.assert_array_equal(result.image, grey())
    np.testing.assert_array_equal(result.mask, halves())


def test_contour_grows_with_the_picture():
    large = Segmentation(grey(16, 2000), halves(16, 2000), LABELS)
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
    result = Segmentation(grey(10, 10), mask, VOC)
    areas = result.areas()
    assert list(areas) == ["background", "bottle", "tvmonitor"]
    assert list(areas.values()) == [0.66, 0.3, 0.02]


def test_areas_of_equal_size_keep_the_order_of_classes(result):
    assert result.areas() == {"left": 0.5, "right": 0.5}


def test_areas_of_nothing_but_ignored_pixels():
    mask = np.full((4, 4), 255, np.uint8)
    result = Segmentation(grey(4, 4), mask, LABELS)
    assert result.areas() == {}
    assert result.picture().height > 4


def test_picture_is_the_overlay_above_a_legend():
    result = Segmentation(grey(80, 400), halves(80, 400), LABELS)
    picture = np.asarray(result.picture())
    np.testing.assert_array_equal(picture[:80], result.overlay())
    legend = picture[80:]
    assert (legend == (255, 255, 255)).all(axis=-1).mean() > 0.5
    for color in LABELS.colors:
        assert (legend == color).all(axis=-1).sum() >= 100
    assert (legend.sum(axis=-1) < 200).sum() > 100  # dark text


def test_legend_shows_only_what_is_there():
    result = Segmentation(grey(80, 400), np.zeros((80, 400), np.uint8), LABELS)
    legend = np.asarray(result.picture())[80:]
    assert not (legend == LABELS.colors[1]).all(axis=-1).any()


def test_small_pictures_keep_a_readable_legend():
    result = Segmentation(grey(8, 8), halves(8, 8), LABELS)
    picture = np.asarray(result.picture())
    assert picture.shape[1] == 320
    np.testing.assert_array_equal(picture[:8, 156:164], result.overlay())


def test_legend_holds_every_class():
    mask = np.arange(150, dtype=np.uint8).repeat(8)[None].repeat(9, axis=0)
    result = Segmentation(grey(9, 1200), mask, ADE20K)
    assert set(ADE20K.colors) <= colors_in(np.asarray(result.picture())[9:])


def test_text_longer_than_the_picture_is_cut_not_refused():
    labels = LabelSet("long", ("n" * 200,), ((1, 2, 3),))
    mask = np.zeros((8, 8), np.uint8)
    assert Segmentation(grey(8, 8), mask, labels).picture().width == 320


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_save_picture(tmp_path, result, suffix):
    path = tmp_path / f"out{suffix}"
    result.save(path)
    with Image.open(path) as saved:
        assert saved.format == ("PNG" if suffix == ".png" else "JPEG")
        difference = np.abs(
            np.asarray(saved).astype(int) - np.asarray(result.picture())
        )
    assert difference.mean() < (1e-9 if suffix == ".png" else 6)
    assert os.listdir(tmp_path) == [path.name]


def test_save_mask_reads_back(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask[mask >= 150] = 255
    path = tmp_path / "mask.png"
    Segmentation(grey(16, 16), mask, ADE20K).save(path, what="mask")
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
    Segmentation(grey(*mask.shape), mask, LABELS).save(path, what="mask")
    np.testing.assert_array_equal(read_mask(path), mask)


def test_save_refuses_before_writing(tmp_path, result):
    for name in ("out.gif", "out", "out.webp"):
        with pytest.raises(
            ValueError, match=rf"`path` must end in \.png or.*{name}'"
        ):
            result.save(tmp_path / name)
    with pytest.raises(ValueError, match=r"must end in \.png for a mask.*jpg"):
        result.save(tmp_path / "out.jpg", what="mask")
    with pytest.raises(ValueError, match='`what` must be "picture" or "mask"'):
        result.save(tmp_path / "out.png", what="legend")
    with pytest.raises(FileNotFoundError, match="`path` must be in a folder"):
        result.save(tmp_path / "none" / "out.png")
    assert os.listdir(tmp_path) == []


def test_shows_itself_in_notebooks(result):
    with Image.open(BytesIO(result._repr_png_())) as shown:
        np.testing.assert_array_equal(
            np.asarray(shown), np.asarray(result.picture())
        )


def test_sheet_shows_every_cell():
    images = [grey(value=value) for value in (40, 80, 120)]
    truths = [halves() for _ in images]
    truths[1] = truths[1].copy()
    truths[1][:] = 255
    predictions = [1 - halves() for _ in images]
    sheet = np.asarray(comparison_sheet(images, truths, predictions, LABELS))
    # Cells of 320x213 with gaps of 8, below a line of titles.
    assert sheet.shape[1] == 3 * 328 + 8
    tops = [40 + row * 221 for row in range(3)]
    for row, top in enumerate(tops):
        middle = top + 106
        assert sheet[middle, 100].tolist() == [40 + 40 * row] * 3
        assert sheet[middle, 8 + 2 * 328 + 30].tolist() == [0, 0, 255]
        assert sheet[middle, 8 + 2 * 328 + 290].tolist() == [255, 0, 0]
    assert sheet[tops[0] + 106, 8 + 328 + 30].tolist() == [255, 0, 0]
    assert sheet[tops[1] + 106, 8 + 328 + 30].tolist() == [0, 0, 0]


def test_sheet_takes_batches_and_limits_rows():
    images = np.stack([grey()] * 5)
    masks = np.stack([halves()] * 5).astype(np.int32)
    heights = [
        comparison_sheet(images, masks, masks, LABELS, max_rows=rows).height
        for rows in (1, 2, 5, 9)
    ]
    assert heights[1] - heights[0] == 221
    assert heights[2] - heights[1] == 3 * 221
    assert heights[3] == heights[2]


def test_sheet_fits_other_sizes_into_the_cell():
    sizes = [(40, 60), (60, 40), (300, 500), (1, 90)]
    images = [grey(*size) for size in sizes]
    masks = [np.full(size, 4, np.uint8) for size in sizes]
    sheet = comparison_sheet(images, masks, masks, SCENES)
    assert sheet.width == 3 * 328 + 8
    assert sheet.height > 4 * 221


def test_sheet_does_not_mix_class_colours():
    labels = LabelSet("dots", ("a", "b"), ((200, 0, 0), (0, 0, 200)))
    mask = (np.indices((64, 48)).sum(0) % 2).astype(np.uint8)
    sheet = np.asarray(comparison_sheet([grey(64, 48)], [mask], [mask], labels))
    shown = colors_in(sheet[40:360, 8 + 248 : 8 + 248 + 240])
    assert shown <= set(labels.colors) | {(255, 255, 255)}
    assert set(labels.colors) <= shown


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([], [], []), "at least one. Received: 0 images, 0 truths, 0 pred"),
        (
            ([grey()], [halves()], []),
            "same number .*: 1 images, 1 truths, 0 predictions",
        ),
        (
            ([grey()], [halves(8, 8)], [halves()]),
            r"`truths` must have the size of its picture.*\(8, 8\)",
        ),
        (
            ([grey()], [halves()], [halves() + 1]),
            "`predictions` must hold classes.*predictions with 2",
        ),
        (([grey()[..., 0]], [halves()], [halves()]), "`image` must have the"),
    ],
)
def test_sheet_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        comparison_sheet(*arguments, LABELS)


def test_sheet_refuses_no_rows():
    with pytest.raises(ValueError, match="`max_rows` must be pos.*max_rows=0"):
        comparison_sheet([grey()], [halves()], [halves()], LABELS, max_rows=0)
