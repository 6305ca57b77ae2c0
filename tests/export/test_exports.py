"""Tests of folding, ONNX and LiteRT beside the model they were made of."""

import importlib.util
import os
import zipfile
from io import BytesIO

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from folded_models import normalized_model
from PIL import Image
from support import (
    assert_close,
    conv_model,
    picture,
    randomize,
    tiny_pspnet,
)

from keras_pspnet import export_litert, export_onnx, export_saved_model
from keras_pspnet.data.images import read_image
from keras_pspnet.export import verify
from keras_pspnet.export.decode_graph import decode
from keras_pspnet.inference.fold import as_constants, fold, refold
from keras_pspnet.inference.predictor import predict_logits

SIZE = (48, 64)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return tiny_pspnet().inference_model()


def batch(height: int, width: int) -> np.ndarray:
    images = [picture(height, width), picture(height, width)[::-1]]
    return np.stack(images).astype("float32")


# === Folding ===


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"align_corners": True, "stem": "deep_wide", "pooling": "max"},
        {
            "contract_dilation": False,
            "output_stride": 16,
            "stem": "7x7",
            "reduce": False,
        },
        pytest.param({"bin_sizes": ()}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "size", [(65, 41), pytest.param((48, 48), marks=pytest.mark.slow)]
)
def test_a_folded_network_gives_the_model_s_logits(arguments, size) -> None:
    model = tiny_pspnet(**arguments).inference_model()
    randomize(model.get_layer("head_bn"))
    want = predict_logits(model, batch(*size))
    for sides in ((None, None), size):
        network = fold(model, sides)
        assert_close(network(batch(*size)), want, 1e-5)
        assert not [
            each
            for each in network._flatten_layers()
            if isinstance(each, keras.layers.BatchNormalization)
        ]


@pytest.mark.parametrize("make", [tiny_pspnet, normalized_model])
def test_what_was_trained_in_mixed_precision_is_exported(tmp_path, make):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = make()
    finally:
        keras.config.set_dtype_policy("float32")
    export_onnx(mixed, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (logits,) = session.run(["logits"], {"images": batch(40, 40)})
    exact = make()
    exact.set_weights(mixed.get_weights())
    assert_close(logits, predict_logits(exact, batch(40, 40)), 1e-5)
    assert any(layer.compute_dtype == "bfloat16" for layer in mixed.layers)


def test_folding_leaves_the_model_alone() -> None:
    model = tiny_pspnet()
    model.compile()
    network = fold(model.inference_model(), (None, None))
    before = network(batch(32, 32)).numpy()
    for variable in model.trainable_variables:
        variable.assign(variable * 2)
    np.testing.assert_array_equal(network(batch(32, 32)), before)
    assert model.get_layer("head_bn").input is not None


def test_other_people_s_layers_stay(model) -> None:
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="theirs")(image)
    x = keras.layers.SeparableConv2D(4, 3)(x)
    shared = keras.layers.Conv2D(4, 1)(x)
    normal = keras.layers.BatchNormalization()(shared)
    theirs = keras.Model(image, shared + normal)
    randomize(theirs)
    network = fold(theirs, (None, None))
    images = batch(20, 30)
    assert_close(network(images), theirs(images), 1e-5)
    assert len(network.weights) == 2 + 3 + 2 + 4
    # A consumer that comes later changes nothing of what was folded.
    keras.layers.ReLU()(theirs.get_layer("theirs").output)
    randomize(theirs)
    refold(theirs, network)
    assert_close(network(images), theirs(images), 1e-5)


def test_a_graph_may_contain_the_weights(model) -> None:
    copy = fold(model, (None, None))
    run = tf.function(as_constants(copy), autograph=False)
    graph = run.get_concrete_function(tf.TensorSpec((None, None, None, 3)))
    want = copy(batch(20, 30))
    assert graph.variables == ()
    assert graph.captured_inputs == []
    for weight in copy.weights:
        weight.assign(weight * 0)
    # Constants are folded, which rounds otherwise.
    assert_close(graph(tf.constant(batch(20, 30))), want, 1e-5)


def test_dilation_is_one_operation(model) -> None:
    run = tf.function(as_constants(fold(model, SIZE)), autograph=False)
    graph = run.get_concrete_function(tf.TensorSpec((1, *SIZE, 3))).graph
    types = [operation.type for operation in graph.get_operations()]
    assert "SpaceToBatchND" not in types
    # The head's kernel is not cut up: its parts are weights of their own.
    assert not {"Split", "SplitV"} & set(types)


