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
    main_output,
    model_labels,
    network_size,
    weights_sha256,
)
from keras_pspnet.inference.predictor import as_predictor
from keras_pspnet.labels import LabelSet, generic_labels

LABELS = LabelSet("three", ("a", "b", "c"), ((1, 2, 3),) * 3)


class Subclassed(keras.Model):
    """Has neither inputs nor outputs before it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = keras.layers.Conv2D(4, 3, padding="same")

    def call(self, inputs):
        return self.conv(inputs)


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


def test_models_that_say_nothing_have_names_and_no_size() -> None:
    assert model_labels(Subclassed()) == generic_labels(4)
    assert network_size(Subclassed()) is None
    assert fill_color(Subclassed()) == (0, 0, 0)
    assert description(conv_model())["fill"] == [0, 0, 0]


def test_labels_are_the_model_s_or_made_up() -> None:
    model = conv_model(3)
    assert model_labels(model).names == ("class_0", "class_1", "class_2")
    model.labels = LABELS
    assert model_labels(model) is LABELS
    pspnet = tiny_pspnet(labels=LABELS)
    assert model_labels(pspnet) == LABELS
    assert model_labels(pspnet.inference_model()) == LABELS


def test_main_output_is_the_one_that_counts() -> None:
    assert main_output({"main": 1, "aux": 2}) == 1
    assert main_output(3) == 3


@pytest.mark.parametrize(
    ("size", "want"),
    [((24, 40), (24, 40)), ((None, 40), None), ((None, None), None)],
)
def test_network_size(size, want) -> None:
    image = keras.Input((*size, 3))
    assert network_size(keras.Model(image, keras.ops.mean(image))) == want
