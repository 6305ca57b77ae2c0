"""Random augmentation of an image and its mask, a pure function of a seed.

Every function takes an image, its mask (H, W) uint8, and a seed, an int32
tensor of shape (2,). Images are (H, W, 3) in 0..255, uint8 or float32, or
float32 with other bands. The same seed always gives the same result, in
whatever order a pipeline calls the functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_pspnet.data.augment.affine import (
    FILL,
    Placement,
    fill,
    flatten,
    place_crop,
    sample_labels,
    sample_pair,
)
from keras_pspnet.data.augment.photometric import random_blur, random_distortion
from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.utils import check_rule
from keras_pspnet.utils.types import Tensor

# Crops that mmsegmentation tries before it takes the next one unchecked.
_TRIES = 10

Augmentation = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def train_augmentation(
    crop: tuple[int, int],
    scales: tuple[float, float] | None = (0.5, 2.0),
    flip: bool = True,
    rotate90: bool = False,
    *,
    base_size: tuple[int, int] | None = None,
    rotate: float = 0.0,
    cat_max_ratio: float = 1.0,
    center_padding: bool = False,
    blur_probability: float = 0.0,
    photometric: bool = False,
    mean: Sequence[float] = FILL,
) -> Augmentation:
    """Composes the augmentation of a training run.

    It rotates the image by multiples of 90 degrees, scales it to a whole
    number of pixels, rotates it around its center, flips it, and crops it at
    a uniformly random position. Except for the multiples of 90 degrees, all
    of this is a single sampling step, see `data/augment/affine.py`. Labels
    come from the nearest pixels. Then it blurs the crop and changes its
    colors. Where the crop extends beyond the image, it always has the mean
    color and the ignore label.

    semseg rotates and blurs the whole image and crops last. This makes two
    differences: here the blur reflects the crop at its edge instead of using
    the pixels beyond, and the rotated corners of an image that is smaller
    than the crop are kept.

    Args:
        crop: (height, width) of the crops.
        scales: Smallest and largest factor of random scaling, or None.
        flip: Whether to flip half of the images left to right.
        rotate90: Whether to rotate by 0, 90, 180 or 270 degrees, for images
            that have no upright orientation.
        base_size: Longest and shortest side of a box. An image is fitted into
            it at factor 1, so that factors do not depend on the size of the
            image; None keeps the size of the image at factor 1.
        rotate: Maximum angle of random rotation in both directions, in
            degrees; half of the images are rotated.
        cat_max_ratio: Upper limit for the share of each class among the
            labeled pixels of a crop. The first of ten random crops that stays
            below it is taken, or else an eleventh. 1 takes any crop.
        center_padding: Whether an image smaller than the crop is placed at
            its center (semseg) or at its top left (mmsegmentation).
        blur_probability: Share of the images to blur.
        photometric: Whether to change brightness, contrast, saturation and
            hue, see `random_distortion`. Requires RGB.
        mean: Mean of each band of the model, which fills a crop beyond the
            image. Images must have this number of bands.

    Returns:
        Function (image, mask, seed) -> (image, mask): float32
        (*crop, bands), RGB in 0..255, and uint8 (*crop).

    Raises:
        ValueError: If a size or range is not positive, a range is in the
            wrong order, `rotate` is not within 0..180, a share is not within
            0..1, the crop is too small to blur, or `photometric` is used
            without RGB.

    Examples:
        >>> from keras_pspnet.data.augment import augmentation
        >>> change = augmentation.train_augmentation(crop=(24, 32), rotate=10.0)
        >>> image, mask = change(images[0], masks[0], (0, 7))  # seed 0, 7
        >>> image.shape, mask.shape
        (TensorShape([24, 32, 3]), TensorShape([24, 32]))
    """
    for name, size in (("crop", crop), ("base_size", base_size)):
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(
                f"`{name}` must be two positive numbers of pixels. "
                f"Received: {name}={size}"
            )
    if scales is not None and (
        len(scales) != 2 or not 0 < scales[0] <= scales[1] < math.inf
    ):
        raise ValueError(
            "`scales` must be a least and a greatest positive number. "
            f"Received: scales={scales}"
        )
    for name, value, greatest in (
        ("rotate", rotate, 180),
        ("cat_max_ratio", cat_max_ratio, 1),
        ("blur_probability", blur_probability, 1),
    ):
        if not 0 <= value <= greatest:
            raise ValueError(
                f"`{name}` must be within 0..{greatest}. "
                f"Received: {name}={value}"
            )
    rule = "be at least 3x3 to be blurred"
    check_rule("crop", crop, rule, not (blur_probability and min(crop) < 3))

    padding = tuple(float(value) for value in mean)
    bands = len(padding)
    rule = f"be False for images of {bands} bands, which have no colors"
    check_rule("photometric", photometric, rule, not photometric or bands == 3)

    # There is no Python control flow, and converting takes seconds.
    @tf.autograph.experimental.do_not_convert
    def augment(
        image: Tensor, mask: Tensor, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
        if image.shape[-1] != bands:
            raise ValueError(
                f"`image` must have {bands} bands, as `mean` has. "
                f"Received: image of shape {tuple(image.shape)}"
            )
        # Each change draws the same numbers, whichever others are enabled.
        seeds = tf.random.experimental.stateless_split(seed, 8)
        if rotate90:
            image, mask = _random_rotate90(image, mask, seeds[1])
        size = tf.shape(mask)
        factor = tf.ones(())
        if scales is not None:
            factor = tf.random.stateless_uniform((), seeds[0], *scales)
        if base_size is not None:
            factor *= _fitting_factor(size, base_size)
        scaled = tf.round(tf.cast(size, tf.float32) * factor)
        scaled = tf.maximum(tf.cast(scaled, tf.int32), 1)
        starts = _random_starts(seeds[2], scaled, crop, center_padding)
        flipped = tf.random.stateless_uniform((), seeds[3]) < 0.5
        angle = _random_angle(seeds[5], rotate)

        def place(start: Tensor) -> Placement:
            return place_crop(size, scaled, angle, start, flipped & flip)

        labels = flatten(mask)

        def labels_at(start: Tensor) -> Tensor:
            return sample_labels(labels, size, place(start), crop)[0]

        start = starts[0]
        if cat_max_ratio < 1:
            start = _first_balanced(starts, labels_at, cat_max_ratio)
        image, mask, inside = sample_pair(
            flatten(image), labels, size, place(start), crop
        )
        if blur_probability:
            image = random_blur(image, seeds[6], blur_probability)
        if photometric:
            image = random_distortion(image, seeds[7])
        return fill(image, inside, padding), mask

    return augment


def _random_rotate90(
    image: Tensor, mask: Tensor, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """Rotates by 0, 90, 180 or 270 degrees."""
    quarters = tf.random.stateless_uniform((), seed, 0, 4, dtype=tf.int32)
    turned = tf.image.rot90(mask[..., None], quarters)[..., 0]
    return tf.image.rot90(image, quarters), turned


def _fitting_factor(size: Tensor, base_size: tuple[int, int]) -> Tensor:
    """Returns the factor that fits an image into (longest, shortest)."""
    longest, shortest = sorted(base_size, reverse=True)
    sides = tf.cast(size, tf.float32)
    return tf.minimum(
        longest / tf.reduce_max(sides), shortest / tf.reduce_min(sides)
    )


def _random_angle(seed: Tensor, rotate: float) -> Tensor:
    """Returns an angle in radians, float64; exactly 0 for no rotation."""
    chance, turn = tf.unstack(
        tf.random.stateless_uniform((2,), seed, dtype=tf.float64)
    )
    angle = (2 * turn - 1) * math.radians(rotate)
    return tf.where(chance < 0.5, angle, tf.zeros_like(angle))


def _random_starts(
    seed: Tensor, scaled: Tensor, crop: tuple[int, int], center_padding: bool
) -> Tensor:
    """Returns starts of crops in the scaled image, int32 (_TRIES + 1, 2)."""
    room = tf.maximum(scaled - crop, 0) + 1
    share = tf.random.stateless_uniform((_TRIES + 1, 2), seed)
    start = tf.cast(share * tf.cast(room, tf.float32), tf.int32)
    # float32 may round the product up to `room` itself.
    start = tf.minimum(start, room - 1)
    if center_padding:
        start -= tf.maximum(crop - scaled, 0) // 2
    return start


def _first_balanced(
    starts: Tensor, labels_at: Callable[[Tensor], Tensor], cat_max_ratio: float
) -> Tensor:
    """Returns the start of the first balanced crop, or the last start."""

    def attempt(index: Tensor, balanced: Tensor) -> tuple[Tensor, Tensor]:
        balanced = _is_balanced(labels_at(starts[index]), cat_max_ratio)
        return index + tf.where(balanced, 0, 1), balanced

    # An image that fits into the crop has only one position.
    fixed = tf.reduce_all(starts == starts[0])
    index, _ = tf.while_loop(
        lambda index, balanced: (index < _TRIES) & ~balanced,
        attempt,
        (tf.constant(0), fixed),
    )
    return starts[index]


def _is_balanced(labels: Tensor, cat_max_ratio: float) -> Tensor:
    """Tells whether each class's share of labeled pixels is below a limit."""
    counts = tf.math.bincount(
        tf.cast(labels, tf.int32), minlength=256, maxlength=256
    )
    counts = tf.cast(counts[:IGNORE_LABEL], tf.float64)
    return tf.reduce_max(counts) < cat_max_ratio * tf.reduce_sum(counts)
