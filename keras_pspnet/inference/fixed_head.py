"""The head for a known input size, in operations that every engine supports.

Accelerators support tensors of rank 4, convolutions with constant kernels,
pooling and resizing. They do not support products with a constant on the left,
which `keras_pspnet.layers` uses to multiply matrices. Here each matrix is the
kernel of a 1x1 convolution, after its axis is transposed to that of the
channels. The results are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_pspnet.layers import PyramidPoolingModule, Resize, spatial_size
from keras_pspnet.layers.resize import (
    adaptive_bins,
    adaptive_weights,
    interpolation_weights,
)
from keras_pspnet.layers.resize import resize as resize_by_products
from keras_pspnet.utils.types import Side, Size, Tensor


class FixedPyramid(PyramidPoolingModule):
    """A `PyramidPoolingModule` for inputs of a known size."""

    def _pool(self, x: Tensor) -> list[Tensor]:
        return pool(x, self.bin_sizes, self.pooling)

    def _upsample(self, pooled: Tensor, size: Size, bins: int) -> Tensor:
        return resize(pooled, size, self.align_corners)


class FixedResize(Resize):
    """A `Resize` for inputs of a known size."""

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, like = inputs
        return resize(x, spatial_size(like), self.align_corners)


def resize(x: Tensor, size: Size, align_corners: bool) -> Tensor:
    """Does the same as `keras_pspnet.layers.resize`, in one operation.

    Args:
        x: Float tensor (B, H, W, C).
        size: (height, width) of the result.
        align_corners: See `keras_pspnet.layers.interpolation_matrix`.

    Returns:
        Tensor (B, height, width, C) of the dtype of `x`.
    """
    if keras.backend.backend() != "tensorflow":
        # `keras.ops` has no `align_corners`; other backends do not export.
        return resize_by_products(x, size, align_corners)
    import tensorflow as tf

    resized = tf.raw_ops.ResizeBilinear(
        images=x,
        size=size,
        align_corners=align_corners,
        half_pixel_centers=not align_corners,
    )
    return ops.cast(resized, x.dtype)


def pool(x: Tensor, bin_sizes: Sequence[int], pooling: str) -> list[Tensor]:
    """Does the same as `keras_pspnet.layers.resize.adaptive_pool`.

    Args:
        x: Float tensor (B, H, W, C) of a known size.
        bin_sizes: Numbers of bins along each side.
        pooling: `"average"` or `"max"`.

    Returns:
        One tensor (B, bins, bins, C) for each bin size.
    """
    height, width = spatial_size(x)
    if pooling == "max":
        return [_max_side(_max_side(x, 1, bins), 2, bins) for bins in bin_sizes]
    if not bin_sizes:
        return []
    # All bin sizes share the one transposition of the large map.
    matrices = [_weights(height, bins) for bins in bin_sizes]
    rows = apply_along(x, 1, np.concatenate(matrices))
    ends = np.cumsum(bin_sizes).tolist()
    return [
        apply_along(rows[:, end - bins : end], 2, _weights(width, bins))
        for bins, end in zip(bin_sizes, ends, strict=True)
    ]


def _weights(side: Side, bins: int) -> np.ndarray:
    return np.asarray(adaptive_weights(side, bins))


def _max_side(x: Tensor, axis: int, bins: int) -> Tensor:
    bounds = map(np.asarray, adaptive_bins(x.shape[axis], bins))
    cells = []
    for start, end in zip(*bounds, strict=True):
        window = [1, 1]
        window[axis - 1] = int(end - start)
        seen = x[:, start:end] if axis == 1 else x[:, :, start:end]
        cells.append(
            ops.max_pool(
                seen, tuple(window), strides=1, data_format="channels_last"
            )
        )
    return ops.concatenate(cells, axis=axis)


def apply_along(x: Tensor, axis: int, matrix: np.ndarray) -> Tensor:
    """Multiplies a map by a constant matrix, along its rows or columns.

    Args:
        x: Float tensor (B, H, W, C).
        axis: 1 for the rows, 2 for the columns.
        matrix: Constant (n, H) or (n, W).

    Returns:
        Tensor (B, n, W, C) or (B, H, n, C).
    """
    last, back = (0, 1, 3, 2), (0, 1, 3, 2)
    if axis == 1:
        last, back = (0, 2, 3, 1), (0, 3, 1, 2)
    return ops.transpose(
        apply_to_channels(ops.transpose(x, last), matrix), back
    )


def apply_to_channels(x: Tensor, matrix: np.ndarray) -> Tensor:
    """Multiplies the last axis of (B, H, W, n) by a constant (m, n)."""
    kernel = matrix.T[None, None].astype("float32")
    kernel = ops.convert_to_tensor(kernel, dtype=x.dtype)
    return ops.conv(x, kernel, data_format="channels_last")


def convolve_upsampled(
    products: Sequence[Tensor], size: tuple[int, int], align_corners: bool
) -> Tensor:
    """Applies the taps of a 3x3 convolution to upsampled maps, and sums them.

    Args:
        products: Products of the taps with every bin: one tensor (B, b, b,
            9 * F) for each bin size b, its last axis ordered (dx, dy, F).
        size: (height, width) of the result.
        align_corners: How to upsample the maps.

    Returns:
        Tensor (B, H, W, F).
    """
    height, width = size
    rows, down = [], []
    for product in products:
        bins, filters = product.shape[1], product.shape[-1] // 9
        cells = ops.reshape(product, (-1, bins, 3 * bins, 3 * filters))
        # (B, b, (dy, F), W): the rows are still on the small grid.
        wide = apply_to_channels(
            ops.transpose(cells, (0, 1, 3, 2)),
            _shifted(bins, width, align_corners),
        )
        rows.append(ops.reshape(wide, (-1, 3 * bins, filters, width)))
        down.append(_shifted(bins, height, align_corners))
    # (B, W, F, (b, dy)): only the result is large when transposed.
    stacked = ops.transpose(ops.concatenate(rows, axis=1), (0, 3, 2, 1))
    result = apply_to_channels(stacked, np.concatenate(down, axis=1))
    return ops.transpose(result, (0, 3, 1, 2))


def _shifted(bins: int, size: int, align_corners: bool) -> np.ndarray:
    """Builds the upsampling that the taps of a zero-padded convolution see.

    The matrix is (size, 3 * bins), its columns ordered (bin, tap).
    """
    matrix = interpolation_weights(bins, size, align_corners)
    padded = np.pad(matrix, ((1, 1), (0, 0)))
    taps = [padded[tap : tap + size] for tap in range(3)]
    return np.stack(taps, axis=-1).reshape(size, -1)
