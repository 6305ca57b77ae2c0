"""Tests of keras_pspnet.export.warmup against TensorFlow Serving's classes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_pspnet.export.warmup import write_warmup

FILE = Path("assets.extra", "tf_serving_warmup_requests")


def records(folder: Path) -> list[bytes]:
    dataset = tf.data.TFRecordDataset(str(folder / FILE))
    return list(dataset.as_numpy_iterator())


def oracle(image: Any, size: int, name: str = "image_bytes") -> Any:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "serving_default"
    tensor = tf.make_tensor_proto(tf.constant([image] * size))
    request.inputs[name].CopyFrom(tensor)
    return log


# Lengths of one, two, three and four bytes.
@pytest.mark.parametrize("length", [1, 300, 40_000, 3_000_000])
def test_the_bytes_are_those_of_the_real_classes(tmp_path, length) -> None:
    image = bytes(range(256)) * (length // 256 + 1)
    image = image[:length]
    write_warmup(tmp_path, "image_bytes", image, (1, 4, 2))
    wanted = [oracle(image, size) for size in (1, 4, 2)]
    assert records(tmp_path) == [
        log.SerializeToString(deterministic=True) for log in wanted
    ]
    parsed = [PredictionLog.FromString(each) for each in records(tmp_path)]
    assert parsed == wanted
    assert os.listdir(tmp_path / "assets.extra") == [FILE.name]


def test_requests_may_be_arrays(tmp_path) -> None:
    image = np.arange(24, dtype="float32").reshape(2, 3, 4)
    write_warmup(tmp_path, "images", image, (2,))
    (found,) = records(tmp_path)
    assert PredictionLog.FromString(found) == oracle(image, 2, "images")
