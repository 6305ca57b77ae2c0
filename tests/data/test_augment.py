"""Tests of random changes: picture and mask stay together, seeds decide.

What was drawn is read from the crops themselves: a picture of its own
coordinates tells of every pixel of a crop where it comes from, and a picture
painted in its labels' colors which label belongs to it.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from slow_cases import slow_but

from keras_pspnet.data.augment.affine import FILL
from keras_pspnet.data.augment.augmentation import (
    Augmentation,
    train_augmentation,
)
from keras_pspnet.data.augment.photometric import gaussian_blur

# A color for every label; 255 is what a crop pads with.
COLORS = np.random.default_rng(1).uniform(0, 255, (256, 3)).astype("float32")
COLORS[255] = FILL

CHANGES = {
    "flip": train_augmentation((7, 11), scales=None),
    "turn": train_augmentation((9, 9), scales=None, flip=False, rotate90=True),
    "scale": train_augmentation((9, 9), flip=False),
    "rotate": train_augmentation((9, 11), rotate=10.0),
    # As semseg and mmsegmentation combine them.
    "semseg": train_augmentation(
        (14, 11), rotate=10.0, center_padding=True, blur_probability=0.5
    ),
    "mmseg": train_augmentation(
        (14, 11), base_size=(30, 15), cat_max_ratio=0.75, photometric=True
    ),
    "all": train_augmentation(
        (14, 11),
        rotate90=True,
        rotate=20.0,
        cat_max_ratio=0.5,
        center_padding=True,
        blur_probability=0.5,
        photometric=True,
    ),
}


def blocks(
    rows: int, columns: int, side: int = 1, count: int = 200
) -> np.ndarray:
    """A mask of square blocks; without repetition while labels last."""
    rng = np.random.default_rng(rows * 100 + columns)
    labels = rng.permutation(count)[np.arange(rows * columns) % count]
    mask = labels.reshape(rows, columns).astype("uint8")
    return mask.repeat(side, axis=0).repeat(side, axis=1)


@functools.cache
def traced(change: Augmentation) -> Any:
    """One graph for pictures of any size: most of a test's time is tracing."""
    return tf.function(
        change,
        input_signature=[
            tf.TensorSpec((None, None, 3), tf.float32),
            tf.TensorSpec((None, None), tf.uint8),
            tf.TensorSpec((2,), tf.int32),
        ],
    )


