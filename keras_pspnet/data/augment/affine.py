"""Samples a crop of a scaled, rotated and flipped image in one step.

No image of full size is made in between: every pixel of the crop looks up
where it comes from, in loops that XLA compiles. Positions are (row, column)
in pixels, whole numbers at the pixels' centres, and float64, so that labels
are exact and a crop that is only cut out is a copy bit for bit.

Shrinking is plain bilinear sampling, as `cv2.resize` in semseg and
mmsegmentation does it, without a filter against aliasing: the networks of
this package see images resized like this at other scales, too. At factors
from 0.5 it differs less from the average over each pixel's area than
resizing and then rotating does (by 5.1, 3.9 and 2.9 of 255 at 0.5, 0.6 and
0.75, against 5.1, 4.2 and 3.2; root mean square on aerial photographs).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.utils.types import Tensor

# The mean of ImageNet, which the network sees as 0.
FILL = (123.675, 116.28, 103.53)
# Pixels that `flatten` leaves room for at least.
_SHORTEST = 2**16


class Placement(NamedTuple):
    """Where a crop lies in its source: position = linear @ pixel + offset.

    Args:
        linear: float64 (2, 2).
        offset: float64 (2,), the source position of the crop's first pixel.
    """

    linear: Tensor
    offset: Tensor


def place_crop(
    source: Tensor,
    scaled: Tensor,
    angle: Tensor,
    start: Tensor,
    flip: Tensor,
) -> Placement:
    """Composes the way back from a crop to its source.

    The source is resized to `scaled`, rotated about its middle within that
    size, flipped left and right, and cut at `start`.

    Args:
        source: int32 (2,), height and width of the source.
        scaled: int32 (2,), height and width after resizing.
        angle: float64 scalar, counter-clockwise, in radians.
        start: int32 (2,), row and column where the crop begins in that
            image; negative where it reaches over its top or left edge.
        flip: bool scalar, left to right.

    Returns:
        The placement.
    """
    source = tf.cast(source, tf.float64)
    scaled = tf.cast(scaled, tf.float64)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    rotation = tf.stack([[cosine, sine], [-sine, cosine]])
    linear = (source / scaled)[:, None] * rotation
    # The middle of an image stays its middle: halves of whole numbers, so
    # that nothing is rounded where nothing is scaled or rotated.
    first = tf.cast(start, tf.float64) - (scaled - 1) / 2
    linear *= tf.where(flip, tf.constant((1, -1), tf.float64), 1)
    return Placement(linear, (source - 1) / 2 + tf.linalg.matvec(linear, first))


def crop_positions(
    placement: Placement, crop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Gives the source position of every pixel of a crop.

    Args:
        placement: Where the crop lies.
        crop: (height, width) of the crop.

    Returns:
        Rows and columns, both float64 (height, width).
    """
    linear, offset = placement
    down = tf.range(crop[0], dtype=tf.float64)[:, None]
    along = tf.range(crop[1], dtype=tf.float64)
    rows = linear[0, 0] * down + offset[0] + linear[0, 1] * along
    columns = linear[1, 1] * along + offset[1] + linear[1, 0] * down
    return rows, columns


def flatten(image: Tensor) -> Tensor:
    """Lays an image's pixels out in a row, and zeros behind them.

    XLA compiles for every length: there are powers of two only, so that
    images of all sizes share a few programs.

    Args:
        image: (H, W), or (H, W, channels).

    Returns:
        (N,) or (N, channels) with N of at least H * W.
    """
    image = tf.convert_to_tensor(image)
    channels = image.shape[2:]
    count = tf.reduce_prod(tf.shape(image)[:2])
    bits = tf.math.log(tf.cast(count, tf.float64)) / math.log(2)
    length = tf.cast(
        tf.pow(tf.constant(2, tf.float64), tf.math.ceil(bits)), tf.int32
    )
    behind = (tf.maximum(length, _SHORTEST) - count) * math.prod(channels)
    values = tf.reshape(image, [-1])
    values = tf.concat([values, tf.zeros([behind], image.dtype)], 0)
    return tf.reshape(values, [-1, *channels])


