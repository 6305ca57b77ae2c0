"""Adapts the first convolution of an RGB network to other bands."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

_RGB = 3
_PATH = "stem1_conv/kernel"


def adapt_first_kernel(kernel: np.ndarray, bands: int) -> np.ndarray:
    """Changes a kernel for RGB to one for another number of bands.

    It does the same as timm's `adapt_input_conv`. For one band it adds the
    kernels of R, G and B, so that a gray image has the same features as in
    three equal channels. For other numbers it repeats them, R, G, B, R, ...,
    and multiplies them by 3 / bands, so that features keep their magnitude.

    Args:
        kernel: Floats (height, width, 3, filters).
        bands: Number of bands of the images.

    Returns:
        float32 (height, width, bands, filters).

    Examples:
        >>> from keras_pspnet.convert import adapt_first_kernel
        >>> kernel = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
        >>> adapt_first_kernel(kernel, 1).ravel()
        array([6.], dtype=float32)
        >>> adapt_first_kernel(kernel, 4).ravel()
        array([0.75, 1.5 , 2.25, 0.75], dtype=float32)
    """
    kernel = np.asarray(kernel, "float32")
    if bands == 1:
        return kernel.sum(axis=2, keepdims=True)
    factor = np.float32(_RGB / bands)
    return kernel[:, :, np.arange(bands) % _RGB] * factor


def with_bands(arrays: Mapping[str, Any], bands: int) -> Mapping[str, Any]:
    """Returns weights with the first kernel adapted, if they are for RGB.

    Args:
        arrays: Variable path -> values.
        bands: Number of bands that the network takes.
    """
    if bands == _RGB or _PATH not in list(arrays):
        return arrays
    kernel = arrays[_PATH]
    # `fill` reports anything else.
    if kernel.ndim != 4 or kernel.shape[2] != _RGB:
        return arrays
    changed = {_PATH: adapt_first_kernel(kernel, bands)}
    # Does not read the other arrays, which may be in a file.
    return ChainMap(changed, cast("dict[str, Any]", arrays))
