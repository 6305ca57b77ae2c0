"""Tests of exports of models for other bands than RGB."""

import json
import zipfile
from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from band_files import band_conv, tile
from image_files import RGB, encoded

import keras_pspnet as kp
from keras_pspnet.data import read_image
from keras_pspnet.export.verify import default_images, sample_images
from keras_pspnet.inference import load_exported, predict_logits

SIZE = (20, 30)


@pytest.fixture(scope="module", params=[1, 4])
def net(request):
    return band_conv(request.param)


def test_images_to_verify_on_are_such_as_the_model_expects() -> None:
    images = np.concatenate(default_images(band_conv(5, SIZE)))
    assert images.shape[1:] == (*SIZE, 5)
    assert abs(images.mean() - 2000) < 500 and 800 < images.std() < 1300
    assert sample_images(SIZE, seed=0).max() <= 255


@pytest.fixture
def optimized() -> Iterator[None]:
    """Graphs as servers run them, whose errors name their inputs."""
    options = tf.config.optimizer.get_experimental_options()
    set_options = tf.config.optimizer.set_experimental_options
    set_options({"disable_meta_optimizer": False})
    yield
    set_options(options)


def test_saved_model(net, optimized, tmp_path) -> None:
    bands = net.input_shape[-1]
    assert kp.export_saved_model(net, tmp_path / "1", batch_sizes=(1, 2)).passed
    served = tf.saved_model.load(tmp_path / "1").signatures
    arrays = {"predict_array", "predict_uint8", "probabilities", "logits"}
    files = {"scores"} if bands == 1 else set()
    assert set(served) == {"serving_default", *arrays, *files}
    image = tile(bands, "float32")[None]
    mask = served["predict_array"](images=tf.constant(image))["mask"]
    predictor = load_exported(tmp_path / "1")
    assert predictor.bands == bands and predictor.fill == (2000.0,) * bands
    np.testing.assert_array_equal(kp.segment(predictor, image[0]).mask, mask[0])
    if bands > 1:
        again = served["serving_default"](images=tf.constant(image))["mask"]
        np.testing.assert_array_equal(again, mask)
    else:
        gray = encoded(read_image(encoded(RGB), bands=1)[..., 0])
        files = tf.constant([gray, b"no"])
        answer = served["serving_default"](image_bytes=files)
        statuses = answer["status"].numpy().tolist()
        assert statuses == [b"OK", b"NOT_JPEG_OR_PNG"]
        mask = tf.io.decode_png(answer["mask_png_bytes"][0])[..., 0]
        np.testing.assert_array_equal(mask, kp.segment(net, gray).mask)
    with pytest.raises(Exception, match="images"):
        served["predict_array"](images=tf.zeros((1, 9, 9, bands + 1)))


def test_onnx(net, tmp_path) -> None:
    bands = net.input_shape[-1]
    assert kp.export_onnx(net, tmp_path / "net.onnx").passed
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert session.get_inputs()[0].shape[-1] == bands
    image = tile(bands, "float32")[None]
    (got,) = session.run(["logits"], {"images": image})
    np.testing.assert_allclose(got, predict_logits(net, image), atol=1e-4)


def test_litert(net, tmp_path) -> None:
    bands = net.input_shape[-1]
    path = tmp_path / "net.tflite"
    assert kp.export_litert(net, path, size=SIZE).passed
    details = Interpreter(str(path)).get_input_details()[0]
    assert details["shape"].tolist() == [1, *SIZE, bands]
    with zipfile.ZipFile(path) as archive:
        said = json.loads(archive.read("pspnet.json"))
    assert said["fill"] == [2000.0] * bands
    result = kp.segment(load_exported(path), tile(bands))
    assert result.mask.shape == SIZE


def test_litert_is_calibrated_on_bands(tmp_path) -> None:
    images = [tile(4, seed=seed) for seed in range(8)]
    path = tmp_path / "net.tflite"
    kp.export_litert(band_conv(), path, SIZE, "int8", calibration=images)
    assert load_exported(path).bands == 4
