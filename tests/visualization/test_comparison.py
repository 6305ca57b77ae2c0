"""Tests of visualization.comparison: what stands in which panel."""

import numpy as np
import pytest
from keras import ops
from PIL import Image

from keras_pspnet.labels import AERIAL, SCENES, LabelSet
from keras_pspnet.metrics import MeanIoU, PixelAccuracy
from keras_pspnet.visualization import comparison as sheets
from keras_pspnet.visualization.colors import COLORBLIND
from keras_pspnet.visualization.comparison import comparison_sheet

LABELS = LabelSet("two", ("left", "right"), ((255, 0, 0), (0, 0, 255)))
WRONG = [255, 80, 0]
# Of a sheet of images 60 wide and 40 high: cells of 320x213, gaps of 8,
# below a line of titles and above lines of captions.
TOP, PITCH, COLUMN = 56, 213 + 28 + 8, 328


def halves(height=40, width=60):
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 1
    return mask


def grey(height=40, width=60, value=100):
    return np.full((height, width, 3), value, np.uint8)


def cells(sheet, row=0):
    """The four panels of a row, as arrays."""
    top = TOP + row * PITCH
    return [
        np.asarray(sheet)[top : top + 213, left : left + 320]
        for left in range(8, 4 * COLUMN, COLUMN)
    ]


def colors_in(picture):
    picture = np.ascontiguousarray(picture)
    return {color for _, color in Image.fromarray(picture).getcolors(2**24)}


@pytest.fixture
def captions(monkeypatch):
    """The captions that sheets were laid out with."""
    seen = []
    add = sheets._Sheet.add

    def listening(sheet, row, panels, caption):
        seen.append(caption)
        add(sheet, row, panels, caption)

    monkeypatch.setattr(sheets._Sheet, "add", listening)
    return seen


def test_sheet_shows_every_cell():
    images = [grey(value=value) for value in (40, 80, 120)]
    truths = [halves() for _ in images]
    truths[1] = np.full_like(truths[1], 255)
    predictions = [1 - halves() for _ in images]
    sheet = comparison_sheet(images, truths, predictions, LABELS)
    assert sheet.width == 4 * COLUMN + 8
    for row, value in enumerate((40, 80, 120)):
        picture, truth, prediction, _ = cells(sheet, row)
        assert (picture == value).all()
        assert (prediction[:, :150] == [0, 0, 255]).all()
        assert (prediction[:, 170:] == [255, 0, 0]).all()
        assert (truth[:, :150] == ([255, 0, 0] if row != 1 else 0)).all()


def test_error_shows_what_is_right_wrong_and_ignored():
    truth = halves()
    truth[:20] = 255
    prediction = np.zeros_like(truth)
    sheet = comparison_sheet([grey()], [truth], [prediction], LABELS)
    error = cells(sheet)[3]
    # 40 more than 0.45 of the grey.
    assert (error[115:, :155] == 85).all()
    assert (error[115:, 165:] == WRONG).all()
    assert (error[:100] == 0).all()


def test_captions_are_the_scores_of_each_picture(captions):
    rng = np.random.default_rng(3)
    truths = rng.integers(0, 5, (3, 20, 30)).astype(np.int64)
    truths[0, :4] = 255
    truths[1] %= 2
    predictions = np.where(rng.random(truths.shape) < 0.6, truths, 1)
    predictions[predictions == 255] = 3
    comparison_sheet(
        rng.integers(0, 256, (3, 20, 30, 3)).astype(np.uint8),
        truths,
        predictions,
        AERIAL,
    )
    for caption, truth, prediction in zip(
        captions, truths, predictions, strict=True
    ):
        metrics = MeanIoU(5), PixelAccuracy(5)
        for metric in metrics:
            metric.update_state(truth[None], prediction[None])
        iou, accuracy = (
            float(ops.convert_to_numpy(metric.result())) for metric in metrics
        )
        assert caption == f"mIoU {iou:.2f}   accuracy {accuracy:.1%}"


def test_captions_of_extremes(captions):
    nothing = np.full((40, 60), 255, np.uint8)
    comparison_sheet(
        [grey()] * 4,
        [nothing, halves(), halves(), halves()],
        [halves(), halves(), 1 - halves(), nothing],
        LABELS,
    )
    assert captions == [
        "no ground truth",
        "mIoU 1.00   accuracy 100.0%",
        "mIoU 0.00   accuracy 0.0%",
        "mIoU 0.00   accuracy 0.0%",
    ]


def test_legend_explains_every_colour():
    truth = halves()
    truth[:5] = 255
    sheet = comparison_sheet([grey()], [truth], [halves()], LABELS)
    legend = np.asarray(sheet)[TOP + PITCH :]
    shown = colors_in(legend)
    assert {(255, 0, 0), (0, 0, 255), (0, 0, 0), tuple(WRONG)} <= shown


def test_legend_names_only_classes_that_are_there():
    masks = [np.zeros((40, 60), np.uint8)]
    sheet = comparison_sheet([grey()], masks, masks, LABELS)
    shown = colors_in(np.asarray(sheet)[TOP + PITCH :])
    assert (255, 0, 0) in shown and (0, 0, 255) not in shown


def test_sheet_takes_batches_and_limits_rows():
    images = np.stack([grey()] * 5)
    masks = np.stack([halves()] * 5).astype(np.int32)
    heights = [
        comparison_sheet(images, masks, masks, LABELS, max_rows=rows).height
        for rows in (1, 2, 5, 9)
    ]
    assert heights[1] - heights[0] == PITCH
    assert heights[2] - heights[1] == 3 * PITCH
    assert heights[3] == heights[2]


def test_sheet_fits_other_sizes_into_the_cell():
    sizes = [(40, 60), (60, 40), (300, 500), (1, 900), (900, 1)]
    images = [grey(*size) for size in sizes]
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
    sheet = comparison_sheet(
        [grey(*size)], masks, masks, LABELS, colorblind=True
    )
    assert sheet.width == 4 * COLUMN + 8
    assert 100 < sheet.height < 1000


def test_sheet_does_not_mix_class_colours():
    labels = LabelSet("dots", ("a", "b"), ((200, 0, 0), (0, 0, 200)))
    mask = (np.indices((64, 96)).sum(0) % 2).astype(np.uint8)
    sheet = comparison_sheet([grey(64, 96)], [mask], [mask], labels)
    assert colors_in(cells(sheet)[1]) == set(labels.colors)


def test_colorblind_sheet_parts_its_regions():
    truth = halves()
    sheet = comparison_sheet(
        [grey()], [truth], [1 - truth], AERIAL, colorblind=True
    )
    _, shown, predicted, error = cells(sheet)
    assert (error == WRONG).all()
    first, second = map(list, COLORBLIND[:2])
    assert shown[5, 5].tolist() == predicted[5, -5].tolist() == first
    assert shown[5, -5].tolist() == predicted[5, 5].tolist() == second
    assert (shown[:, 159] == 255).all()
    plain = comparison_sheet([grey()], [truth], [truth], AERIAL)
    assert colors_in(cells(plain)[1]) == set(AERIAL.colors[:2])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([], [], []), "at least one. Received: 0 images, 0 masks, 0 pred"),
        (
            ([grey()], [halves()], []),
            "same number .*: 1 images, 1 masks, 0 predictions",
        ),
        (
            ([grey()], [halves(8, 8)], [halves()]),
            r"`ground_truths` must have the size of its image.*\(8, 8\)",
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
