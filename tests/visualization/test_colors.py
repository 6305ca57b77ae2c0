"""Tests of visualization.colors: which colors eyes of all kinds part."""

import numpy as np
import pytest
from color_vision import VISIONS, distances, lab, least_distance

from keras_pspnet.labels import AERIAL, CAMVID, CITYSCAPES, SCENES, VOC
from keras_pspnet.visualization.colors import (
    COLORBLIND,
    IGNORED,
    WRONG,
    class_colors,
    confidence_colors,
    contour,
)

WHITE = (255, 255, 255)


def test_colors_are_apart_for_all():
    assert least_distance([*COLORBLIND[:21], IGNORED, WHITE]) > 16


@pytest.mark.parametrize(("count", "least"), [(40, 11), (150, 5), (255, 3.7)])
def test_more_colors_are_closer(count, least):
    assert least_distance(COLORBLIND[:count]) > least


def test_all_colors_differ():
    assert len(set(COLORBLIND)) == len(COLORBLIND) == 255
    assert not {IGNORED, WHITE} & set(COLORBLIND)


@pytest.mark.parametrize(
    "labels", [AERIAL, SCENES, CAMVID, CITYSCAPES, VOC], ids=lambda x: x.name
)
def test_classes_of_every_set_are_apart(labels):
    palette = class_colors(labels, colorblind=True)
    colors = palette[: labels.num_classes]
    assert not palette[labels.num_classes :].any()
    assert least_distance(colors) > 16
    assert least_distance(colors) > least_distance(labels.colors)


def test_own_colors_are_the_default():
    palette = class_colors(VOC)
    assert palette.dtype == np.uint8 and palette.shape == (256, 3)
    np.testing.assert_array_equal(palette[:21], VOC.colors)
    assert not palette[21:].any()


@pytest.mark.parametrize("vision", VISIONS)
def test_confidence_grows_lighter_evenly(vision):
    colors = confidence_colors(np.linspace(0, 1, 21))
    lightness = lab(colors, VISIONS[vision])[:, 0]
    steps = np.diff(lightness)
    assert lightness[-1] - lightness[0] > 60
    assert steps.min() > 0.5 * steps.mean()
    assert steps.max() < 1.7 * steps.mean()


def test_wrong_stands_out_from_grey():
    grays = np.arange(40, 156)[:, None].repeat(3, 1)
    assert distances([WRONG], grays).min() > 50


def blocks(seed, side=5, height=60, width=90):
    """Random regions of three classes, none narrower than `side`."""
    classes = np.random.default_rng(seed).integers(
        0, 3, (height // side, width // side)
    )
    return classes.repeat(side, 0).repeat(side, 1).astype(np.uint8)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_contour_marks_what_ends_right_or_below(width):
    mask = blocks(seed=width)
    line = contour(mask, width)
    height, length = mask.shape
    for y in range(0, height, 7):
        for x in range(length):
            own = mask[y, x]
            right = mask[y, x + 1 : x + 1 + width]
            below = mask[y + 1 : y + 1 + width, x]
            expected = (
                x >= width
                and mask[y, x - width] == own
                and (right != own).any()
            ) or (
                y >= width
                and mask[y - width, x] == own
                and (below != own).any()
            )
            assert line[y, x] == expected


@pytest.mark.parametrize("width", [1, 2, 5])
def test_contour_leaves_thin_regions(width):
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 10 : 10 + width] = 1
    for classes in (mask, mask.T):
        line = contour(classes, width)
        assert not line[classes == 1].any()
        assert line.sum() == 40 * width


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (2, 3)])
@pytest.mark.parametrize("width", [1, 4, 9])
def test_contour_of_pictures_thinner_than_the_line(size, width):
    mask = np.arange(size[0] * size[1]).reshape(size)
    assert contour(mask, width).shape == size
