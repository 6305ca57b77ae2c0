"""Tests of predictors: snapshots of models, and functions of any kind."""

import gc
import weakref

import keras
import numpy as np
import pytest
import reference
from folded_models import batch, foreign_model, scale_weights
from support import assert_close, conv_model, picture, tiny_pspnet

import keras_pspnet as kp
from keras_pspnet.inference.model_info import weights_sha256
from keras_pspnet.inference.predictor import (
    as_predictor,
    fit_inside,
    predict_logits,
)
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import LabelSet

LABELS = LabelSet("two", ("land", "sea"), ((0, 200, 0), (0, 0, 200)))


def doubled(images: np.ndarray) -> np.ndarray:
    """Logits of two classes: red twice, and green."""
    return images[..., :2] * np.float32([2, 1])


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


# === Snapshots ===


def test_a_predictor_does_not_keep_its_model() -> None:
    model = tiny_pspnet()
    predictor = kp.Predictor(model)
    want = predict_logits(model, batch(21, 30))
    dead = [weakref.ref(model), weakref.ref(model.get_layer("head_conv"))]
    del model
    gc.collect()
    assert [each() for each in dead] == [None, None]
    assert_close(predictor(batch(21, 30)), want, 1e-5)


@pytest.mark.parametrize(
    "make", [pytest.param(tiny_pspnet, marks=pytest.mark.slow), foreign_model]
)
def test_a_predictor_is_a_snapshot(make) -> None:
    model = make()
    predictor = kp.Predictor(model)
    before = predict_logits(model, batch(21, 30))
    digest = weights_sha256(model)
    assert_close(predictor(batch(21, 30)), before, 1e-5)
    scale_weights(model)
    later = predict_logits(model, batch(21, 30))
    assert np.abs(later - before).max() > 1e-2 * np.abs(before).max()
    assert_close(predictor(batch(21, 30)), before, 1e-5)
    # The model itself is followed.
    mask = kp.segment(model, picture(21, 30)).mask
    np.testing.assert_array_equal(mask, later[0].argmax(-1))
    assert_close(predictor(batch(21, 30)), before, 1e-5)
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


def test_what_a_model_has_may_be_replaced() -> None:
    model = conv_model(2)
    own = kp.Predictor(model, LABELS, (8, 12), (1, 2, 3), True)
    assert (own.labels, own.size, own.fill) == (LABELS, (8, 12), (1, 2, 3))
    assert own.align_corners is True
    plain = kp.Predictor(model)
    assert (plain.size, plain.fill) == (None, (0, 0, 0))
    assert plain.align_corners is False


def test_a_layer_without_a_config_runs_in_its_model() -> None:
    image = keras.Input((None, None, 3))
    x = Mixing(keras.layers.Dense(4))(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(x))
    predictor = kp.Predictor(model)
    assert predictor.model is model
    assert predictor.traces() is None
    scale_weights(model)
    assert_close(
        predictor(batch(21, 30)), predict_logits(model, batch(21, 30)), 1e-5
    )
    assert predictor.weights_sha256() == weights_sha256(model)
    with pytest.raises(ValueError, match="'float32' for a model that cannot"):
        kp.Predictor(model, precision="bfloat16")


# === Functions ===


def test_any_function_is_a_network() -> None:
    own = kp.Predictor(doubled, LABELS)
    assert as_predictor(own) is own
    assert own.traces() is None
    image = picture(9, 14)
    result = segment(own, image)
    assert result.labels is LABELS
    want = 2.0 * image[..., 0] < image[..., 1]
    np.testing.assert_array_equal(result.mask, want)
    # Integers come as float32, and float64 goes back as it.
    exact = kp.Predictor(
        lambda images: images[..., :2].astype("float64"), LABELS
    )
    assert exact(image[None]).dtype == np.float32


def test_images_are_fitted_into_a_fixed_size() -> None:
    seen = []

    def run(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return doubled(images)

    own = kp.Predictor(run, LABELS, size=(8, 12), fill=(1, 2, 3))
    images = batch(16, 12, 3)
    logits = own(images)
    inside = doubled(reference.bilinear(images, (8, 6)))
    assert_close(logits, inside, 1e-5)
    want = reference.bilinear(inside, (16, 12))
    assert_close(own.logits(images), want, 1e-5)
    for each in seen:
        assert each.shape == (3, 8, 12, 3)
        assert (each[:, :, 6:] == (1, 2, 3)).all()


@pytest.mark.parametrize(
    "shape", [(1, 4, 5, 3), (1, 4, 5), (1, 5, 4, 2), (2, 4, 5, 2)]
)
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    own = kp.Predictor(lambda images: np.zeros(shape), LABELS)
    with pytest.raises(
        ValueError,
        match=r"`run` must return logits of shape \(1, 4, 5, 2\) for images of "
        r"shape \(1, 4, 5, 3\)\. Received: shape \(" + str(shape)[1:-1],
    ):
        own(batch(4, 5, 1))


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 5, 7, 4), (1, 0, 7, 3)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="`images` must be RGB images of sha"):
        kp.Predictor(doubled, LABELS)(np.zeros(shape, "float32"))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="`model` must be a Keras.*ed: str"):
        as_predictor("model.keras")
    with pytest.raises(TypeError, match="`model` must be.*Received: Conv2D"):
        as_predictor(keras.layers.Conv2D(2, 1))


def test_precisions_are_checked() -> None:
    with pytest.raises(ValueError, match="`precision` must.*'float16'"):
        as_predictor(conv_model(), "float16")


def test_functions_need_labels() -> None:
    own = kp.Predictor(doubled, LABELS)
    assert own.weights_sha256() is None
    assert own.model is None
    with pytest.raises(ValueError, match="`labels` must be given.*=None"):
        kp.Predictor(doubled)
    with pytest.raises(ValueError, match="`precision` left out.*'bfloat16'"):
        kp.Predictor(doubled, LABELS, precision="bfloat16")
    with pytest.raises(ValueError, match="`precision` must.*'float16'"):
        kp.Predictor(conv_model(), precision="float16")
    with pytest.raises(TypeError, match="Keras model or a function.*: str"):
        kp.Predictor("model.keras", LABELS)


# === Fitting images inside ===


@pytest.mark.parametrize(
    ("size", "inside"),
    [
        ((16, 12), (8, 6)),
        ((4, 6), (8, 12)),
        ((3, 100), (1, 12)),
        ((1, 1000), (1, 12)),
        ((100, 1), (8, 1)),
        ((9, 12), (8, 11)),
        ((8, 12), (8, 12)),
    ],
)
def test_fitted_images_keep_their_ratio(size, inside) -> None:
    images = batch(*size)
    fitted, found = fit_inside(images, (8, 12), (7, 8, 9))
    assert found == inside
    assert fitted.shape == (2, 8, 12, 3)
    assert fitted.dtype == np.float32
    want = np.empty((2, 8, 12, 3))
    want[:] = (7, 8, 9)
    want[:, : inside[0], : inside[1]] = reference.bilinear(images, inside)
    np.testing.assert_allclose(fitted, want, rtol=1e-5, atol=1e-4)
