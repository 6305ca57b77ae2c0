"""Tests of sums and batch statistics over replicas."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_pspnet.replicas import BatchNorm, num_replicas, replica_sum

CHANNELS = 3


def random_batch() -> np.ndarray:
    """Two halves with statistics of their own: local ones would show."""
    rng = np.random.default_rng(0)
    halves = [
        rng.normal(mean, deviation, size=(2, 5, 7, CHANNELS))
        for mean, deviation in ((-3, 0.5), (2, 4))
    ]
    return np.concatenate(halves).astype("float32")


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


def joined(strategy: tf.distribute.Strategy, value: Any) -> np.ndarray:
    return np.concatenate(strategy.experimental_local_results(value))


def step(layer: BatchNorm, x: Any, cotangent: Any) -> tuple[Any, Any, Any]:
    """Output in training, and gradients by the input and the scale."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x, training=True)
        loss = tf.reduce_sum(out * cotangent)
    by_input, by_gamma = tape.gradient(loss, [x, layer.gamma.value])
    return out, by_input, by_gamma


def test_two_replicas_normalise_like_one(two_replicas) -> None:
    x = random_batch()
    cotangent = np.random.default_rng(1).normal(size=x.shape).astype("float32")
    single = BatchNorm()
    single.build(x.shape)
    want = step(single, tf.constant(x), tf.constant(cotangent))
    with two_replicas.scope():
        layer = BatchNorm()
        layer.build((None, None, None, CHANNELS))

    @tf.function
    def run(x: Any, cotangent: Any) -> Any:
        return two_replicas.run(lambda x, c: step(layer, x, c), (x, cotangent))

    out, by_input, by_gamma = run(*per_replica(two_replicas, x, cotangent))
    for got, expected in zip((out, by_input), want, strict=False):
        np.testing.assert_allclose(
            joined(two_replicas, got), expected, atol=2e-5
        )
    total = two_replicas.reduce("sum", by_gamma, axis=None)
    np.testing.assert_allclose(total, want[2], rtol=1e-4)
    for got, expected in (
        (layer.moving_mean, single.moving_mean),
        (layer.moving_variance, single.moving_variance),
    ):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(got),
            keras.ops.convert_to_numpy(expected),
            rtol=1e-5,
        )


def test_one_replica_keeps_the_moments_of_its_batch() -> None:
    x = random_batch().astype("float64")
    layer = BatchNorm(dtype="float64")
    out = layer(x, training=True)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(
        out, (x - mean) / np.sqrt(variance + 1e-5), atol=1e-9
    )
    # From 0 and 1, with momentum 0.9.
    np.testing.assert_allclose(layer.moving_mean.value, 0.1 * mean, rtol=1e-9)
    np.testing.assert_allclose(
        layer.moving_variance.value, 0.9 + 0.1 * variance, rtol=1e-9
    )
    np.testing.assert_allclose(
        layer(x),
        (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * variance + 1e-5),
        rtol=1e-9,
    )


def test_inference_does_not_synchronise(two_replicas) -> None:
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


def test_defaults_can_be_changed() -> None:
    layer = BatchNorm(momentum=0.5, epsilon=1e-3, dtype="bfloat16")
    assert (layer.momentum, layer.epsilon) == (0.5, 1e-3)
    assert layer.compute_dtype == "bfloat16"


def test_outside_replicas_a_sum_is_the_value() -> None:
    value = tf.constant([1.0, 2.0])
    assert replica_sum(value) is value
    assert num_replicas() == 1
    np.testing.assert_array_equal(tf.function(replica_sum)(value), value)


def test_while_keras_builds_a_sum_is_the_value(two_replicas) -> None:
    # In the strategy's scope, yet in no replica: cross-replica context.
    value = tf.constant(3)
    with two_replicas.scope():
        assert replica_sum(value) is value
        assert num_replicas() == 1


def test_inside_replicas_everyone_gets_the_sum(two_replicas) -> None:
    (values,) = per_replica(two_replicas, np.array([[1, 2], [30, 40]]))
    graph = tf.function(lambda v: two_replicas.run(replica_sum, (v,)))
    for run in (lambda v: two_replicas.run(replica_sum, (v,)), graph):
        results = two_replicas.experimental_local_results(run(values))
        assert len(results) == 2
        for result in results:
            assert result.dtype == tf.int64
            np.testing.assert_array_equal(result, [[31, 42]])


def test_inside_replicas_there_are_two(two_replicas) -> None:
    counts = two_replicas.run(lambda: tf.constant(num_replicas()))
    for count in two_replicas.experimental_local_results(counts):
        assert count == 2
