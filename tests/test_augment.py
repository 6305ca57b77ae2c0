"""Tests of random changes: picture and mask stay together, seeds decide.

Pictures are painted with their masks' labels, so that any pixel tells which
label belongs to it, after whatever change.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import tensorflow as tf

from keras_pspnet.data.augment import (
    FILL,
    random_crop,
    random_flip,
    random_scale,
    random_turn,
    train_augmentation,
)

# A colour for every label; 255 is what a crop pads with.
COLORS = np.random.default_rng(1).uniform(0, 255, (256, 3)).astype("float32")
COLORS[255] = FILL

CHANGES = {
    "flip": random_flip,
    "turn": random_turn,
    "scale": lambda image, mask, seed: random_scale(
        image, mask, seed, (0.5, 2.0)
    ),
    "crop": lambda image, mask, seed: random_crop(image, mask, seed, (6, 5)),
    "train": train_augmentation((14, 11), turns=True),
}


def blocks(
    rows: int, columns: int, side: int = 1, count: int = 200
) -> np.ndarray:
    """A mask of square blocks; without repetition while labels last."""
    rng = np.random.default_rng(rows * 100 + columns)
    labels = rng.permutation(count)[np.arange(rows * columns) % count]
    mask = labels.reshape(rows, columns).astype("uint8")
    return mask.repeat(side, axis=0).repeat(side, axis=1)


def apply(
    change: Callable[..., Any], mask: np.ndarray, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The change under `count` seeds, in a pipeline as training runs it."""
    dataset = tf.data.Dataset.range(count).map(
        lambda k: change(COLORS[mask], mask, tf.stack([7, tf.cast(k, "int32")]))
    )
    return [(image.numpy(), labels.numpy()) for image, labels in dataset]


def is_painted(image: np.ndarray, mask: np.ndarray) -> bool:
    """Whether every pixel has the colour of its label."""
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


# === All changes ===


