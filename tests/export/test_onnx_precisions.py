"""Tests of ONNX files in 16 and 8 bits, and of those that give masks."""

import logging
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from support import assert_is_argmax, picture, tiny_pspnet

from keras_pspnet import evaluate, export_onnx, segment
from keras_pspnet.export import onnx as onnx_export
from keras_pspnet.export import verify
from keras_pspnet.inference import load_exported
from keras_pspnet.inference.predictor import predict_logits

SIZE = (40, 48)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return tiny_pspnet().inference_model()


def batch(height: int, width: int) -> np.ndarray:
    images = [picture(height, width), picture(height, width)[::-1]]
    return np.stack(images).astype("float32")


def calibration() -> list[np.ndarray]:
    return [picture(height, 48) for height in range(40, 56, 2)]


@pytest.fixture(scope="module")
def files(model, tmp_path_factory) -> dict[str, str]:
    """A file of each precision, and the last with masks."""
    folder = tmp_path_factory.mktemp("onnx")
    paths = {}
    for precision in ("float16", "int8"):
        paths[precision] = str(folder / f"{precision}.onnx")
        seen = calibration() if precision == "int8" else ()
        parity = export_onnx(model, paths[precision], precision, seen)
        assert parity.passed and parity.precision == precision
    proto = onnx.load(paths["int8"])
    onnx_export._take_greatest(proto)
    paths["mask"] = str(folder / "mask.onnx")
    onnx.save(proto, paths["mask"])
    return paths


def run(path: str, images: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(None, {"images": images})[0]


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("size", [SIZE, (33, 57)])
def test_fewer_bits_give_the_model_s_logits_at_every_size(
    model, files, precision: str, size: tuple[int, int]
) -> None:
    images = batch(*size)
    logits, want = run(files[precision], images), predict_logits(model, images)
    assert logits.dtype == np.float32
    most, least = verify.LIMITS[precision]
    scale = np.abs(want).max()
    assert 0 < np.abs(logits - want).max() <= most * scale
    assert (logits.argmax(-1) == want.argmax(-1)).mean() >= least


def test_float16_keeps_what_needs_more_in_float32(files) -> None:
    proto = onnx.load(files["float16"])
    onnx.checker.check_model(proto)
    kinds = {
        each.name: each.data_type
        for each in proto.graph.initializer
        if np.prod(each.dims) > 64
    }
    halves = [kind == onnx.TensorProto.FLOAT16 for kind in kinds.values()]
    assert np.mean(halves) > 0.9
    types = {
        each.name: each.type.tensor_type.elem_type
        for each in (*proto.graph.input, *proto.graph.output)
    }
    assert types == dict.fromkeys(("images", "logits"), 1)


def test_int8_computes_all_but_the_first_and_the_classifier(files) -> None:
    proto = onnx.load(files["int8"])
    onnx.checker.check_model(proto)
    assert proto.opset_import[0].version == 17
    producers = {name: n for n in proto.graph.node for name in n.output}
    convolutions = [n for n in proto.graph.node if n.op_type == "Conv"]
    in_float = []
    for node in convolutions:
        before = [producers.get(name) for name in node.input[:2]]
        kinds = {n.op_type for n in before if n is not None}
        if kinds != {"DequantizeLinear"}:
            in_float.append(node.name)
    assert len(convolutions) > 20
    first, name = in_float
    assert first == convolutions[0].name
    assert "classifier" in name
    weights = [i for i in proto.graph.initializer if len(i.dims) == 4]
    assert {i.data_type for i in weights} == {
        onnx.TensorProto.INT8,
        onnx.TensorProto.FLOAT,
    }


def test_a_fixed_size_has_eight_bits_as_well(tmp_path) -> None:
    fixed = tiny_pspnet(input_shape=(*SIZE, 3))
    path = str(tmp_path / "model.onnx")
    # Photographs of other sizes are fitted into that of the network.
    parity = export_onnx(fixed, path, "int8", calibration(), "mask")
    assert [row.size for row in parity.rows] == [SIZE]
    (output,) = onnxruntime.InferenceSession(path).get_outputs()
    assert output.type == "tensor(uint8)"
    assert output.shape[1:] == list(SIZE)


def test_a_scale_times_a_size_is_not_a_pixel_short() -> None:
    """161 / 21 in float32 is below it: what is inferred then is 160."""
    outs = np.arange(9, 1025)
    ins = -(-outs // 8)
    scales = (outs / ins).astype("float32")
    value = numpy_helper.from_array(scales, "scales")
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"])
    graph = helper.make_graph([node], "net", [], [], [value])
    onnx_export._round_scales_up(graph)
    got = numpy_helper.to_array(graph.initializer[0])
    assert (np.floor(ins * scales) < outs).any()
    np.testing.assert_array_equal(np.floor(ins * got), outs)
    np.testing.assert_array_equal(np.floor(ins * got.astype("float64")), outs)
    np.testing.assert_allclose(got, scales, rtol=2e-7)


def test_quantising_leaves_the_log_alone(files) -> None:
    """The library's advice would add a handler to everybody's log."""
    assert not logging.getLogger().handlers or all(
        "pytest" in type(each).__module__
        for each in logging.getLogger().handlers
    )


# === Masks ===


@pytest.mark.parametrize("size", [SIZE, (33, 57)])
def test_a_mask_is_the_greatest_of_the_logits(files, size) -> None:
    images = batch(*size)
    mask = run(files["mask"], images)
    assert mask.dtype == np.uint8
    logits = run(files["int8"], images)
    np.testing.assert_array_equal(mask, logits.argmax(-1))
    # One class everywhere would agree by chance.
    assert len(np.unique(mask)) > 1


def test_files_of_masks_are_segmented_and_scored(files) -> None:
    of_masks, of_logits = (
        load_exported(files[name]) for name in ("mask", "int8")
    )
    image = picture(*SIZE)
    result = segment(of_masks, image)
    assert_is_argmax(result.mask, of_logits.logits(image[None])[0])
    assert result.labels == of_logits.labels
    pairs = [(image, result.mask)]
    assert evaluate(of_masks, pairs).mean_iou == 1
    # A single view of another size is resized.
    assert segment(of_masks, image, max_side=24).mask.shape == SIZE


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"scales": (0.5, 1)}, r"scales=\(0.5, 1.0\)"),
        ({"flip": True}, "flip=True"),
        ({"window": 32}, "window=32"),
        ({"confidence": True}, "confidence=True"),
    ],
)
def test_several_views_take_logits(files, arguments: Any, told: str) -> None:
    predictor = load_exported(files["mask"])
    match = f"`model` must compute logits, not masks.*{told}"
    with pytest.raises(ValueError, match=match):
        segment(predictor, picture(*SIZE), **arguments)
    arguments = {k: v for k, v in arguments.items() if k != "confidence"}
    if arguments:
        with pytest.raises(ValueError, match=match):
            evaluate(predictor, [], **arguments)


