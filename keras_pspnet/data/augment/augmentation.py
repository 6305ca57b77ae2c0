"""Random changes to an image and its mask, each a pure function of a seed.

Every function takes an image (H, W, 3) in 0..255, uint8 or float32, or one of
other bands in float32, its mask (H, W) uint8 and a seed: an int32 tensor of
shape (2,). The same seed always gives the same result, in whatever order a
pipeline calls them.
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

# Crops that mmsegmentation looks at before it takes the next one unseen.
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
    """Composes the changes of a training run.

    The image is turned by quarters, scaled to a whole number of pixels,
    rotated about its middle, flipped, and cut at a place that is uniform
    over all pixels: apart from the quarter turns that is one sampling of the
    crop, see `data/affine.py`. Labels are those of the nearest pixels. Then
    the crop is blurred and its colors are changed. Where it reaches over the
    image it has the mean color and the ignore label, whatever else is
    changed.

    semseg rotates and blurs the whole image and crops last. Two things
    differ for it: the blur mirrors what is in the crop instead of seeing what
    lies beyond it, and where the image is smaller than the crop, its
    rotated corners are kept.

    Args:
        crop: (height, width) of the crops.
        scales: Least and greatest factor of random scaling, or None.
        flip: Whether to flip left and right, half the time.
        rotate90: Whether to turn by 0, 90, 180 or 270 degrees: for images
            without an upside.
        base_size: Longest and shortest side of the box that an image fills
            at factor 1, so that factors do not depend on the image's size;
            None keeps its own size at factor 1.
        rotate: Greatest angle of random rotation to either side, in degrees;
            every other image is rotated.
        cat_max_ratio: Share of the labelled pixels of a crop that every class
            has to stay below. Of ten random crops the first is taken that
            keeps to it; if there is none, an eleventh. 1 takes any crop.
        center_padding: Whether an image smaller than the crop lies in its
            middle (semseg) or at its top left (mmsegmentation).
        blur_probability: Share of the images that are blurred.
        photometric: Whether to change brightness, contrast, saturation and
            hue: see `random_distortion`. Only RGB has them.
        mean: The value of each band where a crop reaches over the image: the
            model's mean. Images must have as many bands.

    Returns:
        Function (image, mask, seed) -> (image, mask): float32
        (*crop, bands), RGB in 0..255, and uint8 (*crop).

    Raises:
        ValueError: If a size or range is not positive or a range is in the
            wrong order, `rotate` is not within 0..180, a share is not within
            0..1, the crop is too small to be blurred, or colors would be
            changed where there are none.

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
    rule = "be at least 3x3 where it is blurred"
    check_rule("crop", crop, rule, not (blur_probability and min(crop) < 3))

    padding = tuple(float(value) for value in mean)
    bands = len(padding)
    rule = f"be False for images of {bands} bands, which have no colors"
    check_rule("photometric", photometric, rule, not photometric or bands == 3)

    # All is TensorFlow's own; to look for Python's `if` takes seconds.
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
        # What one change draws does not depend on which others there are.
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
    """Turns by 0, 90, 180 or 270 degrees."""
    quarters = tf.random.stateless_uniform((), seed, 0, 4, dtype=tf.int32)
    turned = tf.image.rot90(mask[..., None], quarters)[..., 0]
    return tf.image.rot90(image, quarters), turned


def _fitting_factor(size: Tensor, base_size: tuple[int, int]) -> Tensor:
    """The factor at which an image just fits into (longest, shortest)."""
    longest, shortest = sorted(base_size, reverse=True)
    sides = tf.cast(size, tf.float32)
    return tf.minimum(
        longest / tf.reduce_max(sides), shortest / tf.reduce_min(sides)
    )


def _random_angle(seed: Tensor, rotate: float) -> Tensor:
    """Radians, float64; exactly 0 where nothing is rotated."""
    chance, turn = tf.unstack(
        tf.random.stateless_uniform((2,), seed, dtype=tf.float64)
    )
    angle = (2 * turn - 1) * math.radians(rotate)
    return tf.where(chance < 0.5, angle, tf.zeros_like(angle))


def _random_starts(
    seed: Tensor, scaled: Tensor, crop: tuple[int, int], center_padding: bool
) -> Tensor:
    """Where crops begin in the scaled image, int32 (_TRIES + 1, 2)."""
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
    """The start of the first crop that no class dominates, or the last."""

    def attempt(index: Tensor, balanced: Tensor) -> tuple[Tensor, Tensor]:
        balanced = _is_balanced(labels_at(starts[index]), cat_max_ratio)
        return index + tf.where(balanced, 0, 1), balanced

    # An image that fits into the crop leaves no choice.
    fixed = tf.reduce_all(starts == starts[0])
    index, _ = tf.while_loop(
        lambda index, balanced: (index < _TRIES) & ~balanced,
        attempt,
        (tf.constant(0), fixed),
    )
    return starts[index]


def _is_balanced(labels: Tensor, cat_max_ratio: float) -> Tensor:
    """Whether every class has less than so much of the labelled pixels."""
    counts = tf.math.bincount(
        tf.cast(labels, tf.int32), minlength=256, maxlength=256
    )
    counts = tf.cast(counts[:IGNORE_LABEL], tf.float64)
    return tf.reduce_max(counts) < cat_max_ratio * tf.reduce_sum(counts)