@tf.function(autograph=False, jit_compile=True, reduce_retracing=True)
def sample_labels(
    labels: Tensor, size: Tensor, placement: Placement, crop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Takes the label of the pixel that each pixel of a crop lies in.

    A position lies in the image up to half a pixel beyond the outermost
    pixels' centres.

    Args:
        labels: uint8 (N,), as of `flatten`.
        size: int32 (2,), height and width of the image.
        placement: Where the crop lies.
        crop: (height, width) of the crop.

    Returns:
        uint8 (height, width), the ignore label beyond the image, and bool
        (height, width), whether a pixel lies in the image.
    """
    return _labels_at(labels, size, *crop_positions(placement, crop))


@tf.function(autograph=False, jit_compile=True, reduce_retracing=True)
def sample_pair(
    pixels: Tensor,
    labels: Tensor,
    size: Tensor,
    placement: Placement,
    crop: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Interpolates an image bilinearly, and takes its labels.

    Beyond the image the colors of its edge go on.

    Args:
        pixels: uint8 or float32 (N, bands), as of `flatten`.
        labels: uint8 (N,).
        size: int32 (2,), height and width of the image.
        placement: Where the crop lies.
        crop: (height, width) of the crop.

    Returns:
        float32 (height, width, bands), and what `sample_labels` returns.
    """
    rows, columns = crop_positions(placement, crop)
    image = _colors_at(pixels, size, rows, columns)
    return (image, *_labels_at(labels, size, rows, columns))


def fill(
    image: Tensor, inside: Tensor, mean: tuple[float, ...] = FILL
) -> Tensor:
    """Gives the mean color to what lies beyond the image.

    Args:
        image: float32 (height, width, bands).
        inside: bool (height, width), as of `sample_labels`.
        mean: The value of each band.

    Returns:
        float32 (height, width, bands).
    """
    return tf.cond(
        tf.reduce_all(inside),
        lambda: image,
        lambda: _where(inside, image, mean),
    )


@tf.function(autograph=False, jit_compile=True)
def _where(inside: Tensor, image: Tensor, mean: tuple[float, ...]) -> Tensor:
    return tf.where(inside[..., None], image, mean)


def _labels_at(
    labels: Tensor, size: Tensor, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor]:
    row, in_height = _pixel(rows, size[0])
    column, in_width = _pixel(columns, size[1])
    inside = in_height & in_width
    taken = tf.gather(labels, row * size[1] + column)
    return tf.where(inside, taken, tf.constant(IGNORE_LABEL, tf.uint8)), inside


def _colors_at(
    pixels: Tensor, size: Tensor, rows: Tensor, columns: Tensor
) -> Tensor:
    top, bottom, down = _neighbours(rows, size[0])
    left, right, along = _neighbours(columns, size[1])
    above, below = (
        _blend(
            tf.cast(tf.gather(pixels, row * size[1] + left), tf.float32),
            tf.cast(tf.gather(pixels, row * size[1] + right), tf.float32),
            along[..., None],
        )
        for row in (top, bottom)
    )
    return _blend(above, below, down[..., None])


def _pixel(position: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The pixel along one side, and whether the position is within it."""
    index = tf.cast(tf.floor(position + 0.5), tf.int32)
    inside = (index >= 0) & (index < size)
    return tf.clip_by_value(index, 0, size - 1), inside


def _neighbours(
    position: Tensor, size: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels a position lies between, and how far from the first."""
    last = tf.cast(size - 1, position.dtype)
    position = tf.clip_by_value(position, tf.zeros_like(last), last)
    whole = tf.floor(position)
    low = tf.cast(whole, tf.int32)
    share = tf.cast(position - whole, tf.float32)
    return low, tf.minimum(low + 1, size - 1), share


def _blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return first + share * (second - first)
