"""Tests of predictors, and of what copies of a network leave behind."""

import gc
import weakref
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import assert_close, conv_model, picture, tiny_pspnet

import keras_pspnet as kp
from keras_pspnet.callbacks import ValidationScores
from keras_pspnet.inference.predictor import predict_logits, weights_sha256
from keras_pspnet.labels import LabelSet

LABELS = LabelSet("two", ("land", "sea"), ((0, 200, 0), (0, 0, 200)))


def images(height: int = 21, width: int = 30) -> np.ndarray:
    return picture(height, width)[None].astype("float32")


def doubled(images: np.ndarray) -> np.ndarray:
    """Logits of two classes: red twice, and green."""
    return images[..., :2] * np.float32([2, 1])


def change(model: keras.Model, factor: float = 1.1) -> None:
    for weight in model.trainable_weights:
        weight.assign(weight * factor)


class Mixing(keras.layers.Layer):
    """Has weights, and a constructor that no config can call."""

    def __init__(self, dense: keras.layers.Layer) -> None:
        super().__init__()
        self.dense = dense

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        return self.dense(inputs)

    def compute_output_shape(self, input_shape):
        return self.dense.compute_output_shape(input_shape)


def foreign_model() -> keras.Model:
    """Operations and layers of which folding knows nothing."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Lambda(lambda x: x / np.float32(255))(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.ops.relu(x) + x[..., ::-1]
    return keras.Model(image, keras.layers.Conv2D(2, 1)(x))


# === What copies leave behind ===


def alive(model: keras.Model) -> Counter:
    """Counts what keeps weights in memory, and the nodes of the model."""
    gc.collect()
    counts = Counter()
    for each in gc.get_objects():
        if isinstance(each, keras.Model | keras.Variable | keras.Layer):
            counts[type(each).__name__] += 1
        if isinstance(each, tf.Tensor | tf.Variable):
            counts["tensors"] += 1
    pending = [model]
    while pending:
        for each in pending.pop().operations:
            counts["nodes"] += len(each._inbound_nodes)
            counts["nodes"] += len(each._outbound_nodes)
            if isinstance(each, keras.Model):
                pending.append(each)
    return counts


@pytest.mark.parametrize("make", [tiny_pspnet, foreign_model])
def test_twenty_changes_of_weights_leave_nothing_behind(make) -> None:
    model = make()
    untouched = alive(model)["nodes"]
    kp.segment(model, picture(21, 30))
    # What is remembered shares the memory of the weights until they change.
    change(model)
    kp.segment(model, picture(21, 30))
    before = alive(model)
    for _ in range(20):
        change(model, 0.99)
        kp.segment(model, picture(21, 30))
    after = alive(model)
    assert after == before
    assert after["nodes"] == untouched


def test_epochs_with_validation_leave_nothing_behind() -> None:
    model = tiny_pspnet()
    model.compile(run_eagerly=True)
    x = picture(33, 33)[None]
    y = np.zeros((1, 33, 33), "uint8")
    scores = ValidationScores([(x, y)])

    def epochs(count: int) -> Counter:
        for epoch in range(count):
            change(model)
            scores.on_epoch_end(epoch, {})
        return alive(model)

    scores.set_model(model)
    epochs(2)
    assert epochs(2) == epochs(6)


@pytest.mark.parametrize("make", [tiny_pspnet, foreign_model])
def test_a_copy_dies_with_its_predictor(make) -> None:
    model = make()
    before = alive(model)
    predictor = kp.Predictor(model)
    run = weakref.ref(predictor.run)
    predictor(images())
    del predictor
    gc.collect()
    assert run() is None
    after = alive(model)
    assert after["nodes"] == before["nodes"]
    assert after["Functional"] <= before["Functional"]


def test_a_predictor_does_not_keep_its_model() -> None:
    model = tiny_pspnet()
    predictor = kp.Predictor(model)
    want = predict_logits(model, images())
    dead = [weakref.ref(model), weakref.ref(model.get_layer("head_conv"))]
    del model
    gc.collect()
    assert [each() for each in dead] == [None, None]
    assert_close(predictor(images()), want, 1e-5)


# === Snapshots ===


@pytest.mark.parametrize("make", [tiny_pspnet, foreign_model])
def test_a_predictor_is_a_snapshot(make) -> None:
    model = make()
    predictor = kp.Predictor(model)
    before = predict_logits(model, images())
    digest = weights_sha256(model)
    assert_close(predictor(images()), before, 1e-5)
    change(model)
    later = predict_logits(model, images())
    assert np.abs(later - before).max() > 1e-2 * np.abs(before).max()
    assert_close(predictor(images()), before, 1e-5)
    # The model itself is followed.
    mask = kp.segment(model, picture(21, 30)).mask
    np.testing.assert_array_equal(mask, later[0].argmax(-1))
    assert_close(predictor(images()), before, 1e-5)
    assert predictor.weights_sha256() == digest != weights_sha256(model)
    assert predictor.traces() == 1


def test_segment_and_evaluate_take_a_predictor() -> None:
    model, image = tiny_pspnet(), picture(33, 47)
    predictor = kp.Predictor(model)
    want = kp.segment(model, image, scales=(0.75, 1), flip=True, window=24)
    got = kp.segment(predictor, image, scales=(0.75, 1), flip=True, window=24)
    np.testing.assert_array_equal(got.mask, want.mask)
    scores = kp.evaluate(predictor, [(image, want.mask)])
    assert (
        scores.to_dict() == kp.evaluate(model, [(image, want.mask)]).to_dict()
    )
    assert predictor.traces() == 1


def test_a_predictor_computes_in_bfloat16() -> None:
    model = tiny_pspnet()
    want = predict_logits(model, images())
    half = kp.Predictor(model, precision="bfloat16")(images())
    assert 1e-4 < np.abs(half - want).max() / np.abs(want).max() < 0.05


def test_what_a_model_has_may_be_replaced() -> None:
    model = conv_model(2)
    own = kp.Predictor(model, LABELS, (8, 12), (1, 2, 3), True, 2)
    assert (own.labels, own.size, own.fill) == (LABELS, (8, 12), (1, 2, 3))
    assert (own.align_corners, own.batch_size) == (True, 2)
    plain = kp.Predictor(model)
    assert (plain.size, plain.fill) == (None, (0, 0, 0))
    assert (plain.align_corners, plain.batch_size) == (False, None)


def test_a_layer_without_a_config_runs_in_its_model() -> None:
    image = keras.Input((None, None, 3))
    x = Mixing(keras.layers.Dense(4))(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(x))
    predictor = kp.Predictor(model)
    assert predictor.model is model
    assert predictor.traces() is None
    change(model)
    assert_close(predictor(images()), predict_logits(model, images()), 1e-5)
    assert predictor.weights_sha256() == weights_sha256(model)
    with pytest.raises(ValueError, match="'float32' for a model that cannot"):
        kp.Predictor(model, precision="bfloat16")


# === Functions ===


def test_functions_need_labels() -> None:
    own = kp.Predictor(doubled, LABELS)
    assert own.weights_sha256() is None
    assert own.model is None
    with pytest.raises(ValueError, match="`labels` must be given.*=None"):
        kp.Predictor(doubled)
    with pytest.raises(ValueError, match="left out for a function.*'bfloat16'"):
        kp.Predictor(doubled, LABELS, precision="bfloat16")
    with pytest.raises(ValueError, match="`precision` must.*'float16'"):
        kp.Predictor(conv_model(), precision="float16")
    with pytest.raises(TypeError, match="Keras model or a function.*: str"):
        kp.Predictor("model.keras", LABELS)
