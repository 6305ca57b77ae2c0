"""Tests of the pyramid module."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from support import (
    CHANNELS,
    OUT,
    assert_close,
    make_pyramid,
    make_shortcut,
    operations,
    oracle_pyramid,
    random_map,
)

from keras_pspnet.layers import PyramidConv, PyramidPoolingModule


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("reduce", [True, False])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_module_is_the_papers(
    pooling: str, reduce: bool, align_corners: bool
) -> None:
    pyramid = make_pyramid(
        pooling=pooling, reduce=reduce, align_corners=align_corners
    )
    unknown = tf.function(
        lambda x: pyramid(x, training=False),
        input_signature=[tf.TensorSpec((None, None, None, CHANNELS))],
    )
    for size in ((13, 9), (12, 18), (2, 5), (1, 1)):
        x = random_map(*size)
        want = oracle_pyramid(pyramid, x, training=False)
        assert_close(pyramid(x, training=False), want, 5e-6)
        assert_close(unknown(x), want, 5e-6)
        # The statistics that this moves were read above.
        want = oracle_pyramid(pyramid, x, training=True)
        assert_close(pyramid(x, training=True), want, 2e-5)


def test_known_and_unknown_sizes_give_the_same_numbers() -> None:
    # Known: average_pool and image.resize. Unknown: matrices.
    pyramid = make_pyramid()
    x = random_map(60, 60)
    known = tf.function(lambda x: pyramid(x))
    unknown = tf.function(
        lambda x: pyramid(x),
        input_signature=[tf.TensorSpec((None, None, None, CHANNELS))],
    )
    assert "AvgPool" in {op.type for op in operations(known, x)}
    assert "AvgPool" not in {op.type for op in operations(unknown, x)}
    assert_close(unknown(x), known(x), 1e-5)


def test_biases_stand_in_place_of_normalization() -> None:
    plain, biased = make_pyramid(), make_pyramid(use_bias=True)
    assert biased.norms == []
    assert [len(conv.weights) for conv in biased.convs] == [2] * 4
    for conv, old, norm in zip(
        biased.convs, plain.convs, plain.norms, strict=True
    ):
        scale = norm.gamma / ops.sqrt(norm.moving_variance + norm.epsilon)
        conv.kernel.assign(old.kernel * scale)
        conv.bias.assign(norm.beta - norm.moving_mean * scale)
    x = random_map(5, 7)
    assert_close(biased(x), plain(x), 1e-5)


def test_the_shortcut_adds_its_bias() -> None:
    plain, biased = make_shortcut(), make_shortcut(use_bias=True)
    kernel, *others = plain.get_weights()
    biased.set_weights([kernel, np.arange(OUT), *others])
    for x in (random_map(5, 7), random_map(12, 18)):
        assert_close(biased(x), plain(x) + np.arange(OUT), 1e-5)


def test_few_channels_still_make_a_map() -> None:
    pyramid = PyramidPoolingModule()
    assert pyramid(random_map(4, 4, channels=2)).shape == (3, 4, 4, 6)


def test_shapes_that_are_known_stay_known() -> None:
    for height, width in ((13, 9), (None, 9), (None, None)):
        x = keras.Input((height, width, CHANNELS))
        pyramid = PyramidPoolingModule(filters=3)
        assert pyramid(x).shape == (None, height, width, CHANNELS + 12)
        out = PyramidConv(OUT, PyramidPoolingModule())(x)
        assert out.shape == (None, height, width, OUT)


def test_half_precision_normalizes_without_overflow() -> None:
    # 300 squared is above the largest float16.
    pyramid = make_pyramid("mixed_float16")
    result = pyramid(300 + 100 * random_map(7, 5), training=True)
    assert np.isfinite(ops.cast(result, "float32")).all()


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (
            {"pooling": "mean"},
            "`pooling` must be one of 'average', 'max'.*mean",
        ),
        ({"filters": 0}, "`filters` must be a positive integer.*=0"),
        ({"filters": 2.0}, "`filters` must be a positive integer.*2.0"),
        ({"bin_sizes": 3}, "`bin_sizes` must be a sequence of distinct.*=3"),
        ({"bin_sizes": (1, 0)}, "`bin_sizes` must be a sequence of distinct"),
        ({"bin_sizes": (2, 2)}, "`bin_sizes` must be a sequence of distinct"),
        ({"bin_sizes": (1.5,)}, "`bin_sizes` must be a sequence of distinct"),
        ({"bin_sizes": "12"}, "`bin_sizes` must be a sequence.*='12'"),
    ],
)
def test_module_refuses(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PyramidPoolingModule(**kwargs)


def test_unknown_channels_are_refused() -> None:
    x = keras.Input((5, 5, None))
    module = PyramidPoolingModule()
    for layer in (module, PyramidConv(3, module)):
        with pytest.raises(ValueError, match="a known number of channels"):
            layer(x)
