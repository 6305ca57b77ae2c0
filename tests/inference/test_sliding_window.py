"""Tests of windows: means over whole arrays, had a few rows at a time."""

from collections.abc import Iterator

import numpy as np
import pytest

from keras_pspnet.inference import sliding_window
from keras_pspnet.inference.resize import resize
from keras_pspnet.inference.sliding_window import (
    BATCH,
    mean_of_windows,
    place_windows,
    slide,
)

CLASSES = 2
SIZES = ((1, 1), (1, 50), (50, 1), (16, 16), (17, 15), (100, 37), (37, 201))


def starts(size: int, window: int) -> tuple[int, ...]:
    """Steps of two thirds of the side until a window reaches the border."""
    step, found = (2 * window + 2) // 3, [0]
    while found[-1] + window < size:
        found.append(min(found[-1] + step, size - window))
    return tuple(found)


def places(size: tuple[int, int], window: int) -> Iterator[tuple]:
    """The slice of the image that every window is."""
    for top in starts(size[0], window):
        for left in starts(size[1], window):
            yield np.s_[top : top + window, left : left + window]


def noise(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.uniform(0, 255, (height, width, 3)).astype("float32")


def score(crops: np.ndarray) -> np.ndarray:
    """Scores that tell where in its window a pixel is."""
    height, width = crops.shape[1:3]
    down = np.arange(1, height + 1, dtype="float32")[:, None, None]
    across = np.arange(1, width + 1, dtype="float32")[:, None]
    return np.concatenate([crops[..., :1] * down, crops[..., 1:2] * across], -1)


def naive_mean(image: np.ndarray, window: int) -> np.ndarray:
    """The mean score of each pixel's windows, over whole arrays."""
    total = np.zeros((*image.shape[:2], CLASSES))
    count = np.zeros((*image.shape[:2], 1))
    for place in places(image.shape[:2], window):
        total[place] += score(image[place][None].astype("float64"))[0]
        count[place] += 1
    assert count.min() > 0
    return total / count


# === Where windows stand ===


@pytest.mark.parametrize("window", [16, 17, 473])
@pytest.mark.parametrize("size", SIZES)
def test_windows_cover_every_pixel_and_end_at_the_border(size, window) -> None:
    grid = place_windows(size, window)
    assert (grid.size, grid.columns) == (size, (0, size[1]))
    assert grid.count == len(list(places(size, window)))
    for side, span, first in zip(
        size, grid.window, (grid.tops, grid.lefts), strict=True
    ):
        assert span == min(window, side)
        assert first == starts(side, window)
        assert first[0] == 0
        assert first[-1] + span == side
        # None is there twice, and neighbors share a third.
        steps = np.diff(first)
        assert (steps > 0).all()
        assert (3 * (span - steps) >= span - 2).all()


@pytest.mark.parametrize(
    ("window", "stride"), [(16, 11), (17, 12), (18, 12), (473, 316), (713, 476)]
)
def test_the_stride_is_two_thirds_rounded_up(window: int, stride: int) -> None:
    grid = place_windows((5000, 4000), window)
    assert grid.tops[:2] == grid.lefts[:2] == (0, stride)


def test_without_windows_the_image_is_one() -> None:
    grid = place_windows((30, 50), None, (10, 20))
    assert (grid.window, grid.tops, grid.lefts) == ((30, 50), (0,), (0,))


# === Sliding ===


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("window", [16, 19])
@pytest.mark.parametrize("size", SIZES)
def test_the_stream_is_the_mean_over_whole_arrays(
    size, window, batch, monkeypatch
) -> None:
    monkeypatch.setattr(sliding_window, "BATCH", batch)
    # A flipped view has no array of its own, and strides below zero.
    for image in (noise(*size), noise(*size)[:, ::-1]):
        found = mean_of_windows(image, window, score)
        assert found.dtype == np.float32
        want = naive_mean(image.copy(), window)
        np.testing.assert_allclose(found, want, rtol=1e-6)


@pytest.mark.parametrize("size", [(40, 61), (25, 16)])
def test_windows_are_cut_out_of_the_resized_image(size) -> None:
    image = np.round(noise(31, 23)).astype("uint8")
    rows = slide(image, place_windows(size, 16), score)
    want = mean_of_windows(resize(image, size), 16, score)
    np.testing.assert_array_equal(np.concatenate(list(rows)), want)


@pytest.mark.parametrize("window", [16, 201])
@pytest.mark.parametrize(
    "columns", [(0, 1), (0, 64), (30, 31), (11, 16), (64, 128), (200, 201)]
)
def test_columns_are_those_of_the_whole(columns, window: int) -> None:
    size = (37, 201)
    image, grid = noise(*size), place_windows(size, window, columns)
    seen, done = [], []

    def counted(crops: np.ndarray) -> np.ndarray:
        seen.append(len(crops))
        return score(crops)

    rows = slide(image, grid, counted, done.append)
    np.testing.assert_allclose(
        np.concatenate(list(rows)),
        naive_mean(image, window)[:, columns[0] : columns[1]],
        rtol=1e-6,
    )
    # No window that touches none of them, and each reported.
    touching = sum(
        place[1].start < columns[1] and place[1].stop > columns[0]
        for place in places(size, window)
    )
    assert sum(seen) == sum(done) == grid.count == touching
    assert max(seen) <= BATCH
