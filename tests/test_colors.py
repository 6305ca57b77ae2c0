"""Tests of visualization.colors: which colours eyes of all kinds part."""

import numpy as np
import pytest
from color_vision import MACHADO, VIENOT, distances, lab, least_distance

from keras_pspnet.labels import (
    ADE20K,
    AERIAL,
    CAMVID,
    CITYSCAPES,
    SCENES,
    VOC,
    LabelSet,
    generic_labels,
)
from keras_pspnet.visualization.colors import (
    COLORBLIND,
    IGNORED,
    WELL_APART,
    WRONG,
    class_colors,
    confidence_colors,
)

WHITE = (255, 255, 255)


def test_reference_colours_in_lab():
    # Published values of the sRGB primaries under D65.
    np.testing.assert_allclose(
        lab([(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255)]),
        [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.9]],
        atol=0.05,
    )


@pytest.mark.parametrize("visions", [MACHADO, VIENOT], ids=["09", "99"])
def test_simulation_keeps_greys(visions):
    greys = np.arange(0, 256, 15)[:, None].repeat(3, 1)
    for matrix in visions.values():
        np.testing.assert_allclose(lab(greys, matrix), lab(greys), atol=0.01)


def test_colours_are_apart_for_all():
    shown = [*COLORBLIND[:WELL_APART], IGNORED, WHITE]
    assert least_distance(shown) > 16
    # The model that the colours were not chosen by agrees.
    assert least_distance(shown, VIENOT) > 16


@pytest.mark.parametrize(("count", "least"), [(40, 11), (150, 5), (255, 3.7)])
def test_more_colours_are_closer(count, least):
    assert least_distance(COLORBLIND[:count]) > least


def test_every_colour_is_the_farthest_from_those_before():
    axis = np.arange(0, 256, 15)
    grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    lightness, a, b = lab(grid).T
    grid = grid[(lightness >= 25) & (lightness <= 92) & (np.hypot(a, b) <= 100)]
    nearest = distances(grid, [IGNORED, WHITE]).min(axis=1)
    for index, color in enumerate(COLORBLIND):
        if index >= 7:
            reached = nearest[(grid == color).all(axis=-1)].item()
            # Not equal: what is as far may be chosen by rounding.
            assert reached > nearest.max() - 0.01
        nearest = np.minimum(nearest, distances(grid, [color])[:, 0])


def test_the_first_seven_are_those_of_okabe_and_ito():
    assert set(COLORBLIND[:7]) == {
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    }


def test_all_colours_differ():
    assert len(set(COLORBLIND)) == len(COLORBLIND) == 255
    assert not {IGNORED, WHITE} & set(COLORBLIND)


@pytest.mark.parametrize(
    "labels", [AERIAL, SCENES, CAMVID, CITYSCAPES, VOC], ids=lambda x: x.name
)
def test_classes_of_every_set_are_apart(labels):
    colors = class_colors(labels, colorblind=True)[: labels.num_classes]
    assert least_distance(colors) > 16
    assert least_distance(colors) > least_distance(labels.colors)


def test_sets_own_colours_mislead():
    assert least_distance(VOC.colors) < 2
    assert least_distance(CITYSCAPES.colors) < 4


def test_own_colours_are_the_default():
    palette = class_colors(VOC)
    assert palette.dtype == np.uint8 and palette.shape == (256, 3)
    np.testing.assert_array_equal(palette[:21], VOC.colors)
    assert not palette[21:].any()


def test_water_stays_blue():
    colors = class_colors(AERIAL, colorblind=True).tolist()
    assert colors[AERIAL.names.index("water")] == [0, 114, 178]
    assert colors[AERIAL.names.index("vegetation")] == [0, 158, 115]
    assert colors[255] == [0, 0, 0]


@pytest.mark.parametrize(
    "labels", [AERIAL, VOC, ADE20K, generic_labels(255)], ids=lambda x: x.name
)
def test_no_class_would_swap_for_a_nearer_colour(labels):
    count = labels.num_classes
    given = class_colors(labels, colorblind=True)[:count]
    pool = np.array(COLORBLIND[: max(count, WELL_APART)])
    far = np.linalg.norm(lab(labels.colors)[:, None] - lab(pool), axis=-1)
    taken = (given[:, None] == pool).all(axis=-1)
    assert (taken.sum(axis=1) == 1).all() and (taken.sum(axis=0) <= 1).all()
    own = far[taken][:, None]
    # Whoever has a colour that is nearer to another is nearer still.
    holder = np.where(taken, far, 0).sum(axis=0)
    free = ~taken.any(axis=0)
    assert ((own <= far + 0.1) | (~free & (holder <= far + 0.1))).all()


def test_equal_own_colours_become_different():
    labels = LabelSet("same", ("a", "b", "c"), ((9, 9, 9),) * 3)
    colors = class_colors(labels, colorblind=True)[:3]
    assert len({tuple(color) for color in colors.tolist()}) == 3


def test_confidence_ends():
    colors = confidence_colors(np.array([[0, 1]], np.float32))
    assert colors.dtype == np.uint8
    assert colors.tolist() == [[[68, 1, 84], [253, 231, 37]]]


@pytest.mark.parametrize("vision", MACHADO)
def test_confidence_grows_lighter_evenly(vision):
    colors = confidence_colors(np.linspace(0, 1, 21))
    lightness = lab(colors, MACHADO[vision])[:, 0]
    steps = np.diff(lightness)
    assert lightness[-1] - lightness[0] > 60
    assert steps.min() > 0.5 * steps.mean()
    assert steps.max() < 1.7 * steps.mean()


def test_wrong_stands_out_from_grey():
    greys = np.arange(40, 156)[:, None].repeat(3, 1)
    assert distances([WRONG], greys).min() > 50
    assert distances([WRONG], greys, VIENOT).min() > 50