# === ONNX ===


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    parity = export_onnx(model, path)
    assert parity.passed and len(parity.rows) == 3
    return str(path)


@pytest.mark.parametrize("size", [(48, 48), (33, 95), (8, 8)])
def test_onnx_takes_every_size_and_batch(model, onnx_file, size) -> None:
    session = onnxruntime.InferenceSession(onnx_file)
    (logits,) = session.run(["logits"], {"images": batch(*size)})
    assert_close(logits, predict_logits(model, batch(*size)), 1e-5)


def test_onnx_says_what_it_is(onnx_file) -> None:
    session = onnxruntime.InferenceSession(onnx_file)
    assert [each.name for each in session.get_inputs()] == ["images"]
    assert [each.name for each in session.get_outputs()] == ["logits"]
    meta = session.get_modelmeta().custom_metadata_map
    assert meta["labels"] == "class_0,class_1,class_2"
    proto = onnx.load(onnx_file)
    onnx.checker.check_model(proto)
    assert proto.opset_import[0].version == 17
    assert "BatchNormalization" not in {n.op_type for n in proto.graph.node}


def test_onnx_of_a_fixed_size(tmp_path) -> None:
    fixed = conv_model(size=SIZE)
    parity = export_onnx(fixed, tmp_path / "model.onnx")
    assert [row.size for row in parity.rows] == [SIZE]


# === LiteRT ===


def calibration() -> list[np.ndarray]:
    return [picture(height, 64) for height in range(40, 60, 2)]


@pytest.mark.parametrize(
    "precision",
    [
        "float16",
        "dynamic",
        # As in `test_litert`.
        pytest.param("float32", marks=pytest.mark.slow),
        pytest.param("int8", marks=pytest.mark.slow),
    ],
)
def test_litert_gives_the_model_s_logits(model, tmp_path, precision) -> None:
    path = tmp_path / "model.tflite"
    pictures = calibration() if precision == "int8" else ()
    parity = export_litert(model, path, SIZE, precision, pictures)
    assert parity.passed and parity.precision == precision
    interpreter = Interpreter(str(path))
    kinds = {each["dtype"] for each in interpreter.get_tensor_details()}
    assert precision != "int8" or {np.int8, np.int32} <= kinds
    runner = interpreter.get_signature_runner()
    assert list(runner.get_input_details()) == ["images"]
    image = batch(*SIZE)[:1]
    logits = runner(images=image)["logits"]
    want = predict_logits(model, image)
    most, least = verify.LIMITS[precision]
    assert_close(logits, want, most)
    assert (logits.argmax(-1) == want.argmax(-1)).mean() >= least
    if precision != "float32":
        assert np.abs(logits - want).max() > 0
    with zipfile.ZipFile(path) as archive:
        names = archive.read("labels.txt").decode()
    assert names == "class_0\nclass_1\nclass_2\n"


# === What differs is refused ===


def test_a_wrong_export_is_not_written(tmp_path, monkeypatch) -> None:
    model = conv_model(3)
    monkeypatch.setattr(
        verify, "predict_logits", lambda model, images: images + np.nan
    )
    for function, arguments in ((export_onnx, ()), (export_litert, (SIZE,))):
        with pytest.raises(
            RuntimeError, match="must give the same logits as its model"
        ):
            function(model, tmp_path / "model", *arguments)
    assert os.listdir(tmp_path) == []


def test_parity_measures_relative_to_the_greatest_logit(model) -> None:
    image = batch(16, 16)[:1]
    want = predict_logits(model, image)
    shifted = want + 1e-3 * np.abs(want).max()
    parity = verify.compare(
        model, lambda images: [shifted], "Shifted", "float16", [image]
    )
    np.testing.assert_allclose(parity.rows[0].difference, 1e-3, rtol=1e-3)
    assert parity.rows[0].agreement == 1
    lines = str(parity).splitlines()
    assert lines[0].startswith("Shifted, float16: at most 0.01 of the")
    assert lines[2].split() == ["16x16", "1.0e-03", "100.000%"]
    with pytest.raises(RuntimeError, match="Shifted, float32"):
        verify.compare(
            model, lambda images: [shifted], "Shifted", "float32", [image]
        )


