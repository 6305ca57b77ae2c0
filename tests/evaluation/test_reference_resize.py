"""Tests of resizing against loops that follow OpenCV's and MATLAB's rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from keras_pspnet.evaluation import reference_resize
from keras_pspnet.evaluation.reference_resize import (
    matlab_resize,
    opencv_resize,
)

Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]

Size = tuple[int, int]

BOTH = pytest.mark.parametrize("resize", [opencv_resize, matlab_resize])
DTYPES = ("uint8", "float32")
# From and to: both sides longer, both shorter, one of each, single pixels,
# one side as it was, halves, twice, thirds, eighths, and large ratios.
SIZES = [
    ((5, 7), (8, 11)),
    ((11, 13), (7, 5)),
    ((4, 9), (9, 4)),
    ((1, 1), (3, 2)),
    ((1, 6), (4, 5)),
    ((6, 1), (5, 4)),
    ((9, 8), (1, 1)),
    ((5, 12), (5, 7)),
    ((12, 5), (7, 5)),
    ((8, 12), (4, 6)),
    ((5, 4), (10, 8)),
    ((9, 12), (3, 4)),
    ((16, 24), (2, 3)),
    ((2, 3), (31, 40)),
    ((40, 31), (3, 2)),
]


EVERY_SIZE = pytest.mark.parametrize("source, size", SIZES)


def random_image(
    height: int, width: int, channels: int = 3, dtype: str = "uint8"
) -> np.ndarray:
    rng = np.random.default_rng(height * 100 + width)
    if dtype == "uint8":
        return rng.integers(0, 256, (height, width, channels), dtype="uint8")
    return rng.uniform(-1, 1, (height, width, channels)).astype(dtype)


def counted_image(height: int, width: int, channels: int) -> np.ndarray:
    """The images that the real OpenCV resized for the constants below."""
    values = np.arange(height * width * channels) * 37 % 251
    return values.astype("uint8").reshape(height, width, channels)


def opencv_neighbours(
    index: int, n_in: int, n_out: int, precision: type
) -> tuple[int, int, np.floating]:
    """The two samples that a result lies between, and how far."""
    position = precision((index + 0.5) * (1 / (n_out / n_in)) - 0.5)
    low = math.floor(position)
    first, second = (min(max(i, 0), n_in - 1) for i in (low, low + 1))
    return first, second, position - precision(low)


def opencv_weights(fraction: np.floating) -> tuple[int, int]:
    """Weights in units of 1/2048, a half going to the even one."""
    return (
        round(float(np.float32(1) - fraction) * 2048),
        round(float(fraction) * 2048),
    )


def oracle_opencv(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """OpenCV's fixed-point arithmetic, pixel by pixel in Python's integers."""
    height, width, channels = image.shape
    result = np.zeros((*size, channels), "uint8")
    for i, j, c in np.ndindex(result.shape):
        above, below, down = opencv_neighbours(i, height, size[0], np.float32)
        left, right, along = opencv_neighbours(j, width, size[1], np.float32)
        total = 2
        for row, vertical in zip(
            (above, below), opencv_weights(down), strict=True
        ):
            line = sum(
                int(image[row, column, c]) * horizontal
                for column, horizontal in zip(
                    (left, right), opencv_weights(along), strict=True
                )
            )
            total += vertical * (line >> 4) >> 16
        result[i, j, c] = total >> 2
    return result


def oracle_opencv_floats(
    image: np.ndarray, size: tuple[int, int], precision: type
) -> np.ndarray:
    """Bilinear interpolation in float64 at positions of some precision."""
    image = image.astype("float64")
    result = np.zeros((*size, image.shape[2]))
    for i, j in np.ndindex(size):
        above, below, down = (
            float(each)
            for each in opencv_neighbours(i, len(image), size[0], precision)
        )
        left, right, along = (
            float(each)
            for each in opencv_neighbours(j, image.shape[1], size[1], precision)
        )
        for row, vertical in ((above, 1 - down), (below, down)):
            for column, horizontal in ((left, 1 - along), (right, along)):
                pixel = image[int(row), int(column)]
                result[i, j] += vertical * horizontal * pixel
    return result


def flipped(index: int, size: int) -> int:
    while not 0 <= index < size:
        index = -1 - index if index < 0 else 2 * size - 1 - index
    return index


def triangle_weights(
    index: int, n_in: int, n_out: int
) -> list[tuple[int, Fraction]]:
    """Samples under the triangle around a result, and their shares."""
    reach = max(Fraction(n_in, n_out), Fraction(1))
    center = (index + Fraction(1, 2)) * Fraction(n_in, n_out)
    heights = {}
    for sample in range(
        math.floor(center - reach) - 1, math.ceil(center + reach) + 1
    ):
        distance = abs(sample + Fraction(1, 2) - center)
        heights[sample] = max(1 - distance / reach, Fraction(0))
    total = sum(heights.values())
    return [
        (flipped(sample, n_in), height / total)
        for sample, height in heights.items()
    ]


def exact_side(image: np.ndarray, axis: int, length: int) -> np.ndarray:
    """One side resized by MATLAB's bilinear imresize, before rounding."""
    lines = np.moveaxis(image.astype("float64"), axis, 0)
    lines = np.vectorize(Fraction, otypes=[object])(lines)
    result = [
        sum(
            weight * lines[sample]
            for sample, weight in triangle_weights(index, len(lines), length)
        )
        for index in range(length)
    ]
    return np.moveaxis(np.array(result), 0, axis)