@pytest.mark.parametrize("name", CHANGES)
def test_the_seed_decides_and_nothing_else(name: str) -> None:
    mask = blocks(9, 13)
    first = apply(CHANGES[name], mask, 12)
    again = apply(CHANGES[name], mask, 12)
    for (image, labels), (image2, labels2) in zip(first, again, strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(labels, labels2)
    results = {(labels.shape, labels.tobytes()) for _, labels in first}
    assert len(results) > 1


@pytest.mark.parametrize("name", CHANGES)
def test_sizes_known_only_at_run_time_change_nothing(name: str) -> None:
    mask = blocks(7, 12)
    graph = tf.function(
        CHANGES[name],
        input_signature=[
            tf.TensorSpec((None, None, 3), tf.float32),
            tf.TensorSpec((None, None), tf.uint8),
            tf.TensorSpec((2,), tf.int32),
        ],
    )
    seed = tf.constant([3, 4])
    image, labels = CHANGES[name](COLORS[mask], mask, seed)
    image2, labels2 = graph(COLORS[mask], mask, seed)
    assert image2.dtype == tf.float32
    assert labels2.dtype == tf.uint8
    np.testing.assert_allclose(image, image2, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(labels, labels2)


# === Flip and turn ===


def test_flip_mirrors_every_other_picture() -> None:
    mask = blocks(5, 7)
    results = apply(random_flip, mask, 100)
    assert all(is_painted(*result) for result in results)
    mirrored = [np.array_equal(labels, mask[:, ::-1]) for _, labels in results]
    kept = [np.array_equal(labels, mask) for _, labels in results]
    assert sum(mirrored) + sum(kept) == 100
    # Six standard deviations around one half.
    assert 20 <= sum(mirrored) <= 80


def test_turn_takes_all_four_directions_alike() -> None:
    mask = blocks(5, 7)
    results = apply(random_turn, mask, 120)
    assert all(is_painted(*result) for result in results)
    turns = [np.rot90(mask, quarters) for quarters in range(4)]
    counts = [
        sum(np.array_equal(labels, turned) for _, labels in results)
        for turned in turns
    ]
    assert sum(counts) == 120
    assert min(counts) >= 10


# === Scale ===


def test_scale_samples_pixel_centres_as_the_definition_says() -> None:
    # Odd sides: no sample falls between two labels.
    mask = blocks(9, 13)
    for image, labels in apply(CHANGES["scale"], mask, 8):
        height, width = labels.shape
        rows = (2 * np.arange(height) + 1) * 9 // (2 * height)
        columns = (2 * np.arange(width) + 1) * 13 // (2 * width)
        np.testing.assert_array_equal(labels, mask[rows][:, columns])
        want = reference.bilinear(COLORS[mask][None], (height, width))[0]
        np.testing.assert_allclose(image, want, rtol=0, atol=1e-2)


def test_scale_keeps_labels_and_their_places() -> None:
    mask = blocks(3, 5, side=9)
    for image, labels in apply(CHANGES["scale"], mask, 20):
        assert set(np.unique(labels)) == set(np.unique(mask))
        inside = interior(labels, 1)
        assert inside.mean() > 0.2
        assert is_painted(image[inside][None], labels[inside][None])


def test_scale_covers_its_range_and_keeps_the_aspect() -> None:
    mask = blocks(60, 90)
    sizes = np.array(
        [labels.shape for _, labels in apply(CHANGES["scale"], mask, 100)]
    )
    factors = sizes / (60, 90)
    assert 0.5 <= factors.min() < 0.6
    assert 1.85 < factors.max() <= 2.0
    # Both sides are rounded to whole pixels.
    assert np.abs(factors[:, 0] - factors[:, 1]).max() <= 0.5 / 60 + 0.5 / 90


def test_scale_leaves_at_least_one_pixel() -> None:
    image, labels = random_scale(
        COLORS[[[4]]], np.uint8([[4]]), tf.constant([0, 0]), (0.25, 0.25)
    )
    assert is_painted(image.numpy(), labels.numpy())
    assert labels.shape == (1, 1)


# === Crop ===


def test_crop_reaches_every_place_and_every_corner() -> None:
    mask = blocks(6, 8)
    windows = {
        mask[top : top + 4, left : left + 5].tobytes(): (top, left)
        for top in range(3)
        for left in range(4)
    }
    results = apply(
        lambda image, mask, seed: random_crop(image, mask, seed, (4, 5)),
        mask,
        240,
    )
    assert all(is_painted(*result) for result in results)
    found = [windows[labels.tobytes()] for _, labels in results]
    # Twelve places, 20 times each on average.
    assert len(set(found)) == 12
    assert max(found.count(place) for place in set(found)) <= 45


@pytest.mark.parametrize("size", [(4, 5), (4, 3), (3, 5), (7, 9)])
def test_crop_pads_below_and_to_the_right(size: tuple[int, int]) -> None:
    mask = blocks(4, 5)
    image, labels = random_crop(COLORS[mask], mask, tf.constant([2, 3]), size)
    assert labels.shape == size
    assert is_painted(image.numpy(), labels.numpy())
    height, width = min(4, size[0]), min(5, size[1])
    assert (labels.numpy()[height:] == 255).all()
    assert (labels.numpy()[:, width:] == 255).all()
    assert (labels.numpy()[:height, :width] != 255).all()


def test_crop_of_a_large_picture_in_one_direction_only() -> None:
    mask = blocks(11, 3)
    for image, labels in apply(CHANGES["crop"], mask, 30):
        assert labels.shape == (6, 5)
        assert is_painted(image, labels)
        start = np.flatnonzero(mask[:, 0] == labels[0, 0])[0]
        np.testing.assert_array_equal(labels[:, :3], mask[start : start + 6])


# === Composition ===


def test_training_changes_stay_together() -> None:
    mask = blocks(4, 5, side=12)
    sizes_seen = set()
    for image, labels in apply(CHANGES["train"], mask, 30):
        assert image.shape == (14, 11, 3)
        assert labels.shape == (14, 11)
        assert set(np.unique(labels)) <= set(np.unique(mask)) | {255}
        inside = interior(labels, 1)
        assert is_painted(image[inside][None], labels[inside][None])
        sizes_seen.add(len(np.unique(labels)))
    assert len(sizes_seen) > 1


def test_padding_of_a_small_picture_is_told_from_the_picture() -> None:
    augment = train_augmentation((40, 50), scales=(0.5, 1.0))
    for image, labels in apply(augment, blocks(2, 3, side=9), 10):
        assert (labels == 255).any()
        assert np.allclose(image[labels == 255], FILL, rtol=0, atol=1e-3)


def test_training_changes_can_be_turned_off_one_by_one() -> None:
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
    assert distinct(flip=False, turns=True) == turned
    # Flip and turn follow from independent seeds: all eight come up.
    assert len(distinct(flip=True, turns=True)) == 8
