"""Checks that every layer, model, loss, metric and optimizer must pass."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from support import assert_close, randomize

TREE = keras.tree


def run_config_test(item: Any) -> Any:
    """Checks that a config restores the object, and returns the copy."""
    serialized = keras.saving.serialize_keras_object(item)
    again = keras.saving.deserialize_keras_object(serialized)
    assert type(again) is type(item)
    assert again.get_config() == item.get_config()
    return again


def run_model_test(
    model: keras.Model, images: Any, tolerance: float = 1e-5
) -> None:
    """Checks every way to call, copy and save a model.

    Its config, graphs of this size and of any size, symbolic shapes,
    `predict`, and files of the model and of its weights.

    Args:
        model: A functional model whose weights are not the initial ones.
        images: A batch of inputs, or several.
        tolerance: Largest difference, relative to the largest value.
    """
    want = TREE.map_structure(np.asarray, model(images))

    def assert_same(got: Any, limit: float = tolerance) -> None:
        TREE.assert_same_structure(got, want)
        for one, other in zip(
            TREE.flatten(got), TREE.flatten(want), strict=True
        ):
            assert_close(one, other, limit)

    shapes = TREE.flatten(model.symbolic_call(model.input))
    for symbolic, array in zip(shapes, TREE.flatten(want), strict=True):
        assert symbolic.dtype == array.dtype
        for side, known in zip(symbolic.shape, array.shape, strict=True):
            assert side in (None, known)
    assert_same(tf.function(lambda x: model(x))(images))
    signature = TREE.map_structure(
        lambda x: tf.TensorSpec((*[None] * (x.ndim - 1), x.shape[-1]), x.dtype),
        images,
    )
    any_size = tf.function(lambda x: model(x), input_signature=[signature])
    if None in TREE.flatten(model.input_shape)[1:]:
        assert_same(any_size(images))
    assert_same(model.predict(images, verbose=0))

    copy = type(model).from_config(model.get_config())
    with tempfile.TemporaryDirectory() as folder:
        model.save_weights(Path(folder) / "a.weights.h5")
        copy.load_weights(Path(folder) / "a.weights.h5")
        model.save(Path(folder) / "a.keras")
        loaded = keras.saving.load_model(Path(folder) / "a.keras")
    assert type(loaded) is type(model)
    paths = [weight.path for weight in model.weights]
    assert [weight.path for weight in loaded.weights] == paths
    assert_same(copy(images), 0)
    assert_same(loaded(images), 0)


def run_layer_test(
    make: Callable[[], keras.layers.Layer],
    inputs: Any,
    half: str = "bfloat16",
) -> None:
    """Checks a layer as `run_model_test` does, and under mixed precision.

    Args:
        make: Returns the layer.
        inputs: A batch of inputs, or a list of several.
        half: Dtype of its output under `mixed_bfloat16`.
    """
    layer = make()
    symbolic = TREE.map_structure(
        lambda x: keras.Input((*[None] * (x.ndim - 2), x.shape[-1])), inputs
    )
    model = keras.Model(symbolic, layer(symbolic))
    randomize(layer)
    run_model_test(model, inputs)
    run_config_test(layer)
    shapes = TREE.map_structure(
        lambda x: x.shape, inputs if isinstance(inputs, list) else [inputs]
    )
    shape = shapes if isinstance(inputs, list) else shapes[0]
    want = layer(inputs)
    assert layer.compute_output_shape(shape) == tuple(want.shape)

    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = make()
    mixed(inputs)
    mixed.set_weights(layer.get_weights())
    got = mixed(inputs)
    assert keras.backend.standardize_dtype(got.dtype) == half
    assert {weight.dtype for weight in mixed.weights} <= {"float32"}
    assert_close(tf.cast(got, "float32"), want, 0.05)