def with_side(size: tuple[int, ...], axis: int, length: int) -> tuple[int, int]:
    return (length, size[1]) if axis == 0 else (size[0], length)


@EVERY_SIZE
def test_opencv_in_integers(source: Size, size: Size) -> None:
    for channels in (1, 3):
        image = random_image(*source, channels)
        result = opencv_resize(image, size)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, oracle_opencv(image, size))


def test_opencv_is_what_it_printed() -> None:
    # cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) of
    # opencv-python 5.0.0.93 for `counted_image`.
    for source, want in (
        (
            (4, 5, 1),
            [
                [31, 52, 66, 63, 89, 116, 137],
                [152, 173, 164, 101, 127, 99, 49],
                [64, 85, 111, 138, 164, 173, 170],
            ],
        ),
        (
            (3, 4, 3),
            [
                [[55, 92, 129], [152, 63, 100]],
                [[82, 119, 106], [129, 90, 127]],
                [[123, 160, 72], [94, 131, 168]],
                [[163, 125, 112], [134, 96, 133]],
                [[190, 102, 139], [161, 73, 110]],
            ],
        ),
        ((4, 6, 1), [[67, 78, 152], [197, 83, 94]]),
        ((1, 7, 1), [[24, 111, 197], [24, 111, 197]]),
    ):
        wanted = np.reshape(want, (*np.shape(want)[:2], source[2]))
        result = opencv_resize(counted_image(*source), wanted.shape[:2])
        np.testing.assert_array_equal(result, wanted)


@EVERY_SIZE
def test_opencv_in_floats(source: Size, size: Size) -> None:
    for channels in (1, 2, 3, 21):
        image = random_image(*source, channels, "float32")
        result = opencv_resize(image, size)
        assert result.dtype == np.float32
        want = oracle_opencv_floats(image, size, np.float64)
        np.testing.assert_allclose(result, want, atol=4e-6)


@pytest.mark.parametrize(
    "height, channels, precision",
    [
        (1, 1, np.float32),
        (2, 1, np.float64),
        (2, 2, np.float32),
        (2, 3, np.float64),
        (2, 4, np.float64),
        (2, 5, np.float32),
    ],
)
def test_opencv_positions_of_floats(
    height: int, channels: int, precision: type
) -> None:
    # cv2.resize of opencv-python 5.0.0.93 on x86-64, in float32.
    printed = {
        np.float32: [168.265625, 543.9345703125, 567.109375],
        np.float64: [168.266471449488, 543.926793557837, 567.092240117128],
    }
    row = np.arange(1500) * 37 % 251 * 4
    image = np.empty((height, 1500, channels), "float32")
    image[:] = row[:, None]
    result = opencv_resize(image, (1, 2049))
    for channel in range(channels):
        np.testing.assert_allclose(
            result[0, [1401, 1701, 2002], channel],
            printed[precision],
            rtol=3e-7,
        )
    want = oracle_opencv_floats(image, (1, 2049), precision)
    np.testing.assert_allclose(result, want, atol=3e-4)


@EVERY_SIZE
def test_matlab_rounds_exact_sums(source: Size, size: Size) -> None:
    image = random_image(*source)
    for axis in (0, 1):
        result = matlab_resize(image, with_side(source, axis, size[axis]))
        assert result.dtype == np.uint8
        distance = abs(exact_side(image, axis, size[axis]) - result)
        assert (distance <= Fraction(1, 2)).all()


@pytest.mark.parametrize(
    "source, size",
    [((8, 12), (4, 6)), ((5, 4), (10, 8)), ((16, 24), (4, 6))],
)
def test_matlab_rounds_halves_upwards(
    source: tuple[int, int], size: tuple[int, int]
) -> None:
    # Weights of these scales are exact in floats.
    image = random_image(*source)
    for axis in (0, 1):
        want = exact_side(image, axis, size[axis])
        is_half = want % 1 == Fraction(1, 2)
        assert np.count_nonzero(is_half) > 2
        result = matlab_resize(image, with_side(source, axis, size[axis]))
        np.testing.assert_array_equal(result, (want + Fraction(1, 2)) // 1)


@EVERY_SIZE
def test_matlab_resizes_the_smaller_scale_first(
    source: Size, size: Size
) -> None:
    image = random_image(*source)
    width_first = size[1] * source[0] < size[0] * source[1]
    axis = 1 if width_first else 0
    partial = matlab_resize(image, with_side(source, axis, size[axis]))
    np.testing.assert_array_equal(
        matlab_resize(image, size), matlab_resize(partial, size)
    )


@EVERY_SIZE
def test_matlab_in_floats(source: Size, size: Size) -> None:
    image = random_image(*source, 2, "float32")
    want = exact_side(exact_side(image, 0, size[0]), 1, size[1])
    result = matlab_resize(image, size)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, want.astype("float64"), atol=1e-6)


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_and_strides_do_not_matter(
    resize: Resize, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = random_image(37, 23, 3, dtype)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    planes.flags.writeable = False
    for size in ((50, 30), (17, 40), (74, 46), (37, 23)):
        want = resize(image, size)
        assert want.shape == (*size, 3)
        result = resize(planes.transpose(1, 2, 0), size)
        np.testing.assert_array_equal(result, want)
        with monkeypatch.context() as context:
            # One row at a time, then four, the last block being smaller.
            for numbers in (1, 4 * size[1] * 3):
                context.setattr(reference_resize, "_BLOCK", numbers)
                np.testing.assert_array_equal(resize(image, size), want)
