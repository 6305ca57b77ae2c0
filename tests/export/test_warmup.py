"""Tests of keras_pspnet.export.warmup against TensorFlow Serving's classes."""

import os
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_pspnet.export.warmup import write_warmup

FILE = Path("assets.extra", "tf_serving_warmup_requests")


def records(folder: Path) -> list[bytes]:
    dataset = tf.data.TFRecordDataset(str(folder / FILE))
    return list(dataset.as_numpy_iterator())


def oracle(image: bytes, size: int) -> Any:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "serving_default"
    tensor = tf.make_tensor_proto([image] * size)
    request.inputs["image_bytes"].CopyFrom(tensor)
    return log


# Lengths of one, two, three and four bytes.
@pytest.mark.parametrize("length", [1, 300, 40_000, 3_000_000])
def test_the_bytes_are_those_of_the_real_classes(tmp_path, length) -> None:
    image = bytes(range(256)) * (length // 256 + 1)
    image = image[:length]
    write_warmup(tmp_path, image, (1, 4, 2))
    wanted = [oracle(image, size) for size in (1, 4, 2)]
    assert records(tmp_path) == [
        log.SerializeToString(deterministic=True) for log in wanted
    ]
    parsed = [PredictionLog.FromString(each) for each in records(tmp_path)]
    assert parsed == wanted
    assert os.listdir(tmp_path / "assets.extra") == [FILE.name]
