"""Random changes to a picture and its mask, each a pure function of a seed.

Every function takes an image (H, W, 3) float32 in 0..255, its mask (H, W)
uint8 and a seed: an int32 tensor of shape (2,). The same seed always gives the
same result, in whatever order a pipeline calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_pspnet.losses import IGNORE_LABEL

# Where a crop reaches over the picture's edge: the mean of ImageNet, which
# the network sees as 0.
FILL = (123.675, 116.28, 103.53)

Augmentation = Callable[[Any, Any, Any], tuple[Any, Any]]


def random_flip(image: Any, mask: Any, seed: Any) -> tuple[Any, Any]:
    """Mirrors left and right with probability one half.

    Args:
        image: float32 (H, W, 3).
        mask: uint8 (H, W).
        seed: int32 (2,).

    Returns:
        Image and mask of the same shapes.
    """
    mirror = tf.random.stateless_uniform((), seed) < 0.5
    image = tf.where(mirror, image[:, ::-1], image)
    return image, tf.where(mirror, mask[:, ::-1], mask)


def random_turn(image: Any, mask: Any, seed: Any) -> tuple[Any, Any]:
    """Turns by 0, 90, 180 or 270 degrees: for pictures without an upside.

    Args:
        image: float32 (H, W, 3).
        mask: uint8 (H, W).
        seed: int32 (2,).

    Returns:
        Image and mask, height and width swapped by odd quarter turns.
    """
    quarters = tf.random.stateless_uniform((), seed, 0, 4, dtype=tf.int32)
    turned = tf.image.rot90(mask[..., None], quarters)[..., 0]
    return tf.image.rot90(image, quarters), turned


def random_scale(
    image: Any, mask: Any, seed: Any, scales: tuple[float, float]
) -> tuple[Any, Any]:
    """Resizes by one random factor, bilinear for the image.

    The mask is resized to the nearest label, at the same pixel centres.

    Args:
        image: float32 (H, W, 3).
        mask: uint8 (H, W).
        seed: int32 (2,).
        scales: Least and greatest factor.

    Returns:
        Image (h, w, 3) and mask (h, w), at least one pixel along each side.
    """
    factor = tf.random.stateless_uniform((), seed, *scales)
    sides = tf.cast(tf.shape(mask), tf.float32) * factor
    size = tf.maximum(tf.cast(tf.round(sides), tf.int32), 1)
    image = tf.image.resize(image, size)
    mask = tf.image.resize(mask[..., None], size, method="nearest")[..., 0]
    return image, mask


def random_crop(
    image: Any, mask: Any, seed: Any, size: tuple[int, int]
) -> tuple[Any, Any]:
    """Cuts a window of a fixed size at a random place.

    A picture smaller than the window is padded below and to the right, with
    the mean colour and the ignore label.

    Args:
        image: float32 (H, W, 3).
        mask: uint8 (H, W).
        seed: int32 (2,).
        size: (height, width) of the window.

    Returns:
        Image (height, width, 3) and mask (height, width).
    """
    missing = tf.maximum(tf.constant(size) - tf.shape(mask), 0)
    padding = [[0, missing[0]], [0, missing[1]]]
    image = tf.pad(image - FILL, [*padding, [0, 0]]) + FILL
    mask = tf.pad(mask, padding, constant_values=IGNORE_LABEL)
    room = tf.shape(mask) - tf.constant(size) + 1
    share = tf.random.stateless_uniform((2,), seed)
    start = tf.cast(share * tf.cast(room, tf.float32), tf.int32)
    # float32 may round the product up to `room` itself.
    top, left = tf.unstack(tf.minimum(start, room - 1))
    image = image[top : top + size[0], left : left + size[1]]
    mask = mask[top : top + size[0], left : left + size[1]]
    return (
        tf.ensure_shape(image, (*size, 3)),
        tf.ensure_shape(mask, size),
    )


def train_augmentation(
    crop: tuple[int, int],
    scales: tuple[float, float] | None = (0.5, 2.0),
    flip: bool = True,
    turns: bool = False,
) -> Augmentation:
    """Composes the changes of a training run.

    Args:
        crop: (height, width) of the crops.
        scales: Least and greatest factor of `random_scale`, or None.
        flip: Whether to mirror left and right.
        turns: Whether to turn by quarters.

    Returns:
        Function (image, mask, seed) -> (image, mask).
    """

    def augment(image: Any, mask: Any, seed: Any) -> tuple[Any, Any]:
        seeds = tf.random.experimental.stateless_split(seed, 4)
        if scales is not None:
            image, mask = random_scale(image, mask, seeds[0], scales)
        if turns:
            image, mask = random_turn(image, mask, seeds[1])
        image, mask = random_crop(image, mask, seeds[2], crop)
        if flip:
            image, mask = random_flip(image, mask, seeds[3])
        return image, mask

    return augment