def apply(
    change: Augmentation,
    mask: np.ndarray,
    count: int,
    image: np.ndarray | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The change under `count` seeds, of a picture painted as its mask."""
    image = tf.constant(COLORS[mask] if image is None else image)
    mask = tf.constant(mask)
    results = [
        traced(change)(image, mask, tf.constant([7, k])) for k in range(count)
    ]
    return [(crop.numpy(), labels.numpy()) for crop, labels in results]


def is_painted(image: np.ndarray, mask: np.ndarray) -> bool:
    """Whether every pixel has the color of its label."""
    return image.shape[:2] == mask.shape and np.allclose(
        image, COLORS[mask], rtol=0, atol=1e-3
    )


def interior(mask: np.ndarray, margin: int) -> np.ndarray:
    """Marks the pixels with equal labels up to `margin` pixels around."""
    # Beyond the edge of a crop may have been another label.
    padded = np.pad(mask.astype(int), margin, constant_values=-1)
    size = 2 * margin + 1
    around = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return (around == mask[..., None, None]).all(axis=(2, 3))


class Geometry(NamedTuple):
    """What was done to a picture, as it is read from a crop."""

    factors: np.ndarray  # on height and width
    degrees: float  # counter-clockwise
    flipped: bool
    start: np.ndarray  # of the crop in the picture that was changed


def geometry(
    image: np.ndarray, mask: np.ndarray, size: tuple[int, int]
) -> Geometry:
    """Fits the positions that a crop of a picture of its coordinates has."""
    crop_middle = (np.array(mask.shape) - 1) / 2
    picture_middle = (np.array(size) - 1) / 2
    where = image[..., :2].astype("float64") - picture_middle
    # Half a pixel along its edge a picture does not go on as it began.
    true = (mask != 255) & (np.abs(where) < picture_middle - 1e-3).all(-1)
    pixels = np.argwhere(true) - crop_middle
    assert len(pixels) >= 6
    known = np.column_stack([pixels, np.ones(len(pixels))])
    (down, along, middle), *_ = np.linalg.lstsq(known, where[true], rcond=None)
    flipped = down[0] * along[1] < down[1] * along[0]
    along = -along if flipped else along
    factors = 1 / np.hypot(down, along)
    angle = math.atan2(along[0], down[0])
    turn = np.array(
        [
            [math.cos(angle), -math.sin(angle)],
            [math.sin(angle), math.cos(angle)],
        ]
    )
    scaled_middle = (factors * size - 1) / 2
    middle = turn @ (factors * middle) * ((1, -1) if flipped else 1)
    start = scaled_middle + middle - crop_middle
    return Geometry(factors, math.degrees(angle), bool(flipped), start)


def geometries(
    change: Augmentation, size: tuple[int, int], count: int
) -> list[Geometry]:
    """What `count` seeds do to a picture of this size."""
    image = np.stack([*np.indices(size), np.zeros(size)], axis=-1)
    crops = apply(
        change, np.zeros(size, "uint8"), count, image.astype("float32")
    )
    return [geometry(*crop, size) for crop in crops]


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Mean and spread within five standard deviations, and both ends seen."""
    shares = (np.asarray(values) - low) / (high - low)
    count = len(shares)
    assert 0 <= shares.min() < 10 / count
    assert 1 - 10 / count < shares.max() <= 1
    assert abs(shares.mean() - 1 / 2) <= 5 / np.sqrt(12 * count)
    # The variance of the squared distance from the middle is 1 / 180.
    spread = np.mean((shares - 1 / 2) ** 2)
    assert abs(spread - 1 / 12) <= 5 / np.sqrt(180 * count)


def assert_share(made: int, count: int, probability: float) -> None:
    """Within five standard deviations."""
    spread = math.sqrt(count * probability * (1 - probability))
    assert abs(made - count * probability) <= 5 * spread


def assert_even(places: np.ndarray, number: int) -> None:
    """Whether so many places come up alike: chi-square, five deviations."""
    _, counts = np.unique(places, axis=0, return_counts=True)
    assert len(counts) == number
    expected = len(places) / number
    square = ((counts - expected) ** 2 / expected).sum()
    assert square <= number - 1 + 5 * math.sqrt(2 * (number - 1))


# === All changes ===


@pytest.mark.parametrize(
    # The others are part of these.
    "name",
    slow_but(("semseg", "mmseg", "all"), CHANGES),
)
def test_the_seed_decides_and_nothing_else(name: str) -> None:
    mask = blocks(9, 13)
    change = CHANGES[name]
    dataset = tf.data.Dataset.range(12).map(
        lambda k: change(
            COLORS[mask], mask, tf.stack([7, tf.cast(k, "int32")])
        ),
        num_parallel_calls=4,
    )
    in_pipeline = list(dataset.as_numpy_iterator())
    in_graph = apply(change, mask, 12)
    for (image, labels), (image2, labels2) in zip(
        in_pipeline, in_graph, strict=True
    ):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(labels, labels2)
    for k in range(2):
        image, labels = change(COLORS[mask], mask, tf.constant([7, k]))
        np.testing.assert_array_equal(image, in_graph[k][0])
        np.testing.assert_array_equal(labels, in_graph[k][1])
    assert len({labels.tobytes() for _, labels in in_graph}) > 1


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (3, 4), (40, 31)])
@pytest.mark.parametrize("name", CHANGES)
def test_pictures_of_any_size_give_their_labels_and_padding(
    name: str, size: tuple[int, int]
) -> None:
    mask = blocks(*size)
    for image, labels in apply(CHANGES[name], mask, 8):
        assert set(np.unique(labels)) <= set(np.unique(mask)) | {255}
        assert (labels != 255).any()
        padding = image[labels == 255]
        np.testing.assert_array_equal(
            padding, np.broadcast_to(np.float32(FILL), padding.shape)
        )
        assert image.min() >= 0
        assert image.max() <= 255


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - {"mmseg", "all"}))
def test_picture_and_mask_stay_together(name: str) -> None:
    mask = blocks(4, 5, side=20)
    seen = 0
    for image, labels in apply(CHANGES[name], mask, 30):
        inside = interior(labels, 3)
        assert is_painted(image[inside][None], labels[inside][None])
        seen += inside.sum()
    assert seen > 30


