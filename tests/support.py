"""What the tests of layers share: inputs, layers with set values, oracles."""

from typing import Any

import numpy as np
import reference
import tensorflow as tf
from keras import ops

from keras_pspnet.layers import PyramidConv, PyramidPoolingModule

CHANNELS = 8
OUT = 5
# The 12x18 map divides into every bin; 2x5 and 1x1 have fewer pixels than
# bins; the others share pixels between neighbouring bins.
numpy = ops.convert_to_numpy


def random_map(
    height: int, width: int, dtype: str = "float32", channels: int = CHANNELS
) -> np.ndarray:
    """Three maps, or more where each has too few pixels for statistics."""
    rng = np.random.default_rng(height * 100 + width)
    batch = 16 if height == width == 1 else 3
    return rng.normal(size=(batch, height, width, channels)).astype(dtype)


def randomize(layer: Any) -> None:
    """Gives every variable, statistics too, a value that is not special."""
    rng = np.random.default_rng(7)
    for variable in layer.variables:
        value = rng.normal(size=variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            value = np.abs(value) + 0.5
        variable.assign(value)


def make_pyramid(dtype: str = "float32", **kwargs: Any) -> PyramidPoolingModule:
    pyramid = PyramidPoolingModule(dtype=dtype, **kwargs)
    pyramid.build((None, None, None, CHANNELS))
    randomize(pyramid)
    return pyramid


def make_shortcut(dtype: str = "float32", **kwargs: Any) -> PyramidConv:
    layer = PyramidConv(
        OUT, PyramidPoolingModule(dtype=dtype, **kwargs), dtype=dtype
    )
    layer.build((None, None, None, CHANNELS))
    randomize(layer)
    return layer


def oracle_pyramid(
    pyramid: PyramidPoolingModule, x: np.ndarray, training: bool
) -> np.ndarray:
    reductions = None
    if pyramid.reduce:
        reductions = []
        for conv, norm in zip(pyramid.convs, pyramid.norms, strict=True):
            values = {
                "kernel": numpy(conv.kernel)[0, 0],
                "gamma": numpy(norm.gamma),
                "beta": numpy(norm.beta),
            }
            if not training:
                values["mean"] = numpy(norm.moving_mean)
                values["variance"] = numpy(norm.moving_variance)
            reductions.append(values)
    return reference.pyramid_pooling(
        x,
        pyramid.bin_sizes,
        reductions,
        pyramid.pooling,
        pyramid.align_corners,
    )


def assert_close(got: Any, want: Any, tolerance: float) -> None:
    """Compares relative to the largest value: sums of many cancel."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    limit = tolerance * max(np.abs(want).max(), 1e-30)
    np.testing.assert_allclose(got, want, rtol=0, atol=limit)


def operations(function: Any, x: np.ndarray) -> list[tf.Operation]:
    return function.get_concrete_function(tf.constant(x)).graph.get_operations()
