"""Samples a crop of a scaled, rotated and flipped image in one step.

There is no intermediate image of full size: every pixel of the crop looks up
its source position, in loops that XLA compiles. Positions are (row, column) in
pixels, with whole numbers at pixel centers. They are float64, so labels are
exact, and a crop without scaling or rotation is a bit-exact copy.

Downscaling is plain bilinear sampling without an antialiasing filter, as with
`cv2.resize` in semseg and mmsegmentation; the networks see images resized in
this way at other scales, too. At factors from 0.5 up, the result is closer to
the average over each pixel's area than resizing followed by rotation (off by
5.1, 3.9 and 2.9 of 255 at 0.5, 0.6 and 0.75, against 5.1, 4.2 and 3.2; root
mean square on aerial photographs).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.utils.types import Tensor

# The mean of ImageNet, which the network sees as 0.
FILL = (123.675, 116.28, 103.53)
# Minimum length of the result of `flatten`, in pixels.
_SHORTEST = 2**16


class Placement(NamedTuple):
    """Position of a crop in its source: position = linear @ pixel + offset.

    Args:
        linear: float64 (2, 2).
        offset: float64 (2,), source position of the first pixel of the crop.
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
    """Composes the mapping from a crop back to its source.

    The source is resized to `scaled`, rotated around its center within that
    size, flipped left to right, and cropped at `start`.

    Args:
        source: int32 (2,), height and width of the source.
        scaled: int32 (2,), height and width after resizing.
        angle: float64 scalar, counterclockwise, in radians.
        start: int32 (2,), row and column where the crop starts in that image;
            negative if it extends beyond the top or left edge.
        flip: bool scalar, whether to flip left to right.

    Returns:
        The placement.
    """
    source = tf.cast(source, tf.float64)
    scaled = tf.cast(scaled, tf.float64)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    rotation = tf.stack([[cosine, sine], [-sine, cosine]])
    linear = (source / scaled)[:, None] * rotation
    # The center of the image stays in place. It is a multiple of 1/2, so
    # without scaling and rotation nothing is rounded.
    first = tf.cast(start, tf.float64) - (scaled - 1) / 2
    linear *= tf.where(flip, tf.constant((1, -1), tf.float64), 1)
    return Placement(linear, (source - 1) / 2 + tf.linalg.matvec(linear, first))


def crop_positions(
    placement: Placement, crop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Returns the source position of every pixel of a crop.

    Args:
        placement: Position of the crop.
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
    """Flattens the pixels of an image, and pads them with zeros.

    XLA compiles a program for every length. Padding to powers of two lets
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
    """Samples the labels of a crop by the nearest pixel.

    The image extends half a pixel beyond the centers of its outer pixels.

    Args:
        labels: uint8 (N,), from `flatten`.
        size: int32 (2,), height and width of the image.
        placement: Position of the crop.
        crop: (height, width) of the crop.

    Returns:
        Labels, uint8 (height, width), with the ignore label outside the
        image; and bool (height, width), whether a pixel lies in the image.
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
    """Samples a crop of an image bilinearly, and its labels.

    Outside the image, the colors of its edge are repeated.

    Args:
        pixels: uint8 or float32 (N, bands), from `flatten`.
        labels: uint8 (N,).
        size: int32 (2,), height and width of the image.
        placement: Position of the crop.
        crop: (height, width) of the crop.

    Returns:
        float32 (height, width, bands), and the results of `sample_labels`.
    """
    rows, columns = crop_positions(placement, crop)
    image = _colors_at(pixels, size, rows, columns)
    return (image, *_labels_at(labels, size, rows, columns))


def fill(
    image: Tensor, inside: Tensor, mean: tuple[float, ...] = FILL
) -> Tensor:
    """Fills the pixels outside the image with the mean color.

    Args:
        image: float32 (height, width, bands).
        inside: bool (height, width), from `sample_labels`.
        mean: Value of each band.

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
    """Returns the pixel along one axis, and whether it is in the image."""
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
