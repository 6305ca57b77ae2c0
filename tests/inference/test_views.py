"""Tests of plans: data that says all of a segmentation before it runs."""

import pytest

from keras_pspnet.inference import views
from keras_pspnet.inference.views import View, make_plan


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
