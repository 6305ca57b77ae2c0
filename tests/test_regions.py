"""Tests of visualization.regions: lines between classes, room for numbers."""

import numpy as np
import pytest

from keras_pspnet.visualization.regions import contour, spots


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


def test_contour_of_one_class_is_empty():
    assert not contour(np.full((5, 9), 3)).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (2, 3)])
@pytest.mark.parametrize("width", [1, 4, 9])
def test_contour_of_pictures_thinner_than_the_line(size, width):
    mask = np.arange(size[0] * size[1]).reshape(size)
    assert contour(mask, width).shape == size


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("radius", [1, 4, 7.5])
def test_around_a_spot_there_is_one_class(seed, radius):
    mask = blocks(seed)
    found = spots(mask, radius)
    assert found or radius == 7.5
    reach = int(radius)
    padded = np.pad(mask, reach, constant_values=255)
    for label, x, y in found:
        square = padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1]
        assert (square == label).all()


def test_spots_are_in_the_middle():
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 7
    found = {label: (x, y) for label, x, y in spots(mask, 5)}
    assert found.keys() == {0, 7}
    np.testing.assert_allclose(found[0], (14.5, 19.5), atol=1)
    np.testing.assert_allclose(found[7], (44.5, 19.5), atol=1)


def test_the_roomiest_comes_first():
    mask = np.zeros((100, 100), np.uint8)
    mask[:30, :30] = 1
    mask[:15, 80:] = 2
    assert [label for label, _, _ in spots(mask, 4)][0] == 0
    labels = [label for label, _, _ in spots(mask, 4)]
    assert labels.index(1) < labels.index(2)


def test_no_spot_without_room():
    stripes = np.arange(60, dtype=np.uint8)[None].repeat(60, 0)
    assert spots(stripes, 2) == []
    assert spots(np.zeros((3, 500), np.uint8), 5) == []


def test_long_regions_have_several_spots():
    road = np.ones((20, 400), np.uint8)
    found = spots(road, 5)
    columns = sorted(x for _, x, _ in found)
    assert 3 <= len(columns) <= 6
    assert min(np.diff(columns)) > 50


@pytest.mark.parametrize("size", [(3000, 4000), (1023, 257), (257, 1023)])
def test_spots_of_large_pictures(size):
    mask = np.zeros(size, np.uint8)
    mask[:, size[1] // 2 :] = 1
    found = spots(mask, 20)
    assert {label for label, _, _ in found} == {0, 1}
    for label, x, y in found:
        assert (mask[y - 20 : y + 21, x - 20 : x + 21] == label).all()
        assert 20 <= x < size[1] - 20 and 20 <= y < size[0] - 20


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 2)])
def test_spots_of_thin_pictures(size):
    assert spots(np.zeros(size, np.uint8), 3) == []
