"""Tests of LiteRT files: what they take and give, and where they run."""

import contextlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from band_files import band_conv
from support import assert_close, conv_model, picture, tiny_pspnet
from tensorflow.lite.python.schema_py_generated import (
    Conv2DOptionsT,
    ModelT,
    TensorType,
)

import keras_pspnet as kp
from keras_pspnet.export import litert, verify
from keras_pspnet.inference import load_exported, predict_logits

SIZE = (48, 64)
# Precision, output, input.
FILES = (
    ("float32", "logits", "float32"),
    ("float32", "mask", "uint8"),
    ("int8", "logits", "float32"),
    ("int8", "logits", "uint8"),
    ("int8", "mask", "uint8"),
)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return tiny_pspnet().inference_model()


@pytest.fixture(scope="module")
def exports(model, tmp_path_factory) -> dict[tuple[str, ...], Path]:
    folder = tmp_path_factory.mktemp("litert")
    seen = [picture(height, 64) for height in range(40, 60, 2)]
    paths = {}
    for precision, output, dtype in FILES:
        path = folder / f"{precision}-{output}-{dtype}.tflite"
        parity = kp.export_litert(
            model,
            path,
            SIZE,
            precision,
            seen if precision == "int8" else (),
            output=output,
            input_dtype=dtype,
        )
        assert parity.passed
        paths[precision, output, dtype] = path
    return paths


def run(path: Path, image: np.ndarray) -> np.ndarray:
    runner = Interpreter(str(path)).get_signature_runner()
    (answer,) = runner(images=image[None]).values()
    return answer[0]


@pytest.mark.parametrize("kind", FILES)
def test_files_take_and_give_what_was_asked(model, exports, kind) -> None:
    precision, output, dtype = kind
    runner = Interpreter(str(exports[kind])).get_signature_runner()
    (given,) = runner.get_input_details().values()
    assert np.dtype(given["dtype"]) == dtype
    assert given["shape"].tolist() == [1, *SIZE, 3]
    if kind == ("int8", "mask", "uint8"):
        # The bytes of an image, not what a calibration made of them.
        assert given["quantization"] == (1.0, 0)
    image = picture(*SIZE)
    want = predict_logits(model, image[None].astype("float32"))[0]
    got = run(exports[kind], image.astype(dtype))
    most, least = verify.LIMITS[precision]
    if output == "mask":
        assert (got.dtype, got.shape) == (np.uint8, SIZE)
        assert (got == want.argmax(-1)).mean() >= least
    else:
        assert got.dtype == np.float32
        assert_close(got, want, most)


def test_a_mask_is_the_greatest_of_the_logits_of_8_bits(exports) -> None:
    image = picture(*SIZE)
    logits = run(exports["int8", "logits", "uint8"], image)
    mask = run(exports["int8", "mask", "uint8"], image)
    np.testing.assert_array_equal(mask, logits.argmax(-1))


def test_int8_may_hold_integers_alone(exports) -> None:
    interpreter = Interpreter(str(exports["int8", "mask", "uint8"]))
    kinds = {each["dtype"] for each in interpreter.get_tensor_details()}
    assert kinds == {np.int8, np.uint8, np.int32}


@pytest.mark.parametrize("kind", FILES)
def test_xnnpack_takes_the_network_in_one_piece(exports, kind) -> None:
    interpreter = Interpreter(str(exports[kind]))
    interpreter.allocate_tensors()
    (first,) = interpreter.get_input_details()
    (last,) = interpreter.get_output_details()
    # The list of its nodes, with a name for each.
    nodes = interpreter._get_ops_details()
    (piece,) = [node for node in nodes if node["op_name"] == "DELEGATE"]
    _, output, dtype = kind
    outside = 0
    if dtype == "uint8":
        outside += 1
    else:
        assert first["index"] in piece["inputs"]
    if output == "mask":
        # Of logits of the mask's size.
        outside += 2
        (end,) = piece["outputs"]
        shapes = {
            each["index"]: each["shape"].tolist()
            for each in interpreter.get_tensor_details()
        }
        assert shapes[end] == [1, *SIZE, 3]
    else:
        assert list(piece["outputs"]) == [last["index"]]
    names = [node["op_name"] for node in nodes]
    taken = [name for name in names if name in ("CAST", "ARG_MAX")]
    bytes_first = dtype == "uint8" and kind[0] == "int8"
    assert len(taken) + bytes_first == outside


def kernels(path: Path) -> list[tuple[Any, Any]]:
    """Options and kernel of each convolution of 8 bits with a stride."""
    network = ModelT.InitFromPackedBuf(path.read_bytes())
    (graph,) = network.subgraphs
    found = [
        (operator.builtinOptions, graph.tensors[operator.inputs[1]])
        for operator in graph.operators
        if isinstance(operator.builtinOptions, Conv2DOptionsT)
    ]
    return [
        (options, kernel)
        for options, kernel in found
        if kernel.type == TensorType.INT8 and options.strideH > 1
    ]


