"""Image operations of the serving graph: shrinking, windows, argmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_pspnet.layers import interpolation_matrix, spatial_size
from keras_pspnet.layers.resize import resize

# Rows that are upsampled at a time: the scores of a large image with many
# classes must not be in memory all at once.
_ROWS = 64


def rounded(sides: Any) -> Any:
    """Rounds float64 sides as Python does, to at least one pixel."""
    return tf.maximum(tf.cast(tf.round(sides), tf.int32), 1)


def shrink(images: Any, max_side: int | None) -> Any:
    """Downscales images to a longest side, keeping the aspect ratio.

    Args:
        images: float32 (B, H, W, 3).
        max_side: The longest side allowed; None keeps the size.

    Returns:
        float32 (B, h, w, 3).
    """
    if max_side is None:
        return images
    size = tf.shape(images)[1:3]
    longest = tf.reduce_max(size)

    def smaller() -> Any:
        factor = tf.cast(max_side / longest, tf.float64)
        small = tf.image.resize(
            images,
            rounded(tf.cast(size, tf.float64) * factor),
            antialias=True,
        )
        return tf.round(small)

    return tf.cond(longest > max_side, smaller, lambda: images)


def argmax_at(scores: Any, size: Any) -> Any:
    """Upsamples scores and takes the argmax of each pixel.

    Args:
        scores: float32 (B, h, w, C).
        size: int32 (H, W).

    Returns:
        uint8 (B, H, W).
    """
    height, width = spatial_size(scores)

    def same() -> Any:
        return tf.cast(tf.argmax(scores, axis=-1), tf.uint8)

    def upsampled() -> Any:
        wide = tf.matmul(interpolation_matrix(width, size[1]), scores)
        rows = interpolation_matrix(height, size[0])
        strips = -(-size[0] // _ROWS)
        missing = strips * _ROWS - size[0]
        rows = tf.reshape(
            tf.pad(rows, [[0, missing], [0, 0]]), [strips, _ROWS, height]
        )

        def strip(matrix: Any) -> Any:
            part = tf.einsum("rh,bhwc->brwc", matrix, wide)
            return tf.cast(tf.argmax(part, axis=-1), tf.uint8)

        mask = tf.map_fn(strip, rows, fn_output_signature=tf.uint8)
        mask = tf.transpose(mask, [1, 0, 2, 3])
        mask = tf.reshape(mask, [-1, strips * _ROWS, size[1]])
        return mask[:, : size[0]]

    equal = tf.reduce_all(tf.stack([height, width]) == size)
    return tf.cond(equal, same, upsampled)


def slide(
    logits: Callable[[Any], Any], images: Any, window: int, classes: int
) -> Any:
    """Averages the logits of square windows that cover the images.

    Windows start every two thirds of their side; the last ones end at the
    border. A smaller image is one window.

    Args:
        logits: The network, from (B, h, w, 3) to (B, h, w, C).
        images: float32 (B, H, W, 3).
        window: Side of a window.
        classes: C.

    Returns:
        float32 (B, H, W, C).
    """
    shape = tf.shape(images)
    size = shape[1:3]
    stride = -(-2 * window // 3)
    steps = tf.maximum(-(-(size - window) // stride), 0) + 1

    def bounds(index: Any) -> tuple[Any, Any]:
        place = tf.stack([index // steps[1], index % steps[1]]) * stride
        start = tf.maximum(tf.minimum(place, size - window), 0)
        return start, tf.minimum(start + window, size)

    def add(index: Any, total: Any, count: Any) -> Any:
        start, end = bounds(index)
        crop = images[:, start[0] : end[0], start[1] : end[1]]
        seen = resize(logits(crop), tf.unstack(end - start))
        around = [
            [0, 0],
            [start[0], size[0] - end[0]],
            [start[1], size[1] - end[1]],
            [0, 0],
        ]
        total += tf.pad(seen, around)
        count += tf.pad(tf.ones_like(seen[:1, ..., :1]), around)
        return index + 1, total, count

    _, total, count = tf.while_loop(
        lambda index, *_: index < tf.reduce_prod(steps),
        add,
        (
            tf.constant(0),
            tf.zeros(tf.concat([shape[:3], [classes]], 0)),
            tf.zeros(tf.stack([1, size[0], size[1], 1])),
        ),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None, None, None, classes]),
            tf.TensorShape([None, None, None, 1]),
        ),
        parallel_iterations=1,
    )
    return total / count
