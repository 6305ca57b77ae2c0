"""What tensorflow_model_server answers before it says it is ready."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_pspnet.utils import naming_errors, unusable, writing_atomically

# Names and limit as TensorFlow Serving documents them, in
# tensorflow_serving/g3doc/saved_model_warmup.md.
_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_MOST_REQUESTS = 1000


@dataclasses.dataclass(frozen=True)
class WarmupRequest:
    """One request as a client would send it.

    Attributes:
        signature_name: Name of the signature.
        inputs: Arrays by input name; files are bytes in an array of dtype
            object, because NumPy's bytes dtype drops zeros at the end.
    """

    signature_name: str
    inputs: Mapping[str, np.ndarray]


def write_warmup(
    folder: str | os.PathLike[str], requests: Sequence[WarmupRequest]
) -> None:
    """Puts warm-up requests into a SavedModel, replacing those it has.

    TensorFlow Serving runs them when it loads the model, so that the first
    client does not wait for what is set up once for every size of input. A
    model fails to load if one of them fails.

    Args:
        folder: The SavedModel.
        requests: At least one and at most 1000.

    Raises:
        OSError: If the folder is missing or cannot be written.
        TypeError: If an array is of a dtype that TensorFlow lacks.
        ValueError: If there are too few or too many requests.
    """
    if not 1 <= len(requests) <= _MOST_REQUESTS:
        raise ValueError(
            f"`requests` must be 1 to {_MOST_REQUESTS} requests. "
            f"Received: len(requests)={len(requests)}"
        )
    records = [_prediction_log(request) for request in requests]
    path = Path(folder, _FILE)
    with naming_errors("folder", folder):
        path.parent.mkdir(exist_ok=True)
    try:
        with (
            writing_atomically(path) as stream,
            # Writes to the same file, which `stream` holds open; it takes
            # names only.
            tf.io.TFRecordWriter(stream.name) as writer,
        ):
            for record in records:
                writer.write(record)
    except tf.errors.OpError as error:
        raise unusable(
            "folder", folder, "writable", OSError(error.message)
        ) from error


def _prediction_log(request: WarmupRequest) -> bytes:
    """Encodes a PredictionLog of TensorFlow Serving.

    Its classes are in the package tensorflow-serving-api, which is not needed
    for the few fields of a PredictRequest (prediction_log.proto,
    predict.proto and model.proto in tensorflow_serving/apis).
    """
    # The model's name stays out: RunPredict, in predict_util.cc, only copies
    # it into the answer, and whoever deploys the model chooses it.
    model_spec = _field(3, request.signature_name.encode())
    predict_request = _field(1, model_spec)
    # In the order in which protocol buffers write maps deterministically.
    for name in sorted(request.inputs):
        tensor = tf.make_tensor_proto(request.inputs[name])
        entry = _field(1, name.encode())
        entry += _field(2, tensor.SerializeToString(deterministic=True))
        predict_request += _field(2, entry)
    predict_log = _field(1, predict_request)
    return _field(6, predict_log)


def _field(number: int, content: bytes) -> bytes:
    """Encodes a string, bytes or message field of a protocol buffer."""
    # 2 is the wire type of what starts with its length.
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encodes an integer: groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
