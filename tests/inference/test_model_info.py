"""Tests of what a model says of itself."""

import hashlib
import json

import keras
import pytest
from folded_models import normalized_model
from support import conv_model, numpy, tiny_pspnet

from keras_pspnet.inference.model_info import (
    align_corners,
    description,
    fill_color,
    model_labels,
    network_size,
    weights_sha256,
)
from keras_pspnet.inference.predictor import as_predictor
from keras_pspnet.labels import LabelSet, generic_labels

LABELS = LabelSet("three", ("a", "b", "c"), ((1, 2, 3),) * 3)


def test_the_hash_is_that_of_all_weights_in_order() -> None:
    model = normalized_model()
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(numpy(weight).astype("<f4").tobytes())
    assert weights_sha256(model) == digest.hexdigest()
    statistic = model.get_layer("norm").moving_mean
    statistic.assign(statistic + 1)
    assert weights_sha256(model) != digest.hexdigest()


def test_the_description_is_what_exports_need() -> None:
    model, pspnet = (
        tiny_pspnet(labels=LABELS, mean=(10, 20, 30), align_corners=True),
        tiny_pspnet(),
    )
    for form in (model, model.inference_model()):
        assert json.loads(json.dumps(description(form))) == {
            "labels": LABELS.to_dict(),
            "fill": [10, 20, 30],
            "align_corners": True,
        }
    assert description(pspnet)["labels"] == generic_labels(3).to_dict()
    assert description(pspnet)["align_corners"] is False
    for each in (model, pspnet):
        assert as_predictor(each).align_corners is align_corners(each)
        assert as_predictor(each).fill == pytest.approx(fill_color(each))


def test_labels_are_the_model_s_or_made_up() -> None:
    model = conv_model(3)
    assert model_labels(model).names == ("class_0", "class_1", "class_2")
    model.labels = LABELS
    assert model_labels(model) is LABELS
    pspnet = tiny_pspnet(labels=LABELS)
    assert model_labels(pspnet) == LABELS
    assert model_labels(pspnet.inference_model()) == LABELS


@pytest.mark.parametrize(
    ("size", "want"),
    [((24, 40), (24, 40)), ((None, 40), None), ((None, None), None)],
)
def test_network_size(size, want) -> None:
    image = keras.Input((*size, 3))
    assert network_size(keras.Model(image, keras.ops.mean(image))) == want
