"""Tests of visualization.comparison: what stands in which panel."""

import numpy as np
import pytest
from PIL import Image

from keras_pspnet.labels import SCENES, LabelSet
from keras_pspnet.visualization.comparison import (
    comparison_sheet,
    overlay_sheet,
)
from keras_pspnet.visualization.segmentation import Segmentation

LABELS = LabelSet("two", ("left", "right"), ((255, 0, 0), (0, 0, 255)))
WRONG = [255, 80, 0]
# Of a sheet of images 60 wide and 40 high: cells of 320x213, gaps of 8,
# below a line of titles.
TOP, PITCH, COLUMN = 56, 213 + 8, 328


def halves(height=40, width=60):
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 1
    return mask


def gray(height=40, width=60, value=100):
    return np.full((height, width, 3), value, np.uint8)


def cells(sheet, row=0):
    """The four panels of a row, as arrays."""
    top = TOP + row * PITCH
    return [
        np.asarray(sheet)[top : top + 213, left : left + 320]
        for left in range(8, 4 * COLUMN, COLUMN)
    ]


def colors_in(image):
    image = np.ascontiguousarray(image)
    return {color for _, color in Image.fromarray(image).getcolors(2**24)}


def test_sheet_shows_every_cell():
    images = [gray(value=value) for value in (40, 80, 120)]
    truths = [halves() for _ in images]
    truths[1] = np.full_like(truths[1], 255)
    predictions = [1 - halves() for _ in images]
    sheet = comparison_sheet(images, truths, predictions, LABELS)
    assert sheet.width == 4 * COLUMN + 8
    for row, value in enumerate((40, 80, 120)):
        image, truth, prediction, _ = cells(sheet, row)
        assert (image == value).all()
        assert (prediction[:, :150] == [0, 0, 255]).all()
        assert (prediction[:, 170:] == [255, 0, 0]).all()
        assert (truth[:, :150] == ([255, 0, 0] if row != 1 else 0)).all()


def test_error_shows_what_is_right_wrong_and_ignored():
    truth = halves()
    truth[:20] = 255
    prediction = np.zeros_like(truth)
    sheet = comparison_sheet([gray()], [truth], [prediction], LABELS)
    error = cells(sheet)[3]
    # 40 more than 0.45 of the gray.
    assert (error[115:, :155] == 85).all()
    assert (error[115:, 165:] == WRONG).all()
    assert (error[:100] == 0).all()


def test_legend_explains_every_color():
    truth = halves()
    truth[:5] = 255
    sheet = comparison_sheet([gray()], [truth], [halves()], LABELS)
    legend = np.asarray(sheet)[TOP + PITCH :]
    shown = colors_in(legend)
    assert {(255, 0, 0), (0, 0, 255), (0, 0, 0), tuple(WRONG)} <= shown


def test_legend_names_only_classes_that_are_there():
    masks = [np.zeros((40, 60), np.uint8)]
    sheet = comparison_sheet([gray()], masks, masks, LABELS)
    shown = colors_in(np.asarray(sheet)[TOP + PITCH :])
    assert (255, 0, 0) in shown and (0, 0, 255) not in shown


def test_sheet_takes_batches():
    images = np.stack([gray()] * 5)
    masks = np.stack([halves()] * 5).astype(np.int32)
    heights = [
        comparison_sheet(images[:n], masks[:n], masks[:n], LABELS).height
        for n in (1, 5)
    ]
    assert heights[1] - heights[0] == 4 * PITCH


def test_sheet_fits_other_sizes_into_the_cell():
    sizes = [(40, 60), (60, 40), (300, 500), (1, 900), (900, 1)]
    images = [gray(*size) for size in sizes]
    masks = [np.full(size, 4, np.uint8) for size in sizes]
    sheet = comparison_sheet(images, masks, masks, SCENES)
    for row, (height, width) in enumerate(sizes):
        shown = (cells(sheet, row)[1] == SCENES.colors[4]).all(axis=-1)
        rows, columns = np.nonzero(shown)
        seen = np.ptp(columns) + 1, np.ptp(rows) + 1
        scale = min(320 / width, 213 / height)
        expected = max(width * scale, 1), max(height * scale, 1)
        np.testing.assert_allclose(seen, expected, atol=1)
        assert shown.sum() == seen[0] * seen[1]


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
def test_sheet_of_strips(size):
    masks = [np.zeros(size, np.uint8)]
    sheet = comparison_sheet([gray(*size)], masks, masks, LABELS)
    assert sheet.width == 4 * COLUMN + 8
    assert 100 < sheet.height < 1000


def test_sheet_does_not_mix_class_colors():
    labels = LabelSet("dots", ("a", "b"), ((200, 0, 0), (0, 0, 200)))
    mask = (np.indices((64, 96)).sum(0) % 2).astype(np.uint8)
    sheet = comparison_sheet([gray(64, 96)], [mask], [mask], labels)
    assert colors_in(cells(sheet)[1]) == set(labels.colors)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([], [], []), "at least one. Received: 0 images, 0 masks, 0 pred"),
        (
            ([gray()], [halves()], []),
            "same number .*: 1 images, 1 masks, 0 predictions",
        ),
        (
            ([gray()], [halves(8, 8)], [halves()]),
            r"`ground_truths` must have the size of its image.*\(8, 8\)",
        ),
        (
            ([gray()], [halves()], [halves() + 1]),
            "`predictions` must hold classes.*predictions with 2",
        ),
        (([gray()[..., 0]], [halves()], [halves()]), "`image` must have the"),
    ],
)
def test_sheet_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        comparison_sheet(*arguments, LABELS)


def test_overlays_stand_beside_their_images() -> None:
    pairs = [
        Segmentation(gray(value=value), halves(), LABELS)
        for value in (40, 80, 120)
    ]
    sheet = overlay_sheet(pairs)
    assert sheet.width == 4 * COLUMN + 8
    for number, pair in enumerate(pairs):
        panels = cells(sheet, number // 2)
        image, overlay = panels[2 * (number % 2) : 2 * (number % 2) + 2]
        assert (image == pair.image[0, 0]).all()
        for left, color in ((0, (255, 0, 0)), (180, (0, 0, 255))):
            want = 0.45 * pair.image[0, 0] + 0.55 * np.array(color)
            assert np.abs(overlay[:, left : left + 140] - want).max() <= 1
    # A place without a pair.
    assert (cells(sheet, 1)[2] == 255).all()
    assert overlay_sheet(pairs[:1]).width == 2 * COLUMN + 8
    with pytest.raises(ValueError, match="`segmentations` must hold at least"):
        overlay_sheet([])
