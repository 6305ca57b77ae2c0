"""Tests of batch normalization, on one replica and on two."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import assert_close, operations, per_replica

from keras_pspnet.layers.batch_norm import BatchNorm

CHANNELS = 3
# Rounding of the results, relative to their size.
TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2, "float16": 3e-3}


def random_batch() -> np.ndarray:
    """Two halves with statistics of their own: local ones would show."""
    rng = np.random.default_rng(0)
    halves = [
        rng.normal(mean, deviation, size=(2, 5, 7, CHANNELS))
        for mean, deviation in ((-3, 0.5), (2, 4))
    ]
    return np.concatenate(halves).astype("float32")


def joined(strategy: tf.distribute.Strategy, value: Any) -> np.ndarray:
    return np.concatenate(strategy.experimental_local_results(value))


def made(dtype: str = "float32", **kwargs: Any) -> BatchNorm:
    """Returns a layer whose scale and offset are not those of its start."""
    policy = dtype if dtype in ("float32", "float64") else f"mixed_{dtype}"
    layer = BatchNorm(dtype=policy, **kwargs)
    layer.build((None, None, None, CHANNELS))
    layer.gamma.assign([0.5, -2.0, 1.5])
    layer.beta.assign([0.0, 1.0, -3.0])
    return layer


def reference(
    layer: BatchNorm, x: np.ndarray, cotangent: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Output, and gradients by input, scale and offset, in float64."""
    x, cotangent = x.astype("float64"), cotangent.astype("float64")
    gamma, beta = (
        keras.ops.convert_to_numpy(v).astype("float64")
        for v in (layer.gamma, layer.beta)
    )
    axes = (0, 1, 2)
    mean, variance = x.mean(axes), x.var(axes)
    inverse = 1 / np.sqrt(variance + layer.epsilon)
    normal = (x - mean) * inverse
    by_beta = cotangent.sum(axes)
    by_gamma = (cotangent * normal).sum(axes)
    count = x[..., 0].size
    by_input = (
        gamma
        * inverse
        * (cotangent - by_beta / count - normal * by_gamma / count)
    )
    return normal * gamma + beta, by_input, by_gamma, by_beta


