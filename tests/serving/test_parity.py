"""The same pictures in every runtime that takes an export."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from triton_server import Tensor, predict_http

from keras_pspnet import export_litert, export_onnx
from keras_pspnet.export.verify import LIMITS, sample_images
from keras_pspnet.inference.predictor import predict_logits
from keras_pspnet.inference.segment import predict_masks

SHAPES = ((33, 47), (64, 64), (97, 65), (48, 120), (128, 96))
COUNT = 20
# Of the greatest logit, and of the pixels.
FLOAT32 = 1e-4, 0.9999
LITERT = ("float32", "float16", "int8")


@pytest.fixture(scope="module")
def images():
    """float32 (20, H, W, 3) by shape; whole numbers, as files have them."""
    return {
        shape: np.concatenate(
            [sample_images(shape, seed=seed) for seed in range(COUNT // 2)]
        ).round()
        for shape in SHAPES
    }


@pytest.fixture(scope="module")
def logits(network, images):
    """What Keras computes."""
    return {
        shape: [predict_logits(network, image[None]) for image in images[shape]]
        for shape in SHAPES
    }


def assert_same(found, wanted, limits, record_property, engine):
    """Compares all pictures of one shape, and notes how many there were."""
    most, least = limits
    assert len(found) == len(wanted) == COUNT
    scale = max(np.abs(want).max() for want in wanted)
    same = []
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= most * scale
        same.append((got.argmax(-1) == want.argmax(-1)).mean())
    assert np.mean(same) >= least
    record_property("engine", engine)
    record_property("cases", COUNT)


shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(scope="module")
def runtimes(network, signatures, c_session_engine, tmp_path_factory):
    """Functions from images to logits."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(network, path)
    onnx = onnxruntime.InferenceSession(path)
    return {
        "SavedModel": lambda images: signatures["logits"](
            images=tf.constant(images)
        )["logits"].numpy(),
        "C session": lambda images: c_session_engine.predict(
            "logits", {"images": images}
        )["logits"],
        "ONNX": lambda images: onnx.run(["logits"], {"images": images})[0],
    }


@pytest.mark.promise("R8")
@shapes
@pytest.mark.parametrize("runtime", ["SavedModel", "C session", "ONNX"])
def test_float32(runtimes, images, logits, shape, record_property, runtime):
    run = runtimes[runtime]
    found = [run(image[None]) for image in images[shape]]
    assert_same(found, logits[shape], FLOAT32, record_property, runtime)


@pytest.mark.promise("R8")
@shapes
@pytest.mark.parametrize("precision", LITERT)
def test_litert(
    network, images, logits, shape, precision, record_property, tmp_path
):
    path = tmp_path / "model.tflite"
    # Others than those that are compared.
    calibration = [
        image
        for seed in range(COUNT, COUNT + 8)
        for image in sample_images(shape, seed=seed)
    ]
    export_litert(
        network,
        path,
        shape,
        precision,
        calibration if precision == "int8" else (),
    )
    runner = Interpreter(str(path)).get_signature_runner()
    found = [runner(images=image[None])["logits"] for image in images[shape]]
    limits = FLOAT32 if precision == "float32" else LIMITS[precision]
    engine = f"LiteRT {precision}"
    assert_same(found, logits[shape], limits, record_property, engine)


@pytest.mark.promise("R8")
@shapes
def test_triton(network, triton, images, shape, record_property):
    same = []
    for image in images[shape]:
        inputs = {"images": Tensor.of(image[None].astype("uint8"))}
        answer = predict_http(triton, "pspnet_array", inputs)
        want = predict_masks(network, image[None])
        assert answer["mask"].array.shape == want.shape
        same.append((answer["mask"].array == want).mean())
    assert np.mean(same) >= FLOAT32[1]
    record_property("engine", "Triton HTTP")
    record_property("cases", len(same))