def test_changes_do_not_depend_on_each_other() -> None:
    mask = blocks(4, 5, side=5)
    options: dict[str, Any] = {"rotate": 10.0}
    one = apply(train_augmentation((9, 9), **options), mask, 20)
    options |= {"blur_probability": 0.5, "photometric": True}
    two = apply(train_augmentation((9, 9), **options), mask, 20)
    for (image, labels), (image2, labels2) in zip(one, two, strict=True):
        np.testing.assert_array_equal(labels, labels2)
        assert not np.array_equal(image, image2) or len(np.unique(labels)) < 2


# === Mirror and turn ===


def test_flip_mirrors_every_other_picture() -> None:
    mask = blocks(7, 11)
    results = apply(CHANGES["flip"], mask, 100)
    for image, labels in results:
        np.testing.assert_array_equal(image, COLORS[labels])
    flipped = [np.array_equal(labels, mask[:, ::-1]) for _, labels in results]
    kept = [np.array_equal(labels, mask) for _, labels in results]
    assert sum(flipped) + sum(kept) == 100
    assert_share(sum(flipped), 100, 1 / 2)


def test_turn_takes_all_four_directions_alike() -> None:
    mask = blocks(9, 9)
    results = apply(CHANGES["turn"], mask, 120)
    for image, labels in results:
        np.testing.assert_array_equal(image, COLORS[labels])
    rotate90 = [np.rot90(mask, quarters).tobytes() for quarters in range(4)]
    found = [rotate90.index(labels.tobytes()) for _, labels in results]
    assert_even(np.array(found), 4)


def test_changes_can_be_turned_off_one_by_one() -> None:
    mask = blocks(9, 9)

    def distinct(**kwargs: bool) -> set[bytes]:
        augment = train_augmentation((9, 9), scales=None, **kwargs)
        results = apply(augment, mask, 150)
        assert all(is_painted(*result) for result in results)
        return {labels.tobytes() for _, labels in results}

    turned = {np.rot90(mask, quarters).tobytes() for quarters in range(4)}
    flipped = {mask.tobytes(), mask[:, ::-1].tobytes()}
    assert distinct(flip=False) == {mask.tobytes()}
    assert distinct(flip=True) == flipped
    assert distinct(flip=False, rotate90=True) == turned
    # Flip and turn follow from independent seeds: all eight come up.
    assert len(distinct(flip=True, rotate90=True)) == 8


# === Scale ===


def test_factors_are_uniform_and_the_same_on_both_sides() -> None:
    size = (400, 600)
    change = train_augmentation((9, 9), (0.5, 2.0), flip=False)
    found = geometries(change, size, 300)
    factors = np.array([each.factors for each in found])
    assert_uniform(factors[:, 0], 0.5, 2.0)
    # Both sides are rounded to whole pixels.
    np.testing.assert_allclose(factors[:, 0], factors[:, 1], atol=1 / 400)
    sides = factors * size
    np.testing.assert_allclose(sides, np.round(sides), atol=0.02)
    assert max(abs(each.degrees) for each in found) < 1e-3


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ((250, 330), 512 / 250),
        ((330, 250), 512 / 250),
        ((100, 600), 2048 / 600),
    ],
)
def test_a_base_size_sets_what_a_factor_of_one_is(
    size: tuple[int, int], factor: float
) -> None:
    change = train_augmentation(
        (64, 64), (0.5, 1.5), base_size=(2048, 512), flip=False
    )
    found = geometries(change, size, 40)
    factors = np.array([each.factors[0] for each in found]) / factor
    assert 0.49 <= factors.min() < 0.7
    assert 1.3 < factors.max() <= 1.51
    change = train_augmentation((64, 64), None, base_size=(512, 2048))
    for each in geometries(change, size, 2):
        np.testing.assert_allclose(each.factors, factor, atol=0.5 / min(size))


