"""Tests of networks that start from a trained one."""

import keras
import numpy as np
import pytest
from support import numpy, tiny_pspnet

import keras_pspnet as kp
from keras_pspnet.labels import LabelSet
from keras_pspnet.pretrained import (
    NETWORK,
    config_of,
    save_pretrained,
    start_from,
)

LABELS = LabelSet("three", ("x", "y", "z"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
OTHERS = LabelSet("others", ("u", "v", "w"), LABELS.colors)
MEAN = (100.0, 110.0, 120.0)


@pytest.fixture(scope="module")
def trained():
    return tiny_pspnet(labels=LABELS, mean=MEAN, bin_sizes=(1, 4))


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "model"
    save_pretrained(trained, path)
    return path


def started(folder, classes=3, **kwargs):
    config = config_of(folder)
    network = {name: config[name] for name in (*NETWORK, "mean", "std")}
    # Other initial weights than those of the trained model.
    keras.utils.set_random_seed(1)
    model = kp.PSPNet(classes, **(network | kwargs))
    before = {weight.path: numpy(weight) for weight in model.weights}
    start_from(model, folder)
    return model, before


def kept(model, before):
    """Which of the layers have their own weights still."""
    return {
        weight.path.partition("/")[0]
        for weight in model.weights
        if "kernel" in weight.path
        and np.array_equal(numpy(weight), before[weight.path])
    }


@pytest.mark.parametrize(
    ("classes", "labels", "own"),
    [
        (3, LABELS, set()),
        (3, OTHERS, {"head_classifier", "aux_classifier"}),
        (4, None, {"head_classifier", "aux_classifier"}),
    ],
)
def test_all_weights_but_those_of_other_classes(
    trained, folder, classes, labels, own
):
    model, before = started(folder, classes, labels=labels)
    found = kept(model, before)
    assert found == own if classes == 3 else found <= own
    theirs = {weight.path: numpy(weight) for weight in trained.weights}
    for weight in model.weights:
        if weight.path.partition("/")[0] not in own:
            np.testing.assert_array_equal(
                numpy(weight), theirs[weight.path], err_msg=weight.path
            )


def test_the_network_is_that_of_the_trained_model(folder, trained):
    config = config_of(folder)
    assert config["bin_sizes"] == [1, 4]
    assert tuple(config["mean"]) == MEAN
    assert config["backbone"] == trained.get_config()["backbone"]
    assert config["labels"]["names"] == list(LABELS.names)


@pytest.mark.parametrize(
    "other",
    [
        {"align_corners": True},
        {"mean": (0.0,) * 3},
        pytest.param({"pooling": "max"}, marks=pytest.mark.slow),
    ],
)
def test_another_network_is_refused(folder, other):
    name = next(iter(other))
    with pytest.raises(ValueError, match=f"`start_from` .* whose `{name}`"):
        started(folder, **other)
