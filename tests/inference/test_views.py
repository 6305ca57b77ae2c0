"""Tests of plans: data that says all of a segmentation before it runs."""

import dataclasses

import pytest

from keras_pspnet.inference import views
from keras_pspnet.inference.sliding_window import Grid
from keras_pspnet.inference.views import Plan, Strip, View, make_plan


def test_a_plan_is_data_that_can_be_read() -> None:
    plan = make_plan((20, 40), 4, (1.0, 0.5), True, 16, size=(40, 80))
    assert plan == Plan(
        seen=(20, 40),
        size=(40, 80),
        views=(
            View((20, 40)),
            View((20, 40), True),
            View((10, 20)),
            View((10, 20), True),
        ),
        strips=(
            Strip(
                (0, 80),
                (0, 40),
                (
                    Grid((20, 40), (16, 16), (0, 4), (0, 11, 22, 24), (0, 40)),
                    Grid((20, 40), (16, 16), (0, 4), (0, 11, 22, 24), (0, 40)),
                    Grid((10, 20), (10, 16), (0,), (0, 4), (0, 20)),
                    Grid((10, 20), (10, 16), (0,), (0, 4), (0, 20)),
                ),
            ),
        ),
        bands=((0, 40),),
        average=True,
    )
    assert plan.windows == 8 + 8 + 2 + 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.window = 32


@pytest.mark.parametrize(
    ("scales", "flip", "size", "average"),
    [
        ((1.0,), False, None, False),
        ((1.0,), True, None, True),
        ((1.0, 1.0), False, None, True),
        # The greatest logit has the greatest probability ...
        ((0.5,), False, None, False),
        ((1.0,), False, (99, 99), False),
        # ... unless it is resized as a probability afterwards.
        ((0.5,), False, (99, 99), True),
    ],
)
def test_several_views_average_probabilities(
    scales, flip, size, average
) -> None:
    assert make_plan((20, 40), 4, scales, flip, size=size).average is average


def test_views_of_sizes_of_their_own() -> None:
    plan = make_plan((20, 40), 4, sizes=[(7, 9)], align_corners=True)
    assert plan.views == (View((7, 9)),)
    assert plan.align_corners is True
    assert plan.windows == 1
    # At least a pixel is left.
    assert make_plan((1, 3), 4, (0.1,)).views == (View((1, 1)),)


def test_strips_and_bands_bound_the_memory_of_100_megapixels() -> None:
    plan = make_plan((10_000, 10_000), 21, (1.0, 1.5), True, 473)
    assert len(plan.strips) > 1
    for first, last in plan.bands:
        assert 4 * 21 * 10_000 * (last - first) <= views._BAND_BYTES
    for strip in plan.strips:
        rows = sum(
            4 * 21 * grid.window[0] * (grid.columns[1] - grid.columns[0])
            for grid in strip.grids
        )
        assert rows <= views._WINDOW_BYTES
    covered = [column for strip in plan.strips for column in strip.columns]
    assert covered[0] == 0 and covered[-1] == 10_000
    assert covered[1:-1:2] == covered[2:-1:2]
    whole = make_plan((10_000, 10_000), 21, (1.0, 1.5), True)
    assert [strip.columns for strip in whole.strips] == [(0, 10_000)]


def test_a_flipped_view_computes_the_columns_of_the_other_end(
    monkeypatch,
) -> None:
    whole = make_plan((16, 400), 4, flip=True, window=16)
    monkeypatch.setattr(views, "_WINDOW_BYTES", 1)
    plan = make_plan((16, 400), 4, flip=True, window=16)
    assert len(plan.strips) > 1
    for strip in plan.strips:
        (first, last), (low, high) = (each.columns for each in strip.grids)
        assert (low, high) == (400 - last, 400 - first)
    # Windows on the borders of strips are computed for both.
    assert plan.windows > whole.windows