def test_scaling_leaves_at_least_one_pixel() -> None:
    change = train_augmentation((3, 3), scales=(0.01, 0.01), flip=False)
    mask = np.full((5, 9), 4, "uint8")
    _, labels = change(COLORS[mask], mask, tf.constant([0, 0]))
    assert np.argwhere(labels != 255).tolist() == [[0, 0]]


# === Rotation ===


def test_angles_are_uniform_and_some_pictures_are_not_rotated() -> None:
    change = train_augmentation((24, 24), None, rotate=10.0)
    found = geometries(change, (64, 80), 800)
    degrees = np.array([each.degrees for each in found])
    rotated = np.abs(degrees) > 1e-3
    assert_share(rotated.sum(), 800, 1 / 2)
    assert_uniform(degrees[rotated], -10.0, 10.0)
    # Neither the mirror nor the place has a say.
    flipped = np.array([each.flipped for each in found])
    assert_share(flipped[rotated].sum(), rotated.sum(), 1 / 2)


# === Crop ===


@pytest.mark.parametrize("rotate", [0.0, 10.0])
@pytest.mark.parametrize(
    ("size", "crop"), [((26, 24), (22, 21)), ((26, 20), (24, 23))]
)
def test_every_place_comes_up_as_often(
    size: tuple[int, int], crop: tuple[int, int], rotate: float
) -> None:
    change = train_augmentation(crop, None, rotate=rotate)
    found = geometries(change, size, 600)
    starts = np.array([each.start for each in found])
    np.testing.assert_allclose(starts, np.round(starts), atol=1e-3)
    rooms = np.maximum(np.array(size) - crop, 0) + 1
    assert_even(np.round(starts), rooms.prod())
    assert starts.min() > -1e-3
    assert (starts.max(axis=0) < rooms - 1 + 1e-3).all()


@pytest.mark.parametrize("size", [(4, 5), (4, 3), (3, 5), (7, 9), (8, 8)])
def test_padding_is_below_and_to_the_right(size: tuple[int, int]) -> None:
    change = train_augmentation(size, None)
    height, width = min(4, size[0]), min(5, size[1])
    # Mirrored or not.
    for image, labels in apply(change, blocks(4, 5), 8):
        assert labels.shape == size
        assert is_painted(image, labels)
        assert (labels[height:] == 255).all()
        assert (labels[:, width:] == 255).all()
        assert (labels[:height, :width] != 255).all()


@pytest.mark.parametrize("size", [(4, 5), (5, 7), (6, 6), (3, 9)])
def test_padding_is_on_all_sides_where_it_is_centred(
    size: tuple[int, int],
) -> None:
    change = train_augmentation(size, None, center_padding=True)
    for _, labels in apply(change, blocks(4, 5), 8):
        for axis, side in ((0, 4), (1, 5)):
            found = np.flatnonzero((labels != 255).any(axis=1 - axis))
            # An odd pixel is below or to the right, as in semseg.
            first = max(size[axis] - side, 0) // 2
            last = first + min(side, size[axis])
            assert found.tolist() == list(range(first, last))


# === Balanced crops ===


def acceptable(window: np.ndarray, ratio: float) -> bool:
    """mmsegmentation's rule, in exact numbers."""
    _, counts = np.unique(window[window != 255], return_counts=True)
    return len(counts) > 1 and counts.max() / counts.sum() < ratio


def places(mask: np.ndarray, crop: tuple[int, int]) -> list[np.ndarray]:
    windows = np.lib.stride_tricks.sliding_window_view(mask, crop)
    return list(windows.reshape(-1, *crop))


def striped(special: int) -> np.ndarray:
    """Class 0, with a corner of another class and pixels without truth."""
    mask = np.zeros((12, 12), "uint8")
    mask[:4, :4] = special
    mask[::3, 1::4] = 255
    return mask


@pytest.mark.parametrize("ratio", slow_but([0.75], [0.6, 0.75, 0.9]))
def test_crops_are_balanced_as_often_as_ten_tries_make_them(
    ratio: float,
) -> None:
    mask, crop = striped(1), (5, 5)
    chance = np.mean([acceptable(each, ratio) for each in places(mask, crop)])
    # One in so many: that ten tries do not always find one.
    assert 0.03 < chance < 0.3
    change = train_augmentation(crop, None, cat_max_ratio=ratio)
    crops = [labels for _, labels in apply(change, mask, 600)]
    good = [acceptable(labels, ratio) for labels in crops]
    # The eleventh is taken unseen.
    assert_share(sum(good), 600, 1 - (1 - chance) ** 11)


