"""Tests of the normalization of images."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import assert_close

from keras_pspnet.layers import InputNormalization


def test_normalization() -> None:
    layer = InputNormalization((10.0, 20.0, 30.0), (1.0, 2.0, 4.0))
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3))
    want = (image - [10.0, 20.0, 30.0]) / [1.0, 2.0, 4.0]
    graph = tf.function(lambda x: layer(x))
    for dtype in ("uint8", "float32", "int32", "float64"):
        for result in (layer(image.astype(dtype)), graph(image.astype(dtype))):
            assert result.dtype == tf.float32
            assert_close(result, want, 1e-6)


def test_normalization_keeps_every_level_of_an_image() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    levels = np.arange(256, dtype="uint8").reshape(1, 16, 16, 1)
    layer = InputNormalization((123.675,) * 3, (58.395,) * 3)
    result = layer(np.repeat(levels, 3, axis=-1))
    assert len(np.unique(result)) == 256


@pytest.mark.parametrize(
    "mean, std, message",
    [
        ((), (), r"`mean` must hold a number for each band.*=\(\)"),
        (5, (1, 1, 1), "`mean` must hold a number for each band.*=5"),
        ("abc", (1, 1, 1), "`mean` must hold a number for each band.*='abc'"),
        ((1, 2), (1, 1, 1), "`std` must hold a positive number.*has 2"),
        ((1, 2, 3), (1, 1), "`std` must hold a positive number.*has 3"),
        ((1, 2, 3), (1, 1, 0), "`std` must hold a positive number"),
        ((1, 2, 3), None, "`std` must hold a positive number.*=None"),
        ((1, 2, 3), (1, float("nan"), 1), "`std` must hold a positive"),
    ],
)
def test_normalization_refuses(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InputNormalization(mean, std)


@pytest.mark.parametrize("bands", [1, 4])
def test_one_value_is_not_broadcast_to_other_bands(bands: int) -> None:
    layer = InputNormalization((1, 2, 3), (1, 1, 1))
    with pytest.raises(ValueError, match=f"must have 3 bands.*5, {bands}"):
        layer(np.zeros((1, 5, 5, bands)))
