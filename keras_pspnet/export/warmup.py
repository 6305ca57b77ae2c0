"""What tensorflow_model_server answers before it says it is ready."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

# As TensorFlow Serving documents it, in
# tensorflow_serving/g3doc/saved_model_warmup.md.
_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def write_warmup(
    folder: str | os.PathLike[str],
    name: str,
    item: Any,
    batch_sizes: Sequence[int],
) -> None:
    """Puts warm-up requests for `serving_default` into a SavedModel.

    TensorFlow Serving runs them when it loads the model, so that the first
    client does not wait for what is set up once for every size of input. A
    model fails to load if one of them fails.

    Args:
        folder: The SavedModel.
        name: Name of the input.
        item: An encoded image, or an array.
        batch_sizes: How many times it is in each of the requests.
    """
    path = Path(folder, _FILE)
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in batch_sizes:
            writer.write(_prediction_log(name, tf.constant([item] * size)))


def _prediction_log(name: str, images: tf.Tensor) -> bytes:
    """Encodes a PredictionLog of TensorFlow Serving.

    Its classes are in the package tensorflow-serving-api, which is not needed
    for the few fields of a PredictRequest (prediction_log.proto,
    predict.proto and model.proto in tensorflow_serving/apis).
    """
    tensor = tf.make_tensor_proto(images).SerializeToString()
    # The model's name stays out: RunPredict, in predict_util.cc, only copies
    # it into the answer, and it is chosen at deployment.
    model_spec = _field(3, b"serving_default")
    entry = _field(1, name.encode()) + _field(2, tensor)
    request = _field(1, model_spec) + _field(2, entry)
    return _field(6, _field(1, request))


def _field(number: int, content: bytes) -> bytes:
    """Encodes a string, bytes or message field of a protocol buffer."""
    # 2 is the wire type of what starts with its length.
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encodes an integer: groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
