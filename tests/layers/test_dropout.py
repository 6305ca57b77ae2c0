"""Tests of dropout for the global batch."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_pspnet.layers.dropout import GlobalSpatialDropout2D

# Prints what the layer makes of a batch of ones, and its seed's state.
PROGRAM = """
import json
import keras, numpy as np
from keras_pspnet.layers.dropout import GlobalSpatialDropout2D

layer = GlobalSpatialDropout2D(0.5, seed=3)
x = np.ones((4, 3, 2, 16), "float32")
outputs = [np.asarray(layer(x, training=True)).tolist() for _ in range(2)]
state = np.asarray(layer.seed_generator.state.value).tolist()
print(json.dumps([keras.backend.backend(), outputs, state]))
"""


def random_batch(batch=3, channels=8):
    rng = np.random.default_rng(0)
    return rng.normal(1, 1, (batch, 5, 4, channels)).astype("float32")


def drawn(seed, call, shape, rate):
    """The factors that Keras draws for a state of the seed."""
    generator = keras.random.SeedGenerator(seed)
    generator.state.assign([seed, call])
    return keras.random.dropout(np.ones(shape, "float32"), rate, seed=generator)


@pytest.mark.parametrize("graph", [False, True])
def test_whole_channels_are_multiplied_with_the_drawn_factors(graph):
    layer = GlobalSpatialDropout2D(0.25, seed=5)
    call = tf.function(layer) if graph else layer
    x = random_batch()
    for step in range(2):
        factors = drawn(5, step, (3, 1, 1, 8), 0.25).numpy()
        assert set(np.unique(factors)) == {0, np.float32(1 / 0.75)}
        np.testing.assert_array_equal(call(x, training=True), x * factors)
    np.testing.assert_array_equal(layer.seed_generator.state, [5, 2])


def test_rate_and_scale():
    x = np.ones((500, 1, 1, 200), "float32")
    out = GlobalSpatialDropout2D(0.1, seed=0)(x, training=True).numpy()
    kept = out > 0
    # Four standard deviations of a mean of 100,000 draws.
    assert abs(kept.mean() - 0.9) < 4 * np.sqrt(0.09 / kept.size)
    np.testing.assert_allclose(out[kept], 1 / 0.9, rtol=1e-6)
    # Neither images nor channels share their draws.
    for axis in (0, 3):
        shares = kept.mean(axis)
        deviation = np.sqrt(0.09 / x.shape[axis])
        assert 0.8 * deviation < shares.std() < 1.2 * deviation


@pytest.mark.parametrize(
    ("rate", "training"), [(0.5, False), (0.5, None), (0, True)]
)
def test_nothing_is_dropped(rate, training):
    layer = GlobalSpatialDropout2D(rate, seed=1)
    x = random_batch()
    np.testing.assert_array_equal(layer(x, training=training), x)
    if rate:
        np.testing.assert_array_equal(layer.seed_generator.state, [1, 0])


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_drops_the_same_channels(dtype):
    layer = GlobalSpatialDropout2D(0.5, seed=2, dtype=dtype)
    out = layer(random_batch(), training=True)
    assert out.dtype == layer.compute_dtype == dtype.removeprefix("mixed_")
    rounded = tf.cast(random_batch(), out.dtype)
    factors = tf.cast(drawn(2, 0, (3, 1, 1, 8), 0.5), out.dtype)
    np.testing.assert_array_equal(
        tf.cast(out, "float32"), tf.cast(rounded * factors, "float32")
    )


def test_channels_first():
    layer = GlobalSpatialDropout2D(0.5, data_format="channels_first", seed=2)
    x = random_batch().transpose(0, 3, 1, 2)
    factors = drawn(2, 0, (3, 8, 1, 1), 0.5).numpy()
    np.testing.assert_array_equal(layer(x, training=True), x * factors)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("parts", [(2, 2), (3, 2), (1, 4)])
def test_two_replicas_drop_what_one_drops(two_replicas, parts, graph):
    x = random_batch(sum(parts))
    one = GlobalSpatialDropout2D(0.5, seed=6)
    with two_replicas.scope():
        layer = GlobalSpatialDropout2D(0.5, seed=6)

    def on_all(batch):
        return two_replicas.run(
            lambda x: layer(x, training=True), args=(batch,)
        )

    split = np.split(x, [parts[0]])
    batch = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(split[context.replica_id_in_sync_group])
    )
    call = tf.function(on_all, autograph=False) if graph else on_all
    for step in range(1, 3):
        found = two_replicas.experimental_local_results(call(batch))
        wanted = one(x, training=True)
        assert not np.array_equal(wanted, x)
        np.testing.assert_array_equal(np.concatenate(found), wanted)
        states = two_replicas.experimental_local_results(
            layer.seed_generator.state.value
        )
        np.testing.assert_array_equal(states, [[6, step]] * 2)


def test_on_jax():
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    backend, outputs, state = json.loads(done.stdout.splitlines()[-1])
    assert (backend, state) == ("jax", [3, 2])
    first, second = np.array(outputs)
    assert not np.array_equal(first, second)
    for out in first, second:
        assert set(np.unique(out)) == {0, 2}
        np.testing.assert_array_equal(out, out[:, :1, :1] + 0 * out)
