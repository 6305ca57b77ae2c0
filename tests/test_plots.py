"""Tests of visualization.plots: what is drawn, and where."""

import numpy as np
import pytest

from keras_pspnet.visualization.plots import (
    _BOTTOM,
    _COLORS,
    _LEFT,
    _RIGHT,
    _WIDTH,
    ticks,
    training_curves,
)

BLUE, ORANGE, GREEN = _COLORS


def row(step, **values):
    return {"epoch": step, "step": step, **values}


def spots(picture, color):
    """Rows and columns of the pixels of exactly one colour."""
    return np.argwhere((np.asarray(picture) == color).all(-1))


@pytest.mark.parametrize(
    "low, high, want",
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 150_000, [0, 50_000, 100_000, 150_000]),
        (0, 0.3, [0, 0.1, 0.2, 0.3]),
        (0, 1.06e-5, [0, 5e-6, 1e-5]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0, 2, [0, 0.5, 1, 1.5, 2]),
    ],
)
def test_ticks_are_round_numbers(low, high, want):
    assert ticks(low, high) == want


def test_a_curve_goes_through_its_points():
    values = (0.02, 0.01, 0.0)
    rows = [
        row(step, learning_rate=value)
        for step, value in zip((100, 200, 300), values, strict=True)
    ]
    picture = training_curves(rows)
    assert picture.width == 960
    found = spots(picture, BLUE)
    # The axis starts at step 0, so that the first point is a third on.
    left, right = found[:, 1].min(), found[:, 1].max()
    middle = found[np.abs(found[:, 1] - (left + right) / 2) < 1][:, 0].mean()
    top, bottom = found[:, 0].min(), found[:, 0].max()
    assert middle == pytest.approx((top + bottom) / 2, abs=1.5)
    start, end = _LEFT, _WIDTH - _RIGHT
    # Dots have a radius of 4 pixels.
    assert left + 4 == pytest.approx(start + (end - start) / 3, abs=1.5)
    assert right - 4 == pytest.approx(end, abs=1.5)
    assert bottom - 4 == pytest.approx(picture.height - _BOTTOM, abs=1.5)


def test_every_curve_has_a_colour_in_its_panel():
    rows = [
        row(
            step,
            loss=3.0 / step,
            main_loss=2.0 / step,
            aux_loss=2.5 / step,
            main_mean_iou=0.1 * step,
            learning_rate=0.1,
        )
        for step in (1, 2, 3)
    ]
    rows[1]["val_mean_iou"] = 0.15
    picture = training_curves(rows)
    heights = {color: spots(picture, color)[:, 0] for color in _COLORS}
    assert all(len(found) for found in heights.values())
    # One panel has the third colour, two the second, three the first.
    assert heights[GREEN].max() < heights[ORANGE].max() < heights[BLUE].max()
    without = training_curves([{**each, "aux_loss": np.nan} for each in rows])
    assert not len(spots(without, GREEN))
    assert without.size == picture.size


def test_one_output_has_one_loss():
    one = training_curves([row(1, loss=2.0, mean_iou=0.5)])
    two = training_curves([row(1, main_mean_iou=0.5, loss=2.0)])
    np.testing.assert_array_equal(one, two)
    assert not len(spots(one, ORANGE))


@pytest.mark.parametrize("value", [0.0, -2.0, 1e-9, 1e9])
def test_values_of_any_size(value):
    rows = [row(step, loss=value) for step in range(1, 400)]
    assert len(spots(training_curves(rows), BLUE))


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="`rows` must hold at least one row"):
        training_curves([])
