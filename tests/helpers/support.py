"""Shared helpers: inputs, models with fixed weights, oracles."""

from typing import Any

import keras
import numpy as np
import reference
import tensorflow as tf
from keras import ops

from keras_pspnet.layers.pyramid import PyramidConv, PyramidPoolingModule
from keras_pspnet.models.pspnet import PSPNet

CHANNELS = 8
OUT = 5
# The 12x18 map divides into every bin; 2x5 and 1x1 have fewer pixels than
# bins; the others share pixels between neighboring bins.
numpy = ops.convert_to_numpy


# The environment of a process with Keras on JAX. For a few steps, compiling
# takes longer than running.
ON_JAX = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true",
}


def random_map(
    height: int, width: int, dtype: str = "float32", channels: int = CHANNELS
) -> np.ndarray:
    """Returns three maps, or more if each has few pixels for statistics."""
    rng = np.random.default_rng(height * 100 + width)
    batch = 16 if height == width == 1 else 3
    return rng.normal(size=(batch, height, width, channels)).astype(dtype)


def randomize(layer: Any) -> None:
    """Sets every variable, statistics too, to generic values."""
    rng = np.random.default_rng(7)
    for variable in layer.weights:
        value = rng.normal(size=variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            value = np.abs(value) + 0.5
        variable.assign(value)


def make_pyramid(dtype: str = "float32", **kwargs: Any) -> PyramidPoolingModule:
    pyramid = PyramidPoolingModule(dtype=dtype, **kwargs)
    pyramid.build((None, None, None, CHANNELS))
    randomize(pyramid)
    return pyramid


def make_shortcut(
    dtype: str = "float32", use_bias: bool = False, **kwargs: Any
) -> PyramidConv:
    layer = PyramidConv(
        OUT,
        PyramidPoolingModule(dtype=dtype, **kwargs),
        use_bias=use_bias,
        dtype=dtype,
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
    """Compares relative to the largest value, since terms cancel in sums."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    limit = tolerance * max(np.abs(want).max(), 1e-30)
    np.testing.assert_allclose(got, want, rtol=0, atol=limit)


# Of values that are all tiny, nothing but their size matters.
FLOOR = 1e-3


def distance(got: Any, want: Any) -> float:
    """Returns the largest difference relative to the largest value."""
    difference = np.abs(np.asarray(got, "float64") - want).max(initial=0)
    return float(difference / max(np.abs(want).max(initial=0), FLOOR))


def per_replica(strategy: tf.distribute.Strategy, *batches: np.ndarray) -> Any:
    """Gives each replica its half of every batch."""
    return tuple(
        strategy.experimental_distribute_values_from_function(
            lambda context, batch=batch: tf.constant(
                np.split(batch, 2)[context.replica_id_in_sync_group]
            )
        )
        for batch in batches
    )


def operations(function: Any, x: np.ndarray) -> list[tf.Operation]:
    return function.get_concrete_function(tf.constant(x)).graph.get_operations()


def picture(height: int, width: int) -> np.ndarray:
    """Returns patches of color with noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(height * 100 + width)
    patches = rng.uniform(0, 255, (1, 4, 5, 3))
    smooth = reference.bilinear(patches, (height, width))[0]
    noisy = smooth + rng.normal(0, 20, smooth.shape)
    return np.clip(noisy, 0, 255).astype("uint8")


def tiny_pspnet(num_classes: int = 3, **kwargs: Any) -> PSPNet:
    """Returns the smallest PSPNet, whose masks show many classes."""
    model = PSPNet(num_classes, "resnet18", width=1 / 16, **kwargs)
    rng = np.random.default_rng(3)
    for variable in model.weights:
        if variable.path.endswith("classifier/kernel"):
            variable.assign(rng.normal(size=variable.shape))
        if variable.path.endswith(("beta", "moving_mean")):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    image = ops.convert_to_tensor(picture(64, 64)[None], "float32")
    if model.input_shape[1:3] in ((None, None), (64, 64)):
        logits = model(image, training=False)
        main = numpy(logits["main"] if model.aux else logits)
        model.get_layer("head_classifier").bias.assign(-main.mean((0, 1, 2)))
    return model


def conv_model(
    num_classes: int = 4,
    size: tuple[int | None, int | None] = (None, None),
    side: int = 3,
) -> keras.Model:
    """Returns one convolution, whose logits NumPy computes too."""
    image = keras.Input((*size, 3))
    layer = keras.layers.Conv2D(num_classes, side, padding="same")
    model = keras.Model(image, layer(image))
    rng = np.random.default_rng(5)
    # Zero mean over the colors: differences decide, not the brightness.
    kernel = rng.normal(0, 0.02, layer.kernel.shape)
    layer.kernel.assign(kernel - kernel.mean(axis=2, keepdims=True))
    layer.bias.assign(rng.normal(0, 0.1, num_classes))
    return model


def conv_logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Computes the logits of `conv_model`, float64 (B, H, W, C)."""
    kernel, bias = (numpy(variable) for variable in model.weights)
    return reference.conv2d(images, kernel, padding=1) + bias


def assert_is_argmax(mask: Any, scores: np.ndarray) -> None:
    """Checks that each pixel has its best class, up to rounding."""
    mask = np.asarray(mask)
    assert mask.dtype == np.uint8
    assert mask.shape == scores.shape[:-1]
    # A mask of one class would say little.
    assert len(np.unique(mask)) > 1
    chosen = np.take_along_axis(scores, mask[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(chosen, scores.max(-1), rtol=1e-5, atol=1e-5)
