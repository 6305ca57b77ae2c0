"""Warm-up requests for tensorflow_model_server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

# See tensorflow_serving/g3doc/saved_model_warmup.md of TensorFlow Serving.
_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def write_warmup(
    folder: str | os.PathLike[str],
    name: str,
    item: Any,
    batch_sizes: Sequence[int],
) -> None:
    """Adds warm-up requests for `serving_default` to a SavedModel.

    TensorFlow Serving runs them when it loads the model, so that no client
    waits for the setup of each input size. If one of them fails, the model does
    not load.

    Args:
        folder: The SavedModel.
        name: Name of the input.
        item: An encoded image, or an array.
        batch_sizes: Number of images in each request.
    """
    path = Path(folder, _FILE)
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in batch_sizes:
            writer.write(_prediction_log(name, tf.constant([item] * size)))


def _prediction_log(name: str, images: tf.Tensor) -> bytes:
    """Encodes a PredictionLog of TensorFlow Serving.

    The package tensorflow-serving-api has classes for it, but the few fields
    of a PredictRequest do not require them (prediction_log.proto,
    predict.proto and model.proto in tensorflow_serving/apis).
    """
    tensor = tf.make_tensor_proto(images).SerializeToString()
    # The model's name is left out, since it is chosen at deployment and the
    # server (RunPredict in predict_util.cc) only copies it into the answer.
    model_spec = _field(3, b"serving_default")
    entry = _field(1, name.encode()) + _field(2, tensor)
    request = _field(1, model_spec) + _field(2, entry)
    return _field(6, _field(1, request))


def _field(number: int, content: bytes) -> bytes:
    """Encodes a string, bytes or message field of a protocol buffer."""
    # Wire type 2: the length comes first.
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encodes an integer: groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
