"""Tests of dilating any Keras model, beside the strided model itself."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from slow_cases import slow_but
from support import numpy

from keras_pspnet import dilate
from keras_pspnet.layers import DilatedPooling2D

pytestmark = pytest.mark.long

# Squeeze-and-excitation averages the whole map, and so more pixels.
APPLICATIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "MobileNetV2": ({"alpha": 0.35}, True),
    "MobileNetV3Small": ({}, False),
    "EfficientNetV2B0": ({}, False),
    "ConvNeXtTiny": ({}, True),
    "ResNet50V2": ({}, True),
    "DenseNet121": ({}, True),
}


def images(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * 100 + width)
    return rng.uniform(-1, 1, (2, height, width, 3)).astype("float32")


def randomize(model: keras.Model) -> None:
    """Statistics and factors under which every layer stays alive."""
    rng = np.random.default_rng(3)
    for variable in model.variables:
        if variable.name in ("moving_mean", "beta", "bias"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
        elif variable.name in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))


def assert_subsampled(
    dense: np.ndarray, strided: np.ndarray, step: int
) -> None:
    height, width = strided.shape[1:3]
    got = dense[:, ::step, ::step][:, :height, :width]
    assert got.shape == strided.shape
    scale = np.abs(strided).max()
    assert strided.std() > 0.01 * scale
    np.testing.assert_allclose(got, strided, atol=1e-4 * scale)


def small(padding: str, pool: str, size: int | None = None) -> keras.Model:
    """Every kind of strided layer."""
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(6, 3, strides=2, padding=padding)(image)
    if padding == "valid":
        x = layers.ZeroPadding2D(((0, 1), (1, 1)))(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding=padding)(x)
    x = layers.BatchNormalization()(x)
    kind = getattr(layers, f"{pool}Pooling2D")
    if padding == "valid":
        x = layers.ZeroPadding2D(1)(x)
    x = kind(3, strides=2, padding=padding)(x)
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    if padding == "valid":
        x = layers.ZeroPadding2D(((1, 1), (0, 1)))(x)
    x = layers.SeparableConv2D(6, 3, strides=2, padding=padding)(x)
    x = kind(2, padding=padding)(x)
    return keras.Model(image, layers.Conv2D(6, 3, padding="same")(x))


@pytest.mark.parametrize("pool", ["Max", "Average"])
@pytest.mark.parametrize("output_stride", [4, 8, 16])
@pytest.mark.parametrize("size", [None, 97, 96])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_dense_features_subsampled_are_the_strided_ones(
    padding: str, size: int | None, output_stride: int, pool: str
) -> None:
    model = small(padding, pool, size)
    randomize(model)
    dilated = dilate(model, output_stride)
    x = images(size or 97, size or 97)
    aux, dense = map(numpy, dilated(x, training=False))
    strided = numpy(model(x, training=False))
    assert_subsampled(dense, strided, 32 // output_stride)
    assert aux.shape == dense.shape


# Large ones take a minute to build.
QUICK = ("MobileNetV2",)


@pytest.mark.parametrize("name", slow_but(QUICK, APPLICATIONS))
def test_models_of_keras(name: str) -> None:
    kwargs, exact = APPLICATIONS[name]
    keras.utils.set_random_seed(1)
    model = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(None, None, 3), **kwargs
    )
    randomize(model)
    dilated = dilate(model)
    x = 50 * images(97, 129)
    aux, dense = map(numpy, dilated(x, training=False))
    assert dense.shape[1] >= 97 // 8
    assert aux.shape[:3] == dense.shape[:3]
    assert np.isfinite(dense).all()
    if exact:
        strided = numpy(model(x, training=False))
        assert_subsampled(dense, strided, 4)


def test_layers_are_chosen_by_name() -> None:
    model = small("same", "Max")
    names = [each.name for each in model.layers]
    dilated = dilate(model, 8, features=names[-3], aux=names[1])
    first, last = dilated.compute_output_shape((1, 65, 65, 3))
    assert first == (1, 33, 33, 6)
    assert last == (1, 9, 9, 6)


def test_a_classifier_is_left_out() -> None:
    image = keras.Input((65, 65, 3))
    x = image
    for _ in range(5):
        x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    top = layers.Dense(10)(layers.Flatten()(x))
    dilated = dilate(keras.Model(image, top))
    assert [len(each.shape) for each in dilated.outputs] == [4, 4]


def test_nested_models_are_walked_through() -> None:
    stem = keras.Sequential(
        [layers.Conv2D(4, 4, strides=4), layers.LayerNormalization()]
    )
    down = keras.Sequential([layers.Conv2D(4, 2, strides=2)])
    image = keras.Input((None, None, 3))
    x = layers.ReLU()(stem(image))
    x = layers.Conv2D(4, 3, padding="same")(down(x))
    model = keras.Model(image, x)
    dilated = dilate(model, 4)
    x = images(96, 64)
    _, dense = map(numpy, dilated(x))
    assert_subsampled(dense, numpy(model(x)), 2)


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("before", [(0, 0), (2, 1)])
def test_pooling_is_that_of_each_window(
    mode: str, before: tuple[int, int]
) -> None:
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype("float32")
    got = numpy(DilatedPooling2D(2, 3, before, mode)(x))
    for row in range(6):
        for column in range(7):
            window = [
                x[:, i, j]
                for i in (row - before[0], row - before[0] + 3)
                for j in (column - before[1], column - before[1] + 3)
                if 0 <= i < 6 and 0 <= j < 7
            ]
            want = np.max(window, 0) if mode == "max" else np.mean(window, 0)
            np.testing.assert_allclose(got[:, row, column], want, atol=1e-6)


def channels_first() -> keras.Model:
    image = keras.Input((3, 32, 32))
    pool = layers.MaxPooling2D(data_format="channels_first")
    return keras.Model(image, pool(image))


def two_inputs() -> keras.Model:
    inputs = [keras.Input((9, 9, 3)), keras.Input((9, 9, 3))]
    return keras.Model(inputs, layers.Add()(inputs))


def upsampling() -> keras.Model:
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(3, 3, strides=4, padding="same", name="first")(image)
    x = layers.Conv2D(3, 3, padding="same", name="last")(
        layers.UpSampling2D()(x)
    )
    return keras.Model(image, x)


@pytest.mark.parametrize(
    ("make", "kwargs", "match"),
    [
        (two_inputs, {}, "`model` must have one input"),
        (channels_first, {}, "`model` must have channels last"),
        (lambda: "resnet", {}, "`model` must be a functional Keras model"),
        (lambda: small("same", "Max"), {"output_stride": 7}, "`output_stride`"),
        (
            lambda: small("same", "Max"),
            {"features": "con"},
            "`features` must name a layer .*Received: features='con'",
        ),
        (upsampling, {"features": "lasst"}, "did you mean 'last'"),
        (lambda: small("same", "Max"), {"aux": "x"}, "`aux` must name a layer"),
        (
            upsampling,
            {"aux": "first", "features": "last"},
            "no UpSampling2D before its features",
        ),
    ],
)
def test_what_cannot_be_dilated_is_refused(
    make: Any, kwargs: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        dilate(make(), **kwargs)
