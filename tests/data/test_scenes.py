"""Tests of the procedural scenes."""

import numpy as np
import pytest

from keras_pspnet import labels
from keras_pspnet.data.synthetic import drawing, scenes

CONTEXTS = [(False, False), (False, True), (True, False), (True, True)]


@pytest.fixture(scope="module")
def sixty() -> tuple[np.ndarray, np.ndarray]:
    return scenes.scene_arrays(0, 60, (128, 128), seed=0)


def draw_in_each_context(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        drawing.draw_scene(
            np.random.default_rng(seed), (96, 256), False, on_water, in_city
        )
        for on_water, in_city in CONTEXTS
    ]


def test_scene_depends_on_seed_and_index_alone() -> None:
    image, mask = scenes.make_scene(3, 5)
    np.random.seed(1)
    before = np.random.random()
    np.random.seed(1)
    again, mask_again = scenes.make_scene(3, 5)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    assert not np.array_equal(image, scenes.make_scene(4, 5)[0])
    # Others' random numbers are left alone.
    assert np.random.random() == before


@pytest.mark.parametrize(
    "size", [(32, 32), (64, 96), (97, 61), (33, 200), (240, 32)]
)
def test_any_size(size: tuple[int, int]) -> None:
    for index in range(20):
        image, mask = scenes.make_scene(2, index, size)
        assert image.shape == (*size, 3)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert mask.shape == size
        assert mask.dtype == np.uint8
        assert mask.flags.c_contiguous
        assert image.std() > 8


@pytest.mark.parametrize("size", [(128, 128), (32, 32), (61, 97)])
def test_all_classes_occur(size: tuple[int, int]) -> None:
    _, masks = scenes.scene_arrays(0, 60, size, seed=0)
    ids = [*range(labels.SCENES.num_classes), labels.SCENES.ignore_label]
    np.testing.assert_array_equal(np.unique(masks), ids)
    assert len({mask.tobytes() for mask in masks}) == 60


def test_class_ids_are_those_of_the_labels() -> None:
    for value, name in enumerate(labels.SCENES.names):
        assert getattr(drawing, name.upper()) == value
    assert labels.SCENES.ignore_label == drawing.IGNORE


def test_objects_have_a_border(
    sixty: tuple[np.ndarray, np.ndarray],
) -> None:
    """No pixel of an object touches a pixel of another class."""
    for mask in sixty[1]:
        for one, other in (
            (mask[1:], mask[:-1]),
            (mask[:, 1:], mask[:, :-1]),
        ):
            for thing in range(drawing.BUILDING, drawing.PILLOW + 1):
                if thing != drawing.WALL:
                    touched = other[one == thing], one[other == thing]
                    ids = np.unique(np.concatenate(touched))
                    assert set(ids) <= {thing, drawing.IGNORE}


@pytest.mark.parametrize("seed", range(8))
def test_same_picture_but_for_the_far_side(seed: int) -> None:
    """Objects are drawn alike in every context, only labels tell."""
    drawn = draw_in_each_context(seed)
    first, first_mask = drawn[0]
    flipped = (first_mask[:, :64] == drawing.CAR).sum() == 0
    near = slice(-164, None) if flipped else slice(0, 164)
    assert (first_mask[:, near] == drawing.CAR).sum() > 200
    assert (first_mask[:, near] == drawing.BUILDING).sum() > 300
    for (image, mask), (on_water, in_city) in zip(drawn, CONTEXTS, strict=True):
        np.testing.assert_array_equal(image[:, near], first[:, near])
        assert not np.array_equal(image, first) or not (on_water or in_city)
        renamed = np.arange(256)
        if on_water:
            renamed[[drawing.ROAD, drawing.CAR]] = drawing.WATER, drawing.BOAT
        if in_city:
            renamed[drawing.BUILDING] = drawing.SKYSCRAPER
        np.testing.assert_array_equal(
            mask[:, near], renamed[first_mask[:, near]]
        )


def test_pillow_has_the_cloth_of_its_bed(
    sixty: tuple[np.ndarray, np.ndarray],
) -> None:
    """Inside, a pillow is as bright as the bed around it."""
    ratios = []
    for image, mask in zip(*sixty, strict=True):
        if (mask == drawing.PILLOW).any():
            rows = (mask == drawing.PILLOW).any(1)
            bed = image[rows][mask[rows] == drawing.BED].mean()
            ratios.append(image[mask == drawing.PILLOW].mean() / bed)
    assert len(ratios) >= 8
    assert 0.9 < np.median(ratios) < 1.05
    assert min(ratios) > 0.75


def test_scene_arrays_are_the_scenes() -> None:
    images, masks = scenes.scene_arrays(7, 3, (40, 50), seed=2)
    assert images.shape == (3, 40, 50, 3)
    for k in range(3):
        image, mask = scenes.make_scene(2, 7 + k, (40, 50))
        np.testing.assert_array_equal(images[k], image)
        np.testing.assert_array_equal(masks[k], mask)


@pytest.mark.parametrize(
    "size", [(31, 64), (64, 31), 64, (64,), (64, 64, 3), (64.0, 64), None]
)
def test_size_must_be_large_enough(size: object) -> None:
    with pytest.raises(
        ValueError,
        match=r"`size` must be .* at least 32\. Received: size=",
    ):
        scenes.make_scene(0, 0, size)


@pytest.mark.parametrize("name", ["seed", "index"])
def test_numbers_of_a_scene_are_checked(name: str) -> None:
    numbers = {"seed": 0, "index": 0}
    with pytest.raises(ValueError, match="non-negative"):
        scenes.make_scene(**{**numbers, name: -1})
    with pytest.raises(TypeError, match="must be integer"):
        scenes.make_scene(**{**numbers, name: 1.5})
