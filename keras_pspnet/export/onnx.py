"""ONNX files, for ONNX Runtime, OpenVINO and other engines."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.export.quantize import quantize
from keras_pspnet.export.verify import (
    ExportError,
    Parity,
    compare,
    default_images,
)
from keras_pspnet.inference import (
    SIDE_ENTRY,
    description,
    model_labels,
    network_size,
)
from keras_pspnet.inference.fold import as_constants, fold
from keras_pspnet.utils import write_atomically

OPSET = 17
# Calibration images on which the parity is measured.
_COMPARED = 4


def write_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    precision: str = "float32",
    calibration: Iterable[np.ndarray] = (),
    output: str = "logits",
) -> Parity:
    """Implements `keras_pspnet.export_onnx`.

    Args:
        model: A model with one output.
        path: File to write.
        precision: `"float32"`, `"float16"` or `"int8"`.
        calibration: Images (1, H, W, bands) for int8, read one at a time.
        output: `"logits"` or `"mask"`.

    Returns:
        The difference between export and model.
    """
    # Refuses more classes than uint8 can hold.
    metadata = {
        "labels": ",".join(model_labels(model).names),
        SIDE_ENTRY: json.dumps(description(model)),
    }
    size = network_size(model) or (None, None)
    # Normalization, coordinates of resizing, and logits stay float32.
    dtype = "float16" if precision == "float16" else "float32"
    proto = _convert(fold(model, size, dtype, fixed_head=True), size)
    images = default_images(model)
    if precision == "int8":
        # int8 clips values beyond the range of the calibration images.
        images = list(islice(calibration := iter(calibration), _COMPARED))
        proto = quantize(proto, chain(images, calibration))
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    run = _runner(proto.SerializeToString())
    parity = compare(model, run, "ONNX", precision, images)
    if output == "mask":
        found = run(images)
        _take_greatest(proto)
        for mask, logits in zip(
            _runner(proto.SerializeToString())(images), found, strict=True
        ):
            if not np.array_equal(mask, logits.argmax(axis=-1)):
                raise ExportError("the mask must be the argmax of the logits")
    write_atomically(path, proto.SerializeToString())
    return parity


def _runner(data: bytes) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        data, providers=["CPUExecutionProvider"]
    )

    def run(images: list[np.ndarray]) -> list[np.ndarray]:
        return [session.run(None, {"images": each})[0] for each in images]

    return run


def _convert(network: keras.Model, size: tuple[int | None, int | None]) -> Any:
    run = as_constants(network)

    def logits(images: Any) -> dict[str, Any]:
        return {"logits": run(images)}

    shape = (None, *size, network.inputs[0].shape[-1])
    signature = [tf.TensorSpec(shape, tf.float32, "images")]
    with warnings.catch_warnings():
        # The converter uses deprecated names of NumPy.
        warnings.simplefilter("ignore")
        import tf2onnx

        proto, _ = tf2onnx.convert.from_function(
            tf.function(logits, signature, autograph=False),
            input_signature=signature,
            opset=OPSET,
        )
    for node in proto.graph.node:
        if node.op_type == "Conv":
            _state_padding(node)
    _round_scales_up(proto.graph)
    return proto


def _round_scales_up(graph: Any) -> None:
    """Keeps resizing from losing a pixel to rounding.

    Engines truncate size times scale. The scale from 21 to 161 is stored as a
    float32 just below 161 / 21, so they would infer 160.
    """
    from onnx import numpy_helper

    names = {n.input[2] for n in graph.node if n.op_type == "Resize"}
    for each in graph.initializer:
        if each.name in names:
            scales = numpy_helper.to_array(each)
            above = np.nextafter(scales, np.float32(np.inf))
            scales = np.where(scales % 1, above, scales)
            each.CopyFrom(numpy_helper.from_array(scales, each.name))


def _take_greatest(proto: Any) -> None:
    """Replaces the output `logits` by their argmax, `mask`."""
    from onnx import TensorProto, helper

    graph = proto.graph
    (logits,) = graph.output
    sides = [
        side.dim_param or side.dim_value or None
        for side in logits.type.tensor_type.shape.dim
    ]
    graph.node.extend(
        [
            helper.make_node(
                "ArgMax", [logits.name], ["classes"], axis=-1, keepdims=0
            ),
            helper.make_node(
                "Cast", ["classes"], ["mask"], to=TensorProto.UINT8
            ),
        ]
    )
    graph.output.remove(logits)
    graph.output.append(
        helper.make_tensor_value_info("mask", TensorProto.UINT8, sides[:3])
    )


def _state_padding(conv: Any) -> None:
    """Writes "same" padding as numbers: engines reject it with dilation."""
    values = {attribute.name: attribute for attribute in conv.attribute}
    same = values.get("auto_pad")
    if same is None or not same.s.startswith(b"SAME"):
        return
    if any(stride != 1 for stride in values["strides"].ints):
        return
    kernel = values["kernel_shape"].ints
    dilations = values["dilations"].ints
    total = [
        step * (side - 1) for step, side in zip(dilations, kernel, strict=True)
    ]
    before = [amount // 2 for amount in total]
    after = [amount - amount // 2 for amount in total]
    conv.attribute.remove(same)
    pads = conv.attribute.add()
    pads.name, pads.type = "pads", pads.INTS
    pads.ints.extend(before + after)
