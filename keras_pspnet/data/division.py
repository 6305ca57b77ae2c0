"""Divides a set without a validation split."""

from __future__ import annotations

import functools

import numpy as np

from keras_pspnet.data.dataset import SegmentationData
from keras_pspnet.data.sources.encodings import count_values
from keras_pspnet.utils import check_rule


def class_counts(data: SegmentationData) -> np.ndarray:
    """Counts the pixels of each class in each mask.

    Args:
        data: The set, from `keras_pspnet.data.load`. Its images are not read.

    Returns:
        int64 (images, C).

    Raises:
        OSError: If a file cannot be opened.
        ValueError: If a mask cannot be decoded, or holds a value without a
            class.
    """
    counts = np.zeros((len(data), data.num_classes), np.int64)
    for index in range(len(data)):
        counts[index] = _counts_of(data, index)
    return counts


def _counts_of(data: SegmentationData, index: int) -> np.ndarray:
    sample = data.samples[index]
    mask = sample.ground_truth.read(sample.mask, data.max_pixels)
    return count_values(mask)[: data.num_classes]


def divide(
    data: SegmentationData, share: float, seed: int
) -> tuple[SegmentationData, SegmentationData]:
    """Divides the images of a set at random into training and validation.

    Every class has a training image: of a class that none would have, the
    first that was drawn goes back. Of the images that are not drawn, masks
    are read until they have shown all classes of those that are.

    Args:
        data: The set.
        share: Share 0..1 of the images for validation, at least one image.
        seed: Seed of the draw. The same files are always divided the same way.

    Returns:
        The training and the validation set, in the order of `data`.

    Raises:
        OSError: If a file cannot be opened.
        ValueError: If there are fewer than two images, training needs all of
            them, or a mask cannot be read.
    """
    count = len(data)
    check_rule("data", count, "hold two images, to divide them", count > 1)
    drawn = np.random.default_rng(seed).permutation(count)
    number = min(max(1, round(share * count)), count - 1)
    chosen, others = drawn[:number].tolist(), drawn[number:].tolist()

    @functools.cache
    def classes(index: int) -> frozenset[int]:
        return frozenset(np.flatnonzero(_counts_of(data, index)).tolist())

    missing = {label for index in chosen for label in classes(index)}
    for index in others:
        if not missing:
            break
        missing -= classes(index)
    while missing:
        label = min(missing)
        back = next(each for each in chosen if label in classes(each))
        chosen.remove(back)
        missing -= classes(back)
    rule = "have an image for validation whose classes others have, too"
    check_rule("data", data.form, rule, bool(chosen))
    rest = sorted(set(range(count)) - set(chosen))
    return data.take(rest), data.take(sorted(chosen))
