"""Divides a set without a validation split."""

from __future__ import annotations

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
    for index, sample in enumerate(data.samples):
        mask = sample.ground_truth.read(sample.mask, data.max_pixels)
        counts[index] = count_values(mask)[: data.num_classes]
    return counts


def divide(
    data: SegmentationData, share: float, seed: int
) -> tuple[SegmentationData, SegmentationData]:
    """Divides the images of a set at random into training and validation.

    Every class keeps a training image: if all images of a class were drawn
    for validation, the first of them goes back to training.

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
    chosen = drawn[: min(max(1, round(share * count)), count - 1)].tolist()
    present = class_counts(data) > 0
    for label in range(data.num_classes):
        with_class = np.flatnonzero(present[:, label])
        if len(with_class) and set(with_class) <= set(chosen):
            chosen.remove(next(each for each in chosen if each in with_class))
    rule = "have an image for validation whose classes others have, too"
    check_rule("data", data.form, rule, bool(chosen))
    rest = sorted(set(range(count)) - set(chosen))
    return data.take(rest), data.take(sorted(chosen))
