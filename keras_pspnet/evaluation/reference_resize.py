"""Resizes images exactly as OpenCV and MATLAB do.

Published scores were measured on images that these two programs resized, each
with its own rounding and borders. The resizing inside networks is in
`layers.resize`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# OpenCV counts the weights of uint8 images in units of 1/2048.
_WEIGHT_ONE = 2048
# Numbers to sum at a time, so that they stay in the cache.
_BLOCK = 1 << 17


def opencv_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image or scores bilinearly, as OpenCV does.

    The result is that of `cv2.resize(image, (width, height),
    interpolation=cv2.INTER_LINEAR)`: samples at half-pixel centers, and no
    antialiasing, however small the result. uint8 images use OpenCV's
    fixed-point arithmetic and equal its result bit for bit. Floats equal it
    up to rounding.

    For floats, sample positions are exact with 1, 3 or 4 channels. They are
    rounded to float32 with other numbers of channels, or if a side is one
    pixel. This follows OpenCV's builds for x86 processors, which leave the
    former to Intel's IPP. Builds without IPP round all positions, which moves
    samples by at most 0.0001 pixels in images of up to 2048 pixels.

    Checked against opencv-python 4.5.5, 4.11.0 and 5.0.0 on x86-64, over a
    thousand sizes from 1 to 9000 pixels, upsampled, downsampled and halved:
    all uint8 values were equal, and floats to 3e-7 of the largest.

    Args:
        image: uint8 (H, W, 3), or float32 (H, W, C).
        size: (height, width) of the result in pixels.

    Returns:
        (height, width, C) of the same dtype.
    """
    height, width, channels = image.shape
    if (height, width) == tuple(size):
        return image
    if image.dtype == np.uint8:
        return _opencv_fixed_point(image, size)
    is_exact = channels in (1, 3, 4) and min(height, width) > 1
    precision = "float64" if is_exact else "float32"
    for axis in (1, 0):
        taps = _opencv_taps(image.shape[axis], size[axis], precision)
        image = _weighted_sums(image, axis, *taps)
    return image


def matlab_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image or scores bilinearly, as MATLAB does.

    The result is that of `imresize(image, [height width], 'bilinear')`. When
    a side shrinks, MATLAB widens the triangle of weights by the same factor
    as antialiasing. It resizes the side that shrinks more first, or the height
    if both shrink equally. uint8 images are rounded after each side, halves
    upwards.

    Samples outside the image are mirrored at its borders, as in MATLAB
    since R2015b at the latest; older versions repeated the outermost pixel.
    The two differ only if a side shrinks to less than a third.

    Checked without MATLAB, against images that it had shrunk with its bicubic
    kernel. With that kernel in place of the triangle, this code reproduced
    every pixel of one image from R2015b and, with the older borders, of 357
    images of a public benchmark. With the triangle, floats equal those of a
    port of `imresize` up to rounding. MATLAB's order of summation is not
    known. Reversing the order here changes one uint8 value in 100,000 by 1,
    where a sum is a half except for the rounding of its weights.

    Args:
        image: uint8 or float32 (H, W, C).
        size: (height, width) of the result in pixels.

    Returns:
        A new array (height, width, C) of the same dtype.
    """
    scales = [size[axis] / image.shape[axis] for axis in (0, 1)]
    for axis in np.argsort(scales, kind="stable"):
        taps = _matlab_taps(image.shape[axis], size[axis])
        image = _weighted_sums(image, axis, *taps)
    return image


def _opencv_taps(
    n_in: int, n_out: int, precision: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two samples around each result, and their weights.

    Returns:
        Indices and weights, both (2, n_out).
    """
    # The order of operations determines the last bit.
    scale = 1.0 / (n_out / n_in)
    position = (np.arange(n_out) + 0.5) * scale - 0.5
    position = position.astype(precision)
    low = np.floor(position)
    fraction = position - low
    index = low.astype("intp")
    return (
        np.clip([index, index + 1], 0, n_in - 1),
        np.stack([1 - fraction, fraction]),
    )


def _matlab_taps(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the samples under the triangle around each result.

    Returns:
        Indices and weights, both (taps, n_out).
    """
    scale = n_out / n_in
    shrink = min(scale, 1.0)
    reach = 1.0 / shrink
    # Counted from 1, as in MATLAB, so that the rounding is the same.
    center = np.arange(1, n_out + 1) / scale + 0.5 * (1 - 1 / scale)
    first = np.floor(center - reach)
    position = first + np.arange(np.ceil(2 * reach) + 2)[:, None]
    distance = np.abs(shrink * (center - position))
    weights = shrink * np.maximum(1.0 - distance, 0.0)
    weights /= weights.sum(axis=0)
    # The image and its mirror image, repeated.
    index = (position.astype("intp") - 1) % (2 * n_in)
    index = np.minimum(index, 2 * n_in - 1 - index)
    used = weights.any(axis=1)
    return index[used], weights[used]


def _weighted_sums(
    pixels: np.ndarray, axis: int, indices: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Sums weighted samples along one axis, the same ones in every line.

    Args:
        pixels: Array (H, W, C).
        axis: 0 or 1.
        indices: Indices of the samples of each result, (taps, n_out).
        weights: Their weights, (taps, n_out).

    Returns:
        Array of the dtype of `pixels`, with n_out samples along `axis`.
    """
    shape = list(pixels.shape)
    shape[axis] = indices.shape[1]
    result = np.empty(shape, pixels.dtype)
    is_integer = pixels.dtype == np.uint8
    weights = weights.astype("float64" if is_integer else pixels.dtype)
    weights = weights.reshape(*weights.shape, *(1,) * (2 - axis))
    step = max(1, _BLOCK // result[0].size)
    for start in range(0, len(result), step):
        rows = slice(start, start + step)
        total: Any = 0.0
        for index, weight in zip(indices, weights, strict=True):
            if axis == 0:
                total = total + pixels[index[rows]] * weight[rows]
            else:
                total = total + pixels[rows].take(index, axis=1) * weight
        # No sum is negative, so adding 0.5 and truncating rounds.
        result[rows] = total + 0.5 if is_integer else total
    return result


def _opencv_fixed_point(
    pixels: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Resizes uint8 in integers, with the right shifts of OpenCV."""
    (left, right), across = _fixed_point_taps(pixels.shape[1], size[1])
    (above, below), down = _fixed_point_taps(len(pixels), size[0])
    lines = pixels.take(left, axis=1) * across[0]
    lines += pixels.take(right, axis=1) * across[1]
    lines >>= 4
    first = lines[above] * down[0, :, None] >> 16
    second = lines[below] * down[1, :, None] >> 16
    return (first + second + 2 >> 2).astype("uint8")


def _fixed_point_taps(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns indices (2, n_out) and integer weights (2, n_out, 1)."""
    indices, weights = _opencv_taps(n_in, n_out, "float32")
    # Rounds halves to even.
    return indices, np.rint(weights * _WEIGHT_ONE).astype("int32")[..., None]