def test_images_of_one_size_are_judged_together(model) -> None:
    """A class border through one image alone must not refuse an export."""
    images = [batch(20, 20)[:1], batch(20, 20)[1:], batch(20, 24)[:1]]
    want = [predict_logits(model, image) for image in images]
    got = [each.copy() for each in want]
    # 10 of 400 pixels of one image, and so of 800 of its size.
    best = got[0][0, 0, :10].argmax(-1)
    shift = 1.001 * (got[0].max() - got[0].min())
    got[0][0, 0, np.arange(10), (best + 1) % 3] += shift
    limits = {"float32": (10, 0.98), "float16": (10, 0.99)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "LIMITS", limits)
        parity = verify.compare(
            model, lambda _: got, "Shifted", "float32", images
        )
        assert [row.size for row in parity.rows] == [(20, 20), (20, 24)]
        assert [row.agreement for row in parity.rows] == [1 - 10 / 800, 1]
        with pytest.raises(RuntimeError, match="98.750%"):
            verify.compare(model, lambda _: got, "Shifted", "float16", images)


# === Bad input ===


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "`size` must be .*size=None, network of size None"),
        ({"size": (0, 4)}, r"`size` must be \(height, width\).*size=\(0, 4\)"),
        ({"size": SIZE, "precision": "half"}, "`precision` must be.*'half'"),
        (
            {"size": SIZE, "precision": "int8"},
            "`calibration` must hold images for precision='int8'.*0 images",
        ),
        (
            {"size": SIZE, "calibration": [picture(4, 4)]},
            "`calibration` must.*be empty otherwise.*1 images, "
            "precision='float32'",
        ),
        (
            {
                "size": SIZE,
                "precision": "int8",
                "calibration": [np.zeros((4, 4), "uint8")],
            },
            "shape",
        ),
    ],
)
def test_litert_arguments_are_checked(
    model, tmp_path, arguments, match
) -> None:
    with pytest.raises(ValueError, match=match):
        export_litert(model, tmp_path / "model.tflite", **arguments)
    assert os.listdir(tmp_path) == []


def test_a_network_of_fixed_size_has_one_size(tmp_path) -> None:
    fixed = conv_model(size=SIZE)
    with pytest.raises(ValueError, match=r"the network's own.*\(48, 64\)"):
        export_litert(fixed, tmp_path / "model.tflite", (64, 48))


@pytest.mark.parametrize("function", [export_onnx, export_litert])
def test_a_place_without_a_folder_is_refused(model, tmp_path, function) -> None:
    with pytest.raises(FileNotFoundError, match="`path` must be writable"):
        function(model, tmp_path / "missing" / "model")


@pytest.mark.parametrize(
    ("function", "arguments", "missing", "extra"),
    [
        (export_onnx, (), "tf2onnx", "onnx"),
        (export_onnx, (), "onnxruntime", "onnx"),
        (export_litert, (SIZE,), "ai_edge_litert", "litert"),
    ],
)
def test_a_missing_package_is_named(
    model, tmp_path, monkeypatch, function, arguments, missing, extra
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else find(name, *rest),
    )
    match = rf"{missing.replace('_', '-')} must be.*keras-pspnet\[{extra}\]"
    with pytest.raises(ImportError, match=match):
        function(model, tmp_path / "model", *arguments)


@pytest.mark.parametrize(
    "function", [export_onnx, export_litert, export_saved_model]
)
def test_only_tensorflow_exports(model, monkeypatch, function) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow.*'jax'"):
        function(model, "model")


# === Pictures inside the graph ===


@pytest.fixture(scope="module")
def decoder():
    return tf.function(
        lambda data: decode(data, 10**6),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("order", ["II", "MM"])
def test_pictures_come_upright(decoder, orientation, order) -> None:
    stream = BytesIO()
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    Image.fromarray(picture(24, 40)).save(stream, "JPEG", exif=exif)
    data = stream.getvalue()
    assert b"Exif\0\0" + order.encode() in data
    image, status = decoder(data)
    assert status.numpy() == b"OK"
    np.testing.assert_array_equal(image, read_image(data))


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB", "P", "RGBA", "1"])
def test_odd_pictures_are_decoded_as_pillow_does(decoder, mode) -> None:
    stream = BytesIO()
    form = "JPEG" if mode == "CMYK" else "PNG"
    Image.fromarray(picture(24, 40)).convert(mode).save(stream, form)
    image, status = decoder(stream.getvalue())
    assert status.numpy() == b"OK"
    np.testing.assert_array_equal(image, read_image(stream.getvalue()))
