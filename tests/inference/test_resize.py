"""Tests of resizing: every part is a part of the whole."""

import numpy as np
import pytest
import reference

from keras_pspnet.inference.resize import Axis, resize, split


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.uniform(0, 255, (height, width, channels)).astype("float32")


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("size", "out_size"),
    [(7, 30), (30, 7), (40, 4), (6, 6), (1, 5), (5, 1), (1, 1), (9, 13)],
)
def test_parts_need_what_they_are_made_of(
    size: int, out_size: int, align_corners: bool
) -> None:
    axis = Axis(size, out_size, align_corners)
    samples = noise(size, 3)
    low, high = axis.needed(0, out_size)
    whole = axis.resize(samples[low:high], 0, 0, out_size)
    want = reference.bilinear(samples[None], (out_size, 3), align_corners)[0]
    np.testing.assert_allclose(whole, want, rtol=1e-5, atol=1e-4)
    for first in range(out_size):
        for last in range(first + 1, out_size + 1):
            low, high = axis.needed(first, last)
            if size == out_size:
                assert (low, high) == (first, last)
            else:
                ends = [
                    reference.source_position(
                        index, size, out_size, align_corners
                    )
                    for index in (first, last - 1)
                ]
                assert (low, high) == (ends[0][0], ends[1][1] + 1)
            part = axis.resize(samples[low:high], 0, first, last)
            np.testing.assert_array_equal(part, whole[first:last])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "size", [(13, 9), (27, 33), (5, 4), (13, 31), (6, 9), (1, 1), (60, 2)]
)
def test_resize_is_bilinear_without_antialiasing(
    size: tuple[int, int], dtype: str, align_corners: bool
) -> None:
    image = noise(13, 9, 4).astype(dtype)
    before = image.copy()
    found = resize(image, size, align_corners=align_corners)
    assert found.dtype == np.float32
    want = reference.bilinear(image[None], size, align_corners)[0]
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(image, before)
    for rows in split(size[0], 7):
        for columns in split(size[1], 5):
            part = resize(image, size, rows, columns, align_corners)
            here = np.s_[slice(*rows), slice(*columns)]
            np.testing.assert_array_equal(part, found[here])


def test_what_has_the_size_is_not_copied() -> None:
    image = noise(13, 9)
    assert np.shares_memory(resize(image, (13, 9)), image)
