"""Tests of networks on a backbone of the user's own."""

import json
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import numpy

import keras_pspnet as kp
from keras_pspnet.models.custom_backbone import as_backbone, backbone_config

pytestmark = pytest.mark.long

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 33, 41, 3), np.uint8)
MASKS = np.random.default_rng(1).integers(0, 3, (2, 33, 41), np.uint8)


def mobile(**kwargs: Any) -> kp.PSPNet:
    net = keras.applications.MobileNetV2(
        (None, None, 3), alpha=0.35, include_top=False, weights=None
    )
    backbone = kp.dilate(net, aux="block_4_expand_relu", features="block_7_add")
    kwargs = {"mean": (127.5,) * 3, "std": (127.5,) * 3, **kwargs}
    return kp.PSPNet(3, backbone, **kwargs)


@pytest.fixture(scope="module")
def trained() -> kp.PSPNet:
    """After one step, so that no weight is special."""
    model = mobile()
    model.compile(learning_rate=0.1, run_eagerly=True)
    model.fit(IMAGES, MASKS, batch_size=2, verbose=0)
    return model


def logits(model: Any) -> np.ndarray:
    found = model(IMAGES, training=False)
    return numpy(found["main"] if isinstance(found, dict) else found)


def test_it_has_both_heads_and_trains(trained) -> None:
    outputs = trained(IMAGES, training=False)
    assert {key: value.shape for key, value in outputs.items()} == {
        "main": (2, 33, 41, 3),
        "aux": (2, 33, 41, 3),
    }
    assert trained.backbone.name.startswith("mobilenetv2")
    fresh = mobile()
    moved = [
        not np.array_equal(numpy(new), numpy(old))
        for new, old in zip(
            trained.trainable_variables, fresh.trainable_variables, strict=True
        )
    ]
    assert sum(moved) > 0.9 * len(moved)


def test_new_layers_learn_faster() -> None:
    model = mobile()
    model.compile(learning_rate=0.01, head_lr_multiplier=10.0)
    model.build_training(None, None)
    before = [numpy(each) for each in model.trainable_variables]
    model.optimizer.apply([keras.ops.ones_like(each) for each in before])
    backbone = {each.path for each in model.backbone.trainable_variables}
    for variable, weight in zip(model.trainable_variables, before, strict=True):
        factor = 1 if variable.path in backbone else 10
        want = weight - 0.01 * factor * (1 + 1e-4 * weight)
        np.testing.assert_allclose(numpy(variable), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["keras", "folder"])
def test_it_comes_back_from_what_is_saved(trained, tmp_path, how) -> None:
    if how == "keras":
        trained.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
    else:
        kp.save_pretrained(trained, tmp_path / "model")
        again = kp.load_pretrained(tmp_path / "model", aux=True)
    assert isinstance(again, kp.PSPNet)
    np.testing.assert_array_equal(logits(again), logits(trained))
    assert again.get_config() == trained.get_config()


def test_another_number_of_classes(trained, tmp_path) -> None:
    kp.save_pretrained(trained, tmp_path / "model")
    again = kp.load_pretrained(tmp_path / "model", num_classes=5)
    assert again.num_classes == 5
    for got, want in zip(
        again.backbone.weights, trained.backbone.weights, strict=True
    ):
        np.testing.assert_array_equal(numpy(got), numpy(want))


@pytest.mark.slow
def test_every_export_gives_its_masks(trained, tmp_path) -> None:
    parities = [
        kp.export_onnx(trained, tmp_path / "model.onnx"),
        kp.export_litert(trained, tmp_path / "model.tflite", size=(33, 41)),
        kp.export_saved_model(trained, tmp_path / "1"),
    ]
    assert all(parity.passed for parity in parities)
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    masks = served["predict_uint8"](images=tf.constant(IMAGES))["mask"]
    want = logits(trained).argmax(-1)
    assert (masks.numpy() == want).mean() > 0.999


def test_predictions_fold_what_they_can(trained) -> None:
    result = kp.segment(trained, IMAGES[0])
    assert (result.mask == logits(trained)[0].argmax(-1)).mean() > 0.99


def one_output() -> keras.Model:
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(8, 3, 8, "same")(image))


def test_features_alone_train_without_an_auxiliary_head() -> None:
    model = kp.PSPNet(3, one_output(), aux=False)
    assert logits(model).shape == (2, 33, 41, 3)
    with pytest.raises(ValueError, match="`aux` must be False for a backbone"):
        kp.PSPNet(3, one_output())


def vector() -> keras.Model:
    image = keras.Input((9, 9, 3))
    return keras.Model(image, layers.GlobalAveragePooling2D()(image))


@pytest.mark.parametrize(
    ("backbone", "match"),
    [
        ("resnet51", "`backbone` must be one of 'resnet18'"),
        (50, "`backbone` must be the name of a ResNet or a functional"),
        (vector(), "`backbone` must map an image to features, or to"),
    ],
)
def test_what_is_no_backbone_is_refused(backbone, match) -> None:
    with pytest.raises(ValueError, match=match):
        kp.PSPNet(3, backbone)


def test_published_weights_are_those_of_named_backbones() -> None:
    with pytest.raises(ValueError, match="`backbone_weights` must be None for"):
        kp.PSPNet(3, one_output(), aux=False, backbone_weights="imagenet")


def test_a_configuration_imports_nothing() -> None:
    config = json.loads(json.dumps(backbone_config(one_output())))
    assert as_backbone(config, False).name == config["config"]["name"]
    config["config"]["layers"][1]["module"] = "os"
    with pytest.raises(
        ValueError, match="must consist of Keras's layers.*os.C"
    ):
        as_backbone(config, False)