def test_a_balanced_first_crop_is_taken() -> None:
    mask = striped(1)
    plain = train_augmentation((5, 5), None)
    chosen = train_augmentation((5, 5), None, cat_max_ratio=0.75)
    kept = replaced = 0
    for (image, labels), (image2, labels2) in zip(
        apply(plain, mask, 200), apply(chosen, mask, 200), strict=True
    ):
        same = np.array_equal(labels, labels2)
        if acceptable(labels, 0.75):
            np.testing.assert_array_equal(image, image2)
            assert same
            kept += 1
        replaced += not same
    assert kept >= 5
    assert replaced >= 50


def test_nothing_is_sought_where_nothing_can_be_found() -> None:
    # One class only; a picture that fills the crop; only ignored pixels.
    for mask, crop in (
        (np.full((9, 9), 3, "uint8"), (4, 4)),
        (striped(0), (20, 20)),
        (np.full((9, 9), 255, "uint8"), (4, 4)),
    ):
        change = train_augmentation(crop, None, cat_max_ratio=0.75)
        found = {labels.tobytes() for _, labels in apply(change, mask, 5)}
        classes = set(np.frombuffer(b"".join(found), "uint8").tolist())
        assert classes <= set(np.unique(mask).tolist()) | {255}


# === Blur and colors ===


def test_blur_smooths_every_other_crop_after_it_is_cut() -> None:
    mask = blocks(24, 22)
    plain = train_augmentation((9, 11))
    smooth = train_augmentation((9, 11), blur_probability=0.5)
    blurred = 0
    for (image, labels), (image2, labels2) in zip(
        apply(plain, mask, 100), apply(smooth, mask, 100), strict=True
    ):
        np.testing.assert_array_equal(labels, labels2)
        if not np.array_equal(image, image2):
            np.testing.assert_array_equal(image2, gaussian_blur(image))
            blurred += 1
    assert_share(blurred, 100, 1 / 2)


def test_colors_change_neither_labels_nor_padding() -> None:
    mask = blocks(5, 6)
    plain = train_augmentation((9, 11), (1.0, 1.5))
    colored = train_augmentation((9, 11), (1.0, 1.5), photometric=True)
    changed = 0
    for (image, labels), (image2, labels2) in zip(
        apply(plain, mask, 100), apply(colored, mask, 100), strict=True
    ):
        np.testing.assert_array_equal(labels, labels2)
        padding = labels == 255
        np.testing.assert_array_equal(image[padding], image2[padding])
        changed += not np.array_equal(image, image2)
    # Each of four changes is made half the time.
    assert_share(changed, 100, 15 / 16)


# === Errors ===


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"crop": (0, 9)}, r"`crop` must be two positive.*crop=\(0, 9\)"),
        ({"crop": (9,)}, r"`crop` must be two positive.*crop=\(9,\)"),
        ({"base_size": (0, 0)}, r"`base_size` must be two positive.*\(0, 0\)"),
        ({"scales": (0.0, 2.0)}, r"`scales` must be a least.*\(0.0, 2.0\)"),
        ({"scales": (2.0, 0.5)}, r"`scales` must be a least.*\(2.0, 0.5\)"),
        ({"scales": (1.0,)}, r"`scales` must be a least.*\(1.0,\)"),
        ({"scales": (1, math.inf)}, r"`scales` must be a least.*\(1, inf\)"),
        ({"rotate": -1.0}, r"`rotate` must be within 0..180.*rotate=-1.0"),
        ({"cat_max_ratio": 75}, r"`cat_max_ratio` must be within 0..1\..*=75"),
        (
            {"blur_probability": math.nan},
            r"`blur_probability` must be within 0..1\..*=nan",
        ),
        (
            {"crop": (2, 9), "blur_probability": 0.5},
            r"`crop` must be at least 3x3 to be blurred.*\(2, 9\)",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(
    kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_augmentation(**{"crop": (9, 9), **kwargs})
