"""Changes the colors and sharpness of an image; labels stay the same.

Images are float32 RGB (H, W, 3) and stay within 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_pspnet.utils.types import Tensor

# What `cv2.GaussianBlur(image, (5, 5), 0)` uses, as semseg calls it. OpenCV
# has fixed kernels of up to 7 weights; its rule, which would give a sigma of
# 1.1, is for longer ones.
BLUR_KERNEL = (0.0625, 0.25, 0.375, 0.25, 0.0625)

# The defaults of mmsegmentation's PhotoMetricDistortion. Hue in degrees.
BRIGHTNESS = (-32.0, 32.0)
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = (-36.0, 36.0)


def gaussian_blur(
    image: Tensor, kernel: Sequence[float] = BLUR_KERNEL
) -> Tensor:
    """Smooths an image along both axes, reflected at its edges.

    Args:
        image: float32 (H, W, bands), with both sides longer than half the
            kernel.
        kernel: Odd number of weights that sum to 1.

    Returns:
        float32 (H, W, bands).
    """
    kernel = tuple(map(float, kernel))
    image = tf.convert_to_tensor(image)
    height, width, channels = image.shape
    image = tf.reshape(image, (height, -1))
    image = _smooth_down(image, kernel)
    image = _smooth_along(image, kernel, channels)
    return tf.reshape(image, (height, width, channels))


@tf.function(autograph=False, jit_compile=True)
def _smooth_down(rows: Tensor, kernel: tuple[float, ...]) -> Tensor:
    margin = len(kernel) // 2
    last = rows.shape[0] - 1
    place = np.abs(np.arange(-margin, last + margin + 1))
    place = last - np.abs(last - place)
    # Looking up the rows takes half the time of a padded copy.
    return sum(
        weight * tf.gather(rows, place[k : k + last + 1])
        for k, weight in enumerate(kernel)
    )


@tf.function(autograph=False, jit_compile=True)
def _smooth_along(
    rows: Tensor, kernel: tuple[float, ...], channels: int
) -> Tensor:
    """Smooths rows of interleaved channels."""
    margin = len(kernel) // 2
    height, length = rows.shape
    pixels = tf.reshape(rows, (height, -1, channels))
    pixels = tf.pad(pixels, [[0, 0], [margin, margin], [0, 0]], "REFLECT")
    # Long rows of numbers take a third of the time of short rows of channels.
    rows = tf.reshape(pixels, (height, -1))
    return sum(
        weight * rows[:, k * channels : k * channels + length]
        for k, weight in enumerate(kernel)
    )


def random_blur(image: Tensor, seed: Tensor, probability: float) -> Tensor:
    """Applies `gaussian_blur` to a random share of the images.

    semseg's RandomGaussianBlur has a probability of 0.5.

    Args:
        image: float32 (H, W, bands).
        seed: int32 (2,).
        probability: Share of the images to blur.

    Returns:
        float32 (H, W, bands).
    """
    chosen = tf.random.stateless_uniform((), seed) < probability
    return tf.cond(chosen, lambda: gaussian_blur(image), lambda: image)


def distort(
    image: Tensor,
    brightness: float | Tensor = 0.0,
    contrast: float | Tensor = 1.0,
    saturation: float | Tensor = 1.0,
    hue: float | Tensor = 0.0,
    contrast_first: bool | Tensor = True,
) -> Tensor:
    """Changes brightness, contrast, saturation and hue, in this order.

    Every result is clipped to 0..255, and the saturation to the maximum for
    the same hue and value.

    Args:
        image: float32 (H, W, 3) in 0..255.
        brightness: Float scalar to add.
        contrast: Float scalar to multiply by.
        saturation: Float scalar to multiply the HSV saturation by.
        hue: Float scalar, degrees to add to the HSV hue.
        contrast_first: bool scalar, whether contrast comes before saturation
            or last.

    Returns:
        float32 (H, W, 3) in 0..255.
    """

    def scaled(image: Tensor, now: bool | Tensor) -> Tensor:
        return _clip(image * tf.where(now, contrast, 1.0))

    image = scaled(_clip(image + brightness), contrast_first)
    # Each of these takes as long as sampling the whole crop.
    image = tf.cond(
        tf.equal(saturation, 1.0),
        lambda: image,
        lambda: tf.image.adjust_saturation(image, saturation),
    )
    image = tf.cond(
        tf.equal(hue, 0.0),
        lambda: image,
        lambda: tf.image.adjust_hue(image, hue * (1 / 360)),
    )
    return scaled(image, tf.logical_not(contrast_first))


def random_distortion(image: Tensor, seed: Tensor) -> Tensor:
    """Applies each change of `distort` with a probability of one half.

    This is mmsegmentation's PhotoMetricDistortion with its default ranges:
    -32..32 for brightness, factors of 0.5..1.5 for contrast and saturation,
    and -36..36 degrees of hue; contrast comes first or last. There, values are
    uint8, truncated after every change, with 180 hues and 256 saturations.
    Here nothing is rounded.

    Args:
        image: float32 (H, W, 3) in 0..255.
        seed: int32 (2,).

    Returns:
        float32 (H, W, 3) in 0..255.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    *made, first = tf.unstack(tf.random.stateless_uniform((5,), seeds[0]) < 0.5)
    low, high = tf.unstack(
        tf.constant((BRIGHTNESS, CONTRAST, SATURATION, HUE)), axis=1
    )
    amounts = tf.random.stateless_uniform((4,), seeds[1], low, high)
    brightness, contrast, saturation, hue = tf.unstack(
        tf.where(tf.stack(made), amounts, (0.0, 1.0, 1.0, 0.0))
    )
    return distort(image, brightness, contrast, saturation, hue, first)


def _clip(image: Tensor) -> Tensor:
    return tf.clip_by_value(image, 0.0, 255.0)
