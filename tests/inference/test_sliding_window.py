"""Tests of windows: means over whole arrays, had a few rows at a time."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import reference

from keras_pspnet.inference import sliding_window as windows
from keras_pspnet.inference.sliding_window import (
    BATCH,
    Axis,
    Grid,
    count_windows,
    grid,
    resize,
    slide,
    split,
    upsample,
)

CLASSES = 2
SIZES = ((1, 1), (1, 50), (50, 1), (16, 16), (17, 15), (100, 37), (37, 201))


def starts(size: int, window: int) -> list[int]:
    """Steps of two thirds of the side until a window reaches the border."""
    step, found = (2 * window + 2) // 3, [0]
    while found[-1] + window < size:
        found.append(min(found[-1] + step, size - window))
    return found


def places(size: tuple[int, int], window: int) -> Iterator[tuple]:
    """The (top, left) of every window, and its slice of the picture."""
    for top in starts(size[0], window):
        for left in starts(size[1], window):
            yield np.s_[top : top + window, left : left + window]


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.uniform(0, 255, (height, width, channels)).astype("float32")


def cropper(image: np.ndarray):
    return lambda top, bottom, left, right: image[top:bottom, left:right]


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
    found = grid(size, window)
    assert found.size == size
    for side, span, first in zip(
        size, found.window, (found.tops, found.lefts), strict=True
    ):
        assert span == min(window, side)
        assert first == starts(side, window)
        assert first[0] == 0
        assert first[-1] + span == side
        # None is there twice, and neighbours share a third.
        steps = np.diff(first)
        assert (steps > 0).all()
        assert (3 * (span - steps) >= span - 2).all()


@pytest.mark.parametrize(
    ("window", "stride"), [(16, 11), (17, 12), (18, 12), (473, 316), (713, 476)]
)
def test_the_stride_is_two_thirds_rounded_up(window: int, stride: int) -> None:
    assert grid((5000, 5000), window).stride == (stride, stride)


# === Sliding ===


@pytest.mark.parametrize("window", [16, 19])
@pytest.mark.parametrize("size", SIZES)
def test_the_stream_is_the_mean_over_whole_arrays(size, window) -> None:
    image = noise(*size)
    rows = list(slide(cropper(image), score, grid(size, window), CLASSES))
    assert {each.dtype for each in rows} == {np.dtype("float32")}
    np.testing.assert_allclose(
        np.concatenate(rows), naive_mean(image, window), rtol=1e-6
    )


def test_a_mirrored_view_streams_as_any_picture() -> None:
    # As `segment` has it: no array of its own, and strides below zero.
    image = noise(40, 61)[:, ::-1]
    rows = slide(cropper(image), score, grid((40, 61), 16), CLASSES)
    np.testing.assert_allclose(
        np.concatenate(list(rows)), naive_mean(image.copy(), 16), rtol=1e-6
    )


@pytest.mark.parametrize(
    "columns", [(0, 1), (0, 64), (30, 31), (11, 16), (64, 128), (200, 201)]
)
def test_columns_are_those_of_the_whole(columns) -> None:
    size = (37, 201)
    image, where = noise(*size), grid(size, 16)
    seen = []

    def counted(crops: np.ndarray) -> np.ndarray:
        seen.append(len(crops))
        return score(crops)

    done = []
    rows = slide(cropper(image), counted, where, CLASSES, columns, done.append)
    np.testing.assert_allclose(
        np.concatenate(list(rows)),
        naive_mean(image, 16)[:, columns[0] : columns[1]],
        rtol=1e-6,
    )
    # No window that touches none of them, and each reported.
    touching = sum(
        place[1].start < columns[1] and place[1].stop > columns[0]
        for place in places(size, 16)
    )
    assert sum(seen) == sum(done) == touching
    assert count_windows(where, [columns]) == touching
    assert max(seen) <= BATCH


def test_strips_share_the_windows_on_their_borders() -> None:
    where = grid((37, 201), 16)
    count = len(list(places((37, 201), 16)))
    assert count_windows(where, [(0, 201)]) == count == 3 * 18
    # Windows start at 55 and 66: the first is in both, and so is 44's end.
    assert count_windows(where, [(0, 60), (60, 201)]) == count + 3


def test_rows_come_as_early_as_no_window_is_to_follow() -> None:
    size, window = (100, 37), 16
    image, where = noise(*size), grid(size, window)
    computed, given = [], 0
    rows = slide(cropper(image), score, where, CLASSES, done=computed.append)
    for index, block in enumerate(rows):
        # This row of windows is the last that was computed ...
        assert sum(computed) == (index + 1) * len(where.lefts)
        given += len(block)
        # ... and all that no later one touches are given.
        later = where.tops[index + 1 :] + [size[0]]
        assert given == later[0]
        assert len(block) <= window
    assert given == size[0]


def test_memory_is_that_of_a_row_of_windows() -> None:
    size, window, classes = (8000, 60), 16, 16

    def crop(top: int, bottom: int, left: int, right: int) -> np.ndarray:
        return np.zeros((bottom - top, right - left, 3), "float32")

    def many(crops: np.ndarray) -> np.ndarray:
        return np.zeros((*crops.shape[:3], classes), "float32")

    rows = slide(crop, many, grid(size, window), classes)
    tracemalloc.start()
    try:
        assert sum(len(block) for block in rows) == size[0]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    row = 4 * window * size[1] * classes
    assert row < peak < 6 * row < 4 * size[0] * size[1] * classes / 50


# === Resizing along an axis ===


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


def test_the_second_axis_is_resized_as_the_first() -> None:
    axis, samples = Axis(9, 14), noise(5, 9)
    low, high = axis.needed(3, 11)
    turned = axis.resize(samples.swapaxes(0, 1)[low:high], 0, 3, 11)
    np.testing.assert_array_equal(
        axis.resize(samples[:, low:high], 1, 3, 11), turned.swapaxes(0, 1)
    )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    "out_size", [(13, 9), (27, 33), (5, 4), (13, 31), (6, 9), (1, 1), (60, 2)]
)
def test_resize_is_bilinear_without_antialiasing(
    out_size: tuple[int, int], align_corners: bool
) -> None:
    scores = noise(13, 9, 4)
    before = scores.copy()
    found = resize(scores, out_size, align_corners)
    assert found.dtype == np.float32
    want = reference.bilinear(scores[None], out_size, align_corners)[0]
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(scores, before)


def test_what_has_the_size_stays_itself() -> None:
    scores = noise(13, 9)
    assert resize(scores, (13, 9)) is scores


# === Resizing rows as they come ===


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("size", "out_size"),
    [
        ((13, 9), (37, 20)),
        ((37, 20), (13, 9)),
        ((6, 21), (60, 11)),
        # Rows are left out between two of the result.
        ((60, 5), (4, 17)),
        ((19, 14), (19, 14)),
        ((1, 6), (3, 1)),
    ],
)
def test_bands_are_those_of_the_whole(size, out_size, align_corners) -> None:
    scores = noise(*size)
    whole = resize(scores, out_size, align_corners)
    axes = (
        Axis(size[0], out_size[0], align_corners),
        Axis(size[1], out_size[1], align_corners),
    )
    for step in (1, 4, size[0]):
        for band in (1, 3, out_size[0]):
            for first, last in split(out_size[1], 7):
                low, high = axes[1].needed(first, last)
                rows = (
                    scores[top:bottom, low:high]
                    for top, bottom in split(size[0], step)
                )
                bands = list(
                    upsample(
                        rows, axes, (first, last), split(out_size[0], band)
                    )
                )
                assert [len(each) for each in bands] == [
                    bottom - top for top, bottom in split(out_size[0], band)
                ]
                np.testing.assert_array_equal(
                    np.concatenate(bands), whole[:, first:last]
                )


def test_no_more_rows_are_taken_than_a_band_is_made_of() -> None:
    taken = []

    def rows() -> Iterator[np.ndarray]:
        for index in range(50):
            taken.append(index)
            yield np.full((1, 1, 1), index, "float32")

    bands = upsample(
        rows(), (Axis(50, 100), Axis(1, 1)), (0, 1), split(100, 10)
    )
    for index, _ in enumerate(bands):
        # The row after the last that a centre of this band is behind.
        assert len(taken) == min(5 * (index + 1) + 1, 50)


def test_split_leaves_the_last_part_shorter() -> None:
    assert split(7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert split(6, 3) == [(0, 3), (3, 6)]
    assert split(2, 9) == [(0, 2)]


def test_a_grid_of_other_strides_down_and_across(monkeypatch) -> None:
    # One window at a time gives what several at once give.
    image = noise(31, 23)
    where = Grid((31, 23), (8, 6), (5, 2))
    several = np.concatenate(list(slide(cropper(image), score, where, CLASSES)))
    monkeypatch.setattr(windows, "BATCH", 1)
    one = np.concatenate(list(slide(cropper(image), score, where, CLASSES)))
    np.testing.assert_array_equal(one, several)
    count = np.zeros((31, 23))
    total = np.zeros((31, 23, CLASSES))
    for top in (0, 5, 10, 15, 20, 23):
        for left in (0, 2, 4, 6, 8, 10, 12, 14, 16, 17):
            here = np.s_[top : top + 8, left : left + 6]
            total[here] += score(image[here][None])[0]
            count[here] += 1
    np.testing.assert_allclose(one, total / count[..., None], rtol=1e-6)
