"""Bilinear resizing and adaptive pooling as small matrix products.

The same formula works for sizes known at build time or only at run time, for
both sampling conventions, and in every export format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeGuard

import keras
import numpy as np
from keras import ops

from keras_pspnet.utils.types import Shape, Side, Size, Tensor


def interpolation_matrix(
    in_size: Side,
    out_size: Side,
    align_corners: bool = False,
    dtype: str = "float32",
) -> Tensor:
    """Builds the matrix of one-dimensional bilinear resizing.

    Args:
        in_size: Number of samples before resizing: an int, or a scalar
            integer tensor where the size is known only at run time.
        out_size: Number of samples after resizing, likewise.
        align_corners: True aligns the first and last samples of both grids
            (Caffe, semseg); False uses half-pixel centers (PyTorch's and
            TensorFlow 2's default).
        dtype: Floating dtype of the result.

    Returns:
        Tensor of shape (out_size, in_size); every row sums to 1.

    Examples:
        >>> from keras_pspnet.layers.resize import interpolation_matrix
        >>> keras.ops.convert_to_numpy(interpolation_matrix(2, 3, True))
        array([[1. , 0. ],
               [0.5, 0.5],
               [0. , 1. ]], dtype=float32)
    """
    weights = interpolation_weights(in_size, out_size, align_corners)
    return ops.convert_to_tensor(weights, dtype=dtype)


def interpolation_weights(
    in_size: Side, out_size: Side, align_corners: bool = False
) -> Tensor:
    """Computes the values of `interpolation_matrix`.

    Args:
        in_size: See `interpolation_matrix`.
        out_size: See `interpolation_matrix`.
        align_corners: See `interpolation_matrix`.

    Returns:
        A float64 NumPy array if both sizes are ints, else a float32 tensor.
    """
    xp, as_float = _library(in_size, out_size)
    n_in, n_out = as_float(in_size), as_float(out_size)
    source, out = as_float(xp.arange(in_size)), as_float(xp.arange(out_size))
    if align_corners:
        position = out * ((n_in - 1.0) / xp.maximum(n_out - 1.0, 1.0))
    else:
        position = (out + 0.5) * (n_in / n_out) - 0.5
    position = xp.minimum(xp.maximum(position, 0.0), n_in - 1.0)
    distance = xp.abs(position[:, None] - source[None, :])
    # A triangle around each position.
    return xp.maximum(1.0 - distance, 0.0)


def _library(
    *sizes: Side,
) -> tuple[ModuleType, Callable[[Tensor | Side], Tensor]]:
    """Returns the array library for a matrix, and its conversion to floats.

    NumPy computes matrices of known sizes in float64, which makes them
    constants of graphs; `keras.ops` computes the others in float32 at run
    time.
    """
    if all(isinstance(size, int) for size in sizes):
        return np, lambda values: np.asarray(values, "float64")
    return ops, lambda values: ops.cast(values, "float32")


def adaptive_pooling_matrix(
    size: Side, bins: int, dtype: str = "float32"
) -> Tensor:
    """Builds the matrix of one-dimensional adaptive average pooling.

    Bin i averages the samples floor(i*size/bins) .. ceil((i+1)*size/bins), so
    neighboring bins may share a sample and `bins` may exceed `size`.

    Args:
        size: Number of samples: an int or a scalar integer tensor.
        bins: Number of bins.
        dtype: Floating dtype of the result.

    Returns:
        Tensor of shape (bins, size); every row sums to 1.

    Examples:
        >>> from keras_pspnet.layers.resize import adaptive_pooling_matrix
        >>> keras.ops.convert_to_numpy(adaptive_pooling_matrix(3, 2))
        array([[0.5, 0.5, 0. ],
               [0. , 0.5, 0.5]], dtype=float32)
    """
    return ops.convert_to_tensor(adaptive_weights(size, bins), dtype=dtype)


def adaptive_weights(size: Side, bins: int) -> Tensor:
    """Computes the values of `adaptive_pooling_matrix`.

    Args:
        size: See `adaptive_pooling_matrix`.
        bins: See `adaptive_pooling_matrix`.

    Returns:
        A float64 NumPy array if the size is an int, else a float32 tensor.
    """
    xp, as_float = _library(size)
    inside = as_float(_bin_membership(size, bins))
    return inside / xp.sum(inside, axis=1, keepdims=True)


def adaptive_bins(size: Side, bins: int) -> tuple[Tensor, Tensor]:
    """Returns where each adaptive bin starts and ends.

    Args:
        size: Number of samples: an int or a scalar integer tensor.
        bins: Number of bins.

    Returns:
        Two integer arrays or tensors (bins,): the first sample of each bin,
        and the one after its last.
    """
    xp, _ = _library(size)
    # As sizes are; `keras.ops` would make int64 where floatx is float64.
    index = xp.arange(bins, dtype="int32")
    start = (index * size) // bins
    return start, ((index + 1) * size + bins - 1) // bins


def _bin_membership(size: Side, bins: int) -> Tensor:
    """Tells which samples each adaptive bin covers: bool (bins, size)."""
    xp, _ = _library(size)
    start, end = adaptive_bins(size, bins)
    sample = xp.arange(size, dtype="int32")[None, :]
    return xp.logical_and(sample >= start[:, None], sample < end[:, None])


def spatial_size(x: Tensor) -> Size:
    """Returns (height, width) of a channels-last batch, ints where known."""
    shape = ops.shape(x)
    return shape[1], shape[2]


def apply_height(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiplies an (out, H) matrix by the rows of (B, H, W, C)."""
    _, height, width, channels = ops.shape(x)
    # Only the batch is inferred, so that known sizes stay known.
    flat = ops.reshape(x, (-1, height, width * channels))
    out = ops.matmul(matrix, flat)
    return ops.reshape(out, (-1, ops.shape(matrix)[0], width, channels))


def resize(x: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    """Resizes a feature map bilinearly by two small matrix products.

    The width comes first, while there are few rows. Unlike the backends'
    resizing operations, it takes `align_corners` and sizes known only at run
    time, and it means the same in every export.

    Args:
        x: Float tensor (B, H, W, C).
        size: (height, width) of the result, ints or scalar tensors.
        align_corners: See `interpolation_matrix`.

    Returns:
        Tensor (B, height, width, C) of the dtype of `x`.

    Examples:
        >>> from keras_pspnet.layers.resize import resize
        >>> resize(keras.ops.ones((1, 6, 6, 8)), (60, 71)).shape
        TensorShape([1, 60, 71, 8])
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    height, width = spatial_size(x)
    x = ops.matmul(
        interpolation_matrix(width, size[1], align_corners, dtype), x
    )
    return apply_height(
        interpolation_matrix(height, size[0], align_corners, dtype), x
    )


def adaptive_pool(x: Tensor, bins: int, pooling: str = "average") -> Tensor:
    """Pools a feature map into bins x bins cells, for any size.

    Args:
        x: Float tensor (B, H, W, C).
        bins: Number of cells along each side; may exceed H or W.
        pooling: `"average"` or `"max"`.

    Returns:
        Tensor (B, bins, bins, C).

    Examples:
        >>> from keras_pspnet.layers.resize import adaptive_pool
        >>> adaptive_pool(keras.ops.ones((1, 60, 71, 8)), bins=6).shape
        TensorShape([1, 6, 6, 8])
    """
    height, width = spatial_size(x)
    if divides(height, bins) and divides(width, bins):
        window = (height // bins, width // bins)
        pool = ops.average_pool if pooling == "average" else ops.max_pool
        return pool(x, window, strides=window, data_format="channels_last")
    if pooling == "max":
        return _max_bins(_max_bins(x, height, bins, 1), width, bins, 2)
    dtype = keras.backend.standardize_dtype(x.dtype)
    x = apply_height(adaptive_pooling_matrix(height, bins, dtype), x)
    return ops.matmul(adaptive_pooling_matrix(width, bins, dtype), x)


def divides(size: Side, bins: int) -> TypeGuard[int]:
    """Tells whether a size is known and divisible by `bins`."""
    return isinstance(size, int) and size % bins == 0


def _max_bins(x: Tensor, size: Side, bins: int, axis: int) -> Tensor:
    """Returns the maximum of each bin along one axis."""
    inside = ops.convert_to_tensor(_bin_membership(size, bins))
    lowest = ops.cast(float("-inf"), x.dtype)
    shape = (1, -1, 1, 1) if axis == 1 else (1, 1, -1, 1)
    cells = [
        ops.max(ops.where(ops.reshape(row, shape), x, lowest), axis=axis)
        for row in ops.unstack(inside, num=bins, axis=0)
    ]
    return ops.stack(cells, axis=axis)


def at_least_float32() -> str:
    """Returns the dtype of logits: float32, or float64 under that policy."""
    compute = keras.config.dtype_policy().variable_dtype
    return "float64" if compute == "float64" else "float32"


@keras.saving.register_keras_serializable(package="keras_pspnet")
class Resize(keras.layers.Layer):
    """Resizes one map bilinearly to the size of another, in float32.

    Call it on a pair `(x, like)`: it resizes `x` (B, h, w, C) to the height
    and width of `like` (B, H, W, any).

    Args:
        align_corners: Corner-aligned (True) or half-pixel (False) sampling.
        **kwargs: Passed to `keras.layers.Layer`.

    Input shape:
        Pair of (B, h, w, C) and (B, H, W, any).

    Output shape:
        (B, H, W, C), float32 unless a `dtype` says otherwise.

    Examples:
        >>> from keras_pspnet.layers import Resize
        >>> small, large = keras.Input((60, 60, 21)), keras.Input((473, 473, 3))
        >>> Resize(align_corners=True)([small, large]).shape
        (None, 473, 473, 21)
    """

    def __init__(self, align_corners: bool = False, **kwargs: Any) -> None:
        # Logits and loss stay float32 under mixed precision.
        kwargs.setdefault("dtype", at_least_float32())
        super().__init__(**kwargs)
        self.align_corners = align_corners

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, like = inputs
        return resize(x, spatial_size(like), self.align_corners)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        x_shape, like_shape = input_shape
        return (x_shape[0], like_shape[1], like_shape[2], x_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "align_corners": self.align_corners}
