"""Tests of sampling: where every pixel comes from, by complex numbers.

The reference goes pixel by pixel, in float64: back through mirror, cut,
rotation and scaling, each in its own step.
"""

import cmath
import math
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from keras_pspnet.data.augment.affine import (
    flatten,
    place_crop,
    sample_labels,
    sample_pair,
)


class Cut(NamedTuple):
    source: tuple[int, int]
    scaled: tuple[int, int]
    degrees: float
    start: tuple[int, int]
    mirror: bool
    crop: tuple[int, int]


CUTS = [
    Cut((9, 13), (9, 13), 0, (2, 3), False, (5, 6)),
    Cut((9, 13), (9, 13), 0, (2, 3), True, (5, 7)),
    Cut((9, 13), (14, 21), 0, (3, 5), True, (8, 9)),
    Cut((9, 13), (5, 8), 0, (-1, -2), False, (8, 11)),
    # Ratios of width to height may change.
    Cut((8, 11), (13, 9), 0, (1, 0), False, (9, 9)),
    Cut((9, 13), (9, 13), 10, (0, 0), False, (9, 13)),
    Cut((9, 13), (15, 22), -7.5, (4, 3), True, (9, 12)),
    Cut((12, 7), (7, 5), 4, (-2, -3), False, (11, 10)),
    Cut((12, 7), (17, 11), 180, (0, 0), True, (17, 11)),
    # One pixel, one row, one column.
    Cut((1, 1), (1, 1), 3, (-2, -1), False, (5, 4)),
    Cut((1, 1), (2, 2), 0, (0, 0), True, (2, 2)),
    Cut((1, 8), (2, 13), -9, (0, 2), True, (4, 7)),
    Cut((7, 1), (4, 1), 0, (1, 0), False, (1, 1)),
]


def picture(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(size[0] * 100 + size[1])
    image = rng.uniform(0, 255, (*size, 3)).astype("float32")
    return image, rng.integers(0, 150, size).astype("uint8")


def source_position(cut: Cut, row: int, column: int) -> tuple[float, float]:
    row, column = row + cut.start[0], column + cut.start[1]
    if cut.mirror:
        column = cut.scaled[1] - 1 - column
    # Right and up from the middle; a picture that was turned
    # counter-clockwise is looked up clockwise.
    middle_row, middle_column = ((side - 1) / 2 for side in cut.scaled)
    point = complex(column - middle_column, middle_row - row)
    point *= cmath.exp(-1j * math.radians(cut.degrees))
    across, down = point.real + middle_column, middle_row - point.imag
    return (
        (down + 0.5) * cut.source[0] / cut.scaled[0] - 0.5,
        (across + 0.5) * cut.source[1] / cut.scaled[1] - 0.5,
    )


def bilinear(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """The mean of all pixels under a tent; edges go on outwards."""
    height, width = image.shape[:2]
    row = min(max(row, 0), height - 1)
    column = min(max(column, 0), width - 1)
    value = np.zeros(3)
    for r in range(height):
        for c in range(width):
            weight = max(1 - abs(r - row), 0) * max(1 - abs(c - column), 0)
            value += weight * image[r, c].astype("float64")
    return value


def allowed_labels(mask: np.ndarray, row: float, column: float) -> set[int]:
    """The label of the pixel that the position is in, or of both at a tie."""
    found = set()
    for down in (-1e-9, 1e-9):
        for along in (-1e-9, 1e-9):
            r, c = round(row + down), round(column + along)
            within = 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1]
            found.add(int(mask[r, c]) if within else 255)
    return found


def sample(
    cut: Cut, image: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    placement = place_crop(
        tf.constant(cut.source),
        tf.constant(cut.scaled),
        tf.constant(math.radians(cut.degrees), tf.float64),
        tf.constant(cut.start),
        tf.constant(cut.mirror),
    )
    size = tf.constant(cut.source)
    pair = flatten(image), flatten(mask)
    values, labels, inside = sample_pair(*pair, size, placement, cut.crop)
    assert values.dtype == tf.float32
    assert labels.dtype == tf.uint8
    # Labels may also be had without a picture.
    for one, other in zip(
        sample_labels(pair[1], size, placement, cut.crop),
        (labels, inside),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    return values.numpy(), labels.numpy(), inside.numpy()


@pytest.mark.parametrize("cut", CUTS)
def test_every_pixel_is_what_the_reference_looks_up(cut: Cut) -> None:
    image, mask = picture(cut.source)
    values, labels, inside = sample(cut, image, mask)
    ties = 0
    for row in range(cut.crop[0]):
        for column in range(cut.crop[1]):
            position = source_position(cut, row, column)
            want = bilinear(image, *position)
            np.testing.assert_allclose(values[row, column], want, atol=1e-4)
            allowed = allowed_labels(mask, *position)
            assert labels[row, column] in allowed
            ties += len(allowed) > 1
            # No label of the pictures is 255.
            assert inside[row, column] == (labels[row, column] != 255)
    assert ties <= 0.15 * labels.size


def test_uint8_and_float32_pictures_give_the_same_bits() -> None:
    for cut in CUTS:
        image, mask = picture(cut.source)
        image = image.astype("uint8")
        one = sample(cut, image, mask)
        two = sample(cut, image.astype("float32"), mask)
        np.testing.assert_array_equal(one[0], two[0])


@pytest.mark.parametrize("side", [1, 255, 256, 257, 600])
def test_flat_pictures_have_few_lengths(side: int) -> None:
    image, mask = picture((side, side))
    for flat, array in ((flatten(image), image), (flatten(mask), mask)):
        assert flat.dtype == array.dtype
        assert flat.shape[1:] == array.shape[2:]
        assert len(flat) == max(2**16, 2 ** math.ceil(2 * math.log2(side)))
        np.testing.assert_array_equal(
            flat[: side**2], array.reshape(side**2, *array.shape[2:])
        )
        assert not np.any(flat[side**2 :])


@pytest.mark.parametrize("size", [(9, 13), (8, 10), (1, 1), (375, 500)])
def test_what_is_only_cut_out_is_a_copy(size: tuple[int, int]) -> None:
    image, mask = picture(size)
    top, left = size[0] // 3, size[1] // 4
    crop = (size[0] - top, size[1] - left)
    for mirror in (False, True):
        cut = Cut(size, size, 0, (top, left), mirror, crop)
        values, labels, inside = sample(cut, image, mask)
        step = -1 if mirror else 1
        np.testing.assert_array_equal(values, image[top:, ::step][:, left:])
        np.testing.assert_array_equal(labels, mask[top:, ::step][:, left:])
        assert inside.all()


def test_positions_are_exact_in_large_pictures() -> None:
    # A picture of its own coordinates is interpolated to the positions.
    size = (1024, 2048)
    ramp = np.stack([*np.indices(size), np.zeros(size)], axis=-1)
    cut = Cut(size, (1733, 3466), 9.5, (800, 1500), True, (40, 50))
    _, mask = picture(size)
    values, labels, _ = sample(cut, ramp.astype("float32"), mask)
    for row, column in [(0, 0), (0, 49), (39, 0), (17, 23)]:
        r, c = source_position(cut, row, column)
        np.testing.assert_allclose(values[row, column], (r, c, 0), atol=2e-4)
        assert labels[row, column] == mask[round(r), round(c)]