def test_no_1x1_kernel_of_8_bits_has_a_stride(
    model, exports, tmp_path, monkeypatch
) -> None:
    kind = ("int8", "logits", "float32")
    sides = [kernel.shape[1] for _, kernel in kernels(exports[kind])]
    assert sides.count(2) == 1 and 1 not in sides
    monkeypatch.setattr(litert, "widen_strided_kernels", lambda data: data)
    narrow = tmp_path / "narrow.tflite"
    seen = [picture(height, 64) for height in range(40, 60, 2)]
    kp.export_litert(model, narrow, SIZE, "int8", seen)
    assert [kernel.shape[1] for _, kernel in kernels(narrow)].count(1) == 1
    image = picture(*SIZE).astype("float32")
    np.testing.assert_array_equal(run(exports[kind], image), run(narrow, image))


# === As predictors ===


@pytest.mark.parametrize("kind", FILES[1:2] + FILES[3:])
def test_files_of_bytes_and_masks_are_scored(model, exports, kind) -> None:
    network = load_exported(exports[kind])
    assert network.gives_masks is (kind[1] == "mask")
    image = picture(*SIZE)
    mask = kp.segment(network, image).mask
    want = kp.segment(model, image).mask
    least = verify.LIMITS[kind[0]][1]
    assert (mask == want).mean() >= least
    scores = kp.evaluate(network, [(image[None], want[None])])
    assert scores.pixel_accuracy == pytest.approx((mask == want).mean())
    # Values between bytes are rounded, not cut.
    np.testing.assert_array_equal(
        network(image[None] - 0.4), network(image[None])
    )


def test_masks_are_of_single_views(exports) -> None:
    network = load_exported(exports["float32", "mask", "uint8"])
    with pytest.raises(ValueError, match="must compute logits, not masks"):
        kp.segment(network, picture(*SIZE), flip=True)


# === Bad input ===


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"output": "masks"}, "`output` must be one of 'logits', 'mask'"),
        ({"input_dtype": "int8"}, "`input_dtype` must be one of 'float32', 'u"),
        ({"precision": "int8"}, "`calibration` must hold images for"),
        (
            {"precision": "int8", "calibration": [picture(9, 9) / np.nan] * 9},
            "`image` must have values within 0..255.*nan",
        ),
        (
            {"precision": "int8", "calibration": [picture(9, 9)[..., 0]] * 9},
            r"shape.*\(9, 9\)",
        ),
        (
            {"precision": "int8", "calibration": ["missing.png"] * 9},
            "missing.png",
        ),
    ],
)
def test_wrong_arguments_are_refused(
    model, arguments, match, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(litert, "fold", None)  # No long work.
    with pytest.raises((ValueError, OSError), match=match):
        kp.export_litert(model, tmp_path / "m.tflite", SIZE, **arguments)
    assert not list(tmp_path.iterdir())


def test_one_path_is_no_list_of_images(model, tmp_path) -> None:
    with pytest.raises(TypeError, match="`calibration` must be a sequence"):
        kp.export_litert(model, tmp_path / "m", SIZE, "int8", "photo.jpg")


@pytest.mark.parametrize(
    ("images", "match"),
    [
        ([picture(9, 9)] * 7, "a few dozen .* Received: 7 images"),
        ([picture(9, 9) / 255] * 9, "`calibration`: images must be in 0..255"),
    ],
)
def test_doubtful_calibrations_are_reported(images, match, tmp_path) -> None:
    model = conv_model()
    with (
        pytest.warns(kp.DataWarning, match=match) as seen,
        # What such ranges give may be refused.
        contextlib.suppress(kp.export.ExportError),
    ):
        kp.export_litert(model, tmp_path / "m", SIZE, "int8", images)
    ours = [each for each in seen if each.category is kp.DataWarning]
    assert len(ours) == 1


def test_there_are_no_more_classes_than_bytes(tmp_path) -> None:
    image = keras.Input((8, 8, 3))
    many = keras.Model(image, keras.layers.Conv2D(257, 1)(image))
    for function in (kp.export_litert, kp.export_onnx):
        with pytest.raises(ValueError, match="within 1..255.*num_classes=257"):
            function(many, tmp_path / "m", output="mask")
    assert not list(tmp_path.iterdir())


def test_bytes_do_not_hold_values_beyond_them(tmp_path) -> None:
    match = r"`input_dtype` must be 'float32' for images whose mean is \(2000"
    with pytest.raises(ValueError, match=match):
        kp.export_litert(
            band_conv(), tmp_path / "m", (8, 8), input_dtype="uint8"
        )
