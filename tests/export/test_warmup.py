"""Tests of keras_pspnet.export.warmup against TensorFlow Serving's classes."""

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from c_session import CSession
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_pspnet.export.warmup import WarmupRequest, write_warmup
from keras_pspnet.utils import files

FILE = Path("assets.extra", "tf_serving_warmup_requests")
ONE = WarmupRequest("serving_default", {"x": np.float32([[1, 2]])})


def texts(*values: bytes) -> np.ndarray:
    return np.array([*values, None], object)[:-1]


IMAGES = np.random.default_rng(0).random((2, 40, 50, 3), "float32")
# Lengths of one, two and three bytes are among them.
REQUESTS = (
    WarmupRequest("predict_array", {"images": IMAGES}),
    WarmupRequest("predict_array", {"images": IMAGES[:1, ::2, :1]}),
    WarmupRequest("predict_uint8", {"images": IMAGES.astype("uint8")}),
    WarmupRequest("serving_default", {"image_bytes": texts(b"\xff\xd8\0\0")}),
    WarmupRequest(
        "serving_default",
        {"image_bytes": texts(b"", bytes(range(256)) * 200, b"\0")},
    ),
    WarmupRequest("scalar", {"größe": np.array(-3, "int32")}),
    WarmupRequest("empty", {"x": np.zeros((0, 3), "int64")}),
    WarmupRequest("flags", {"x": np.array([True, False])}),
    WarmupRequest("n" * 300, {"x": np.array([1])}),
)
SEVERAL = WarmupRequest(
    "several",
    {
        "threshold": np.array(0.5, "float32"),
        "image_bytes": texts(b"one", b"two"),
        "Size": np.array([33, 47], "int32"),
    },
)


def records(folder: Path) -> list[bytes]:
    dataset = tf.data.TFRecordDataset(str(folder / FILE))
    return list(dataset.as_numpy_iterator())


def parsed(folder: Path) -> list[Any]:
    return [PredictionLog.FromString(record) for record in records(folder)]


def oracle(request: WarmupRequest) -> Any:
    log = PredictionLog()
    log.predict_log.request.model_spec.signature_name = request.signature_name
    for name, array in request.inputs.items():
        tensor = log.predict_log.request.inputs[name]
        tensor.CopyFrom(tf.make_tensor_proto(array))
    return log


# === What is written ===


def test_the_fields_are_those_of_the_requests(tmp_path) -> None:
    requests = (*REQUESTS, SEVERAL)
    write_warmup(tmp_path, requests)
    for log, request in zip(parsed(tmp_path), requests, strict=True):
        assert [field.name for field, _ in log.ListFields()] == ["predict_log"]
        assert log.WhichOneof("log_type") == "predict_log"
        assert [f.name for f, _ in log.predict_log.ListFields()] == ["request"]
        got = log.predict_log.request
        assert {f.name for f, _ in got.ListFields()} == {"model_spec", "inputs"}
        spec = got.model_spec
        assert [f.name for f, _ in spec.ListFields()] == ["signature_name"]
        assert spec.signature_name == request.signature_name
        assert set(got.inputs) == set(request.inputs)
        for name, array in request.inputs.items():
            value = tf.make_ndarray(got.inputs[name])
            assert value.dtype == array.dtype
            assert value.shape == array.shape
            assert value.tolist() == array.tolist()


def test_the_bytes_are_those_of_the_real_classes(tmp_path) -> None:
    requests = (*REQUESTS, SEVERAL)
    write_warmup(tmp_path, requests)
    wanted = [
        oracle(request).SerializeToString(deterministic=True)
        for request in requests
    ]
    assert records(tmp_path) == wanted


def test_the_order_of_the_requests_is_kept(tmp_path) -> None:
    requests = [
        WarmupRequest(f"signature{k}", {"x": np.array(k)}) for k in range(1000)
    ]
    write_warmup(tmp_path, requests)
    names = [
        log.predict_log.request.model_spec.signature_name
        for log in parsed(tmp_path)
    ]
    assert names == [request.signature_name for request in requests]


def test_a_loaded_model_answers_the_requests(tmp_path) -> None:
    class Module(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")]
        )
        def double(self, x: Any) -> Any:
            return {"y": 2 * x}

    module = Module()
    folder = tmp_path / "1"
    tf.saved_model.save(module, str(folder), module.double)
    write_warmup(folder, [ONE])
    request = parsed(folder)[0].predict_log.request
    inputs = {key: tf.make_ndarray(x) for key, x in request.inputs.items()}
    with CSession(folder) as session:
        got = session.run(request.model_spec.signature_name, inputs)
    assert got["y"].tolist() == [[2, 4]]


def test_replaces_what_was_there(tmp_path) -> None:
    write_warmup(tmp_path, REQUESTS)
    (tmp_path / "assets.extra" / "other").write_text("stays")
    write_warmup(str(tmp_path), [ONE])
    assert parsed(tmp_path) == [oracle(ONE)]
    assert sorted(os.listdir(tmp_path / "assets.extra")) == [
        "other",
        "tf_serving_warmup_requests",
    ]


# === What is refused ===


@pytest.mark.parametrize("count", [0, 1001])
def test_refuses_too_few_and_too_many(tmp_path, count) -> None:
    match = rf"`requests` must be 1 to 1000.*len\(requests\)={count}$"
    with pytest.raises(ValueError, match=match):
        write_warmup(tmp_path, [ONE] * count)
    assert os.listdir(tmp_path) == []


def test_refuses_what_is_no_tensor(tmp_path) -> None:
    bad = WarmupRequest("serving_default", {"x": np.array([b"a", 1], object)})
    with pytest.raises(TypeError):
        write_warmup(tmp_path, [ONE, bad])
    assert os.listdir(tmp_path) == []


def test_refuses_folders_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(
        FileNotFoundError, match="`folder` must be writable.*folder='.*none'"
    ):
        write_warmup(tmp_path / "none", [ONE])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotADirectoryError, match="`folder` must.*file'"):
        write_warmup(tmp_path / "file", [ONE])
    (tmp_path / "assets.extra").write_text("in the way")
    with pytest.raises(FileExistsError, match="`folder` must be writable"):
        write_warmup(tmp_path, [ONE])


@pytest.mark.parametrize("size", [3, 1_000_000], ids=["at close", "early"])
def test_a_full_disk_keeps_the_old_file(tmp_path, size) -> None:
    write_warmup(tmp_path, [ONE])
    large = WarmupRequest("serving_default", {"x": np.ones(size)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Stands for the end of the disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(
            OSError, match=r"`folder` must be writable \(.+\)\. Received"
        ):
            write_warmup(tmp_path, [large])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert parsed(tmp_path) == [oracle(ONE)]
    assert os.listdir(tmp_path / "assets.extra") == [FILE.name]


def test_an_interruption_keeps_the_old_file(tmp_path, monkeypatch) -> None:
    write_warmup(tmp_path, [ONE])

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_warmup(tmp_path, REQUESTS)
    assert parsed(tmp_path) == [oracle(ONE)]
    assert os.listdir(tmp_path / "assets.extra") == [FILE.name]