def step(layer: BatchNorm, x: Any, cotangent: Any) -> tuple[Any, ...]:
    """Output in training, and gradients by input, scale and offset."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(out, cotangent.dtype) * cotangent)
    return out, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])


def cotangent_of(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).normal(size=x.shape).astype("float32")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", ["eager", "graph", "unknown sizes"])
def test_training_is_the_formula(dtype: str, mode: str) -> None:
    layer = made(dtype)
    # What is rounded before the layer is no error of the layer.
    x = tf.cast(random_batch(), dtype)
    cotangent = tf.constant(cotangent_of(x))
    run: Any = lambda x: step(layer, x, cotangent)  # noqa: E731
    if mode == "graph":
        run = tf.function(run)
    elif mode == "unknown sizes":
        shape = tf.TensorSpec((None, None, None, CHANNELS), dtype)
        run = tf.function(run, input_signature=[shape])
    got = run(x)
    x = x.numpy().astype("float64")
    for result, want in zip(
        got, reference(layer, x, cotangent.numpy()), strict=True
    ):
        assert_close(result, want, TOLERANCE[dtype])
    assert got[0].dtype == dtype and got[2].dtype == "float32"
    # From 0 and 1, with momentum 0.9.
    for moving, want in (
        (layer.moving_mean, 0.1 * x.mean((0, 1, 2))),
        (layer.moving_variance, 0.9 + 0.1 * x.var((0, 1, 2))),
    ):
        np.testing.assert_allclose(moving.value, want, rtol=1e-5)


def test_half_precision_is_kept_for_the_gradient_as_it_came() -> None:
    layer = made("bfloat16")
    x = tf.cast(random_batch(), "bfloat16")
    cotangent = tf.constant(cotangent_of(x))
    graph = tf.function(lambda x: step(layer, x, cotangent))
    kinds = [operation.type for operation in operations(graph, x)]
    assert kinds.count("FusedBatchNormV3") == 1
    assert kinds.count("FusedBatchNormGradV3") == 1
    assert "SquaredDifference" not in kinds


def test_a_single_value_a_channel_is_its_own_mean() -> None:
    layer = made()
    out = layer(tf.constant([[[[3.0, -1.0, 8.0]]]]), training=True)
    np.testing.assert_allclose(out, [[[[0.0, 1.0, -3.0]]]])
    np.testing.assert_allclose(layer.moving_variance.value, [0.9] * 3)


def test_frozen_layer_uses_its_statistics() -> None:
    layer = made()
    layer.trainable = False
    x = random_batch()
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.moving_mean.value, [0.0] * 3)


@pytest.mark.parametrize(
    ("kwargs", "shape"),
    [
        ({"axis": 1}, (4, 3, 5, 7)),
        ({"scale": False}, (4, 5, 7, 3)),
        ({"center": False}, (4, 5, 7, 3)),
        ({}, (8, 3)),
        ({"dtype": "bfloat16"}, (4, 5, 7, 3)),
        ({"dtype": "float64"}, (4, 5, 7, 3)),
    ],
)
def test_other_forms_are_those_of_keras(
    kwargs: dict[str, Any], shape: tuple[int, ...]
) -> None:
    ours = BatchNorm(**kwargs)
    theirs = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, **kwargs
    )
    x = np.random.default_rng(2).normal(size=shape).astype("float32")
    np.testing.assert_array_equal(
        tf.cast(ours(x, training=True), "float32"),
        tf.cast(theirs(x, training=True), "float32"),
    )
    for ours_moving, moving in zip(
        ours.non_trainable_variables,
        theirs.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_array_equal(
            tf.cast(ours_moving.value, "float32"),
            tf.cast(moving.value, "float32"),
        )


def test_masked_pixels_do_not_count() -> None:
    x = random_batch()
    mask = np.ones(x.shape[:3], bool)
    mask[2:] = False
    layer = made()
    layer(x, training=True, mask=mask)
    np.testing.assert_allclose(
        layer.moving_mean.value, 0.1 * x[:2].mean((0, 1, 2)), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("known", [True, False])
def test_two_replicas_normalize_like_one(
    dtype: str, known: bool, two_replicas
) -> None:
    x = tf.cast(random_batch(), dtype).numpy()
    cotangent = cotangent_of(x)
    with two_replicas.scope():
        layer = made(dtype)
    want = reference(layer, x.astype("float64"), cotangent.astype("float64"))
    shape = x.shape if known else (None, None, None, CHANNELS)

    @tf.function
    def run(x: Any, cotangent: Any) -> Any:
        def replica(x: Any, cotangent: Any) -> Any:
            if not known:
                x = tf.raw_ops.PlaceholderWithDefault(input=x, shape=shape)
            return step(layer, x, cotangent)

        return two_replicas.run(replica, (x, cotangent))

    got = run(*per_replica(two_replicas, x, cotangent))
    for result, expected in zip(got[:2], want[:2], strict=True):
        assert_close(
            joined(two_replicas, result).astype("float64"),
            expected,
            TOLERANCE[dtype],
        )
    for result, expected in zip(got[2:], want[2:], strict=True):
        total = two_replicas.reduce("sum", result, axis=None)
        assert_close(total, expected, TOLERANCE[dtype])
    wide = x.astype("float64")
    for moving, expected in (
        (layer.moving_mean, 0.1 * wide.mean((0, 1, 2))),
        (layer.moving_variance, 0.9 + 0.1 * wide.var((0, 1, 2))),
    ):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(moving), expected, rtol=1e-5
        )


def test_inference_does_not_synchronize(two_replicas) -> None:
    with two_replicas.scope():
        layer = BatchNorm()
        layer.build((None, None, None, CHANNELS))
    x = random_batch()
    (distributed,) = per_replica(two_replicas, x)
    out = two_replicas.run(lambda x: layer(x), (distributed,))
    np.testing.assert_allclose(
        joined(two_replicas, out), x / np.sqrt(1 + 1e-5), rtol=1e-6
    )


@pytest.mark.parametrize("run_first", [False, True])
def test_saved_layer_does_not_say_where_it_ran(
    run_first: bool, two_replicas
) -> None:
    with two_replicas.scope():
        layer = BatchNorm(name="norm")
        layer.build((None, None, None, CHANNELS))
    if run_first:
        (x,) = per_replica(two_replicas, random_batch())
        two_replicas.run(lambda x: layer(x, training=True), (x,))
    config = layer.get_config()
    assert "synchronized" not in config
    assert (config["momentum"], config["epsilon"]) == (0.9, 1e-5)
    serialized = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(serialized)
    assert type(again) is BatchNorm
    assert again.get_config() == config
