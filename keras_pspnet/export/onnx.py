"""ONNX: what onnxruntime and its kin load."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

import keras
import tensorflow as tf

from keras_pspnet.export.verify import Parity, compare, default_images
from keras_pspnet.inference import (
    SIDE_ENTRY,
    description,
    model_labels,
    network_size,
)
from keras_pspnet.inference.fold import as_constants, fold
from keras_pspnet.utils import write_atomically

OPSET = 17


def write_onnx(model: keras.Model, path: str | os.PathLike[str]) -> Parity:
    """Does the work of `keras_pspnet.export_onnx`, documented there.

    Args:
        model: A model with one output.
        path: File to write.

    Returns:
        How far the export is from the model.
    """
    import onnxruntime

    size = network_size(model) or (None, None)
    metadata = {
        "labels": ",".join(model_labels(model).names),
        SIDE_ENTRY: json.dumps(description(model)),
    }
    data = _convert(fold(model, size), size, metadata)
    session = onnxruntime.InferenceSession(
        data, providers=["CPUExecutionProvider"]
    )

    def run(images: list[Any]) -> list[Any]:
        return [session.run(["logits"], {"images": each})[0] for each in images]

    parity = compare(model, run, "ONNX", "float32", default_images(model))
    write_atomically(path, data)
    return parity


def _convert(
    network: keras.Model,
    size: tuple[int | None, int | None],
    metadata: dict[str, str],
) -> bytes:
    run = as_constants(network)

    def logits(images: Any) -> dict[str, Any]:
        return {"logits": run(images)}

    signature = [tf.TensorSpec((None, *size, 3), tf.float32, "images")]
    with warnings.catch_warnings():
        # NumPy's old names, in the converter's own code.
        warnings.simplefilter("ignore")
        import tf2onnx

        proto, _ = tf2onnx.convert.from_function(
            tf.function(logits, input_signature=signature),
            input_signature=signature,
            opset=OPSET,
        )
    for node in proto.graph.node:
        if node.op_type == "Conv":
            _state_padding(node)
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(proto.SerializeToString())


def _state_padding(conv: Any) -> None:
    """Writes "same" padding as numbers: engines refuse it with dilation."""
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