def test_a_file_of_masks_must_name_its_classes(files, tmp_path) -> None:
    proto = onnx.load(files["mask"])
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="that keras_pspnet has exported"):
        load_exported(tmp_path / "model.onnx")


def test_a_wrong_mask_is_not_written(
    model, files, tmp_path, monkeypatch
) -> None:
    proto = onnx.load(files["float16"])
    del proto.metadata_props[:]
    monkeypatch.setattr(onnx_export, "_convert", lambda *_: proto)
    take = onnx_export._take_greatest

    def take_another(proto: Any) -> None:
        take(proto)
        (axis,) = (n for n in proto.graph.node if n.op_type == "ArgMax")
        axis.op_type = "ArgMin"

    monkeypatch.setattr(onnx_export, "_take_greatest", take_another)
    with pytest.raises(RuntimeError, match="the mask must be the argmax"):
        export_onnx(model, tmp_path / "model.onnx", "float16", output="mask")
    assert os.listdir(tmp_path) == []


# === Bad input ===


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"precision": "half"}, ValueError, "`precision` must be.*'half'"),
        ({"output": "masks"}, ValueError, "`output` must be.*'masks'"),
        (
            {"precision": "int8"},
            ValueError,
            "`calibration` must hold images for precision='int8'.*0 images",
        ),
        (
            {"calibration": [picture(4, 4)]},
            ValueError,
            "`calibration` must.*be empty otherwise.*1 images, "
            "precision='float32'",
        ),
        (
            {"precision": "int8", "calibration": "photo.jpg"},
            TypeError,
            "`calibration` must be a sequence of images.*type str",
        ),
        (
            {"precision": "int8", "calibration": iter([picture(4, 4)])},
            TypeError,
            "`calibration` must be a sequence of images.*iterator",
        ),
        (
            {
                "precision": "int8",
                "calibration": [picture(4, 4), np.zeros((4, 4), "uint8")],
            },
            ValueError,
            "shape",
        ),
        (
            {"precision": "int8", "calibration": ["missing.png"]},
            OSError,
            "missing.png",
        ),
    ],
)
def test_bad_input_is_refused_before_the_work(
    model, tmp_path, monkeypatch, arguments: Any, error: Any, match: str
) -> None:
    def work(*_: object) -> None:
        raise AssertionError("it was converted")

    monkeypatch.setattr(onnx_export, "_convert", work)
    with pytest.raises(error, match=match):
        export_onnx(model, tmp_path / "model.onnx", **arguments)
    assert os.listdir(tmp_path) == []


def test_a_byte_is_one_of_255_classes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delattr(onnx_export, "_convert")
    image = keras.Input((None, None, 3))
    many = keras.Model(image, keras.layers.Conv2D(257, 1)(image))
    match = "`num_classes` must be within 1..255.*257"
    with pytest.raises(ValueError, match=match):
        export_onnx(many, tmp_path / "model.onnx", output="mask")
