"""Tests of serving/triton in NVIDIA's Triton; `make serve-check` runs them."""

import concurrent.futures
import json
import math
import os
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import triton_server
from contract_server import Refusal
from picture_files import SIZES
from support import picture
from triton_server import (
    MODELS,
    PYTHON,
    ROOT,
    Tensor,
    fetch,
    predict_grpc,
    predict_http,
)

PREDICT = {"http": predict_http, "grpc": predict_grpc}
CODES = {"http": 400, "grpc": "INVALID_ARGUMENT"}


def ask(triton, *files, protocol="http"):
    inputs = {"image_bytes": Tensor.of(files)}
    return PREDICT[protocol](triton, "pspnet", inputs)


# === What it serves ===


def test_is_live_and_ready(triton):
    for path in ("live", "ready"):
        assert fetch(triton.http, f"/v2/health/{path}")[0] == 200
    for model in ("pspnet", "pspnet_array"):
        assert fetch(triton.http, f"/v2/models/{model}/ready")[0] == 200
    # Its processes run the Python that has the packages.
    for model in ("pspnet", "pspnet_array"):
        libraries = triton.model_process(model).memory_maps()
        assert any(
            each.path.startswith(str(PYTHON.parents[1].resolve()))
            for each in libraries
        )


@pytest.mark.parametrize(
    ("model", "signature"),
    [("pspnet", "serving_default"), ("pspnet_array", "predict_uint8")],
)
def test_configuration_is_that_of_the_signature(
    triton, signatures, model, signature
):
    status, body = fetch(triton.http, f"/v2/models/{model}")
    assert status == 200
    told = json.loads(body)

    def by_name(tensors):
        return {each["name"]: each for each in tensors}

    names = {"BYTES": tf.string, "INT32": tf.int32, "UINT8": tf.uint8}
    function = signatures[signature]
    for side, specs in (
        ("inputs", function.structured_input_signature[1]),
        ("outputs", function.structured_outputs),
    ):
        tensors = by_name(told[side])
        assert set(tensors) == set(specs)
        for name, spec in specs.items():
            shape = tensors[name]["shape"]
            assert names[tensors[name]["datatype"]] == spec.dtype
            if model == "pspnet":
                # One value for each picture is a column.
                assert shape == [-1, 1]
            else:
                assert shape == [-1 if n is None else n for n in spec.shape]


def test_warms_up_before_it_is_ready(triton, signatures):
    samples = re.findall(
        r"model 'pspnet' .* is running warmup sample '(.*)' for iteration (\d)",
        triton.log,
    )
    assert samples == [
        ("one image", "1"),
        ("one image", "2"),
        ("full batch", "1"),
    ]
    # Of a picture that the network sees.
    data = (MODELS / "pspnet/warmup/image").read_bytes()
    (length,) = struct.unpack_from("<I", data)
    assert length == len(data) - 4
    answer = signatures["serving_default"](tf.constant([data[4:]]))
    assert answer["status"][0] == b"OK"
    assert answer["height"][0] == answer["width"][0] == 473


# === Masks ===


@pytest.mark.parametrize("protocol", PREDICT)
def test_masks_of_files_are_those_of_tensorflow(triton, files, masks, protocol):
    for start in (0, 3):
        some = slice(start, start + 3)
        answer = ask(triton, *files[some], protocol=protocol)
        assert answer["mask_png_bytes"].strings == masks[some]
        assert answer["status"].strings == [b"OK"] * 3
        sizes = [answer[name].array[:, 0] for name in ("height", "width")]
        assert list(zip(*sizes, strict=True)) == list(SIZES[some])


@pytest.mark.parametrize("protocol", PREDICT)
def test_bad_picture_leaves_the_others_alone(triton, files, masks, protocol):
    answer = ask(
        triton, files[0], b"", files[1][:60], files[2], protocol=protocol
    )
    assert answer["status"].strings == [b"OK", b"EMPTY", b"DAMAGED", b"OK"]
    assert answer["mask_png_bytes"].strings == [masks[0], b"", b"", masks[2]]
    assert answer["height"].array[:, 0].tolist() == [33, 0, 0, 64]


@pytest.mark.parametrize("protocol", PREDICT)
def test_masks_of_arrays_are_those_of_tensorflow(triton, signatures, protocol):
    images = np.stack([picture(35, 50), picture(35, 50)[::-1]])
    want = signatures["predict_uint8"](tf.constant(images))["mask"].numpy()
    assert len(np.unique(want)) > 1
    inputs = {"images": Tensor.of(images)}
    answer = PREDICT[protocol](triton, "pspnet_array", inputs)
    np.testing.assert_array_equal(answer["mask"].array, want)


def test_program_of_the_readme_works(triton, files, masks, tmp_path):
    text = (ROOT / "serving/README.md").read_text()
    (program,) = re.findall(
        r"^## Triton$.*?^```python\n(.*?)^```$", text, re.M | re.S
    )
    (tmp_path / "photo.jpg").write_bytes(files[1])
    assert "127.0.0.1:8000" in program
    subprocess.run(
        [PYTHON, "-I", "-c", program.replace("127.0.0.1:8000", triton.http)],
        check=True,
        cwd=tmp_path,
    )
    assert (tmp_path / "mask.png").read_bytes() == masks[1]


# === Requests that are wrong ===

GOOD = Tensor.of([b"file"])


def files_of(shape, data, message, datatype="BYTES"):
    tensor = Tensor(datatype, shape, data)
    return "pspnet", {"image_bytes": tensor}, message


def images_of(shape, message, size=None, datatype="UINT8"):
    size = math.prod(shape) if size is None else size
    tensor = Tensor(datatype, shape, bytes(size))
    return "pspnet_array", {"images": tensor}, message


SHORT = "byte size|expecting .* additional bytes|Expected 60, got 59"
# What `test_tensors.py` cannot send: strings that are none, sizes that lie.
WRONG = {
    "no pictures": files_of((0, 1), b"", "expected 1 string elements"),
    "too many": files_of((5, 1), GOOD.data * 5, "batch-size must be <= 4"),
    "rank 0": files_of((), GOOD.data, "has no shape"),
    "rank 1": files_of((1,), GOOD.data, "unexpected shape"),
    "two columns": files_of((1, 2), GOOD.data * 2, "unexpected shape"),
    "more strings": files_of((1, 1), GOOD.data * 2, "string element"),
    "fewer strings": files_of((2, 1), GOOD.data, "string element"),
    "cut string": files_of((1, 1), GOOD.data[:-1], "incomplete string"),
    "cut length": files_of((1, 1), b"\1\0", "incomplete string length"),
    "dtype": files_of((1, 1), b"\0", "expects 'BYTES'", "UINT8"),
    "name": ("pspnet", {"images": GOOD}, "unexpected inference input"),
    "no rows": images_of((1, 0, 5, 3), "images must not be empty"),
    "fewer pixels": images_of((1, 4, 5, 3), SHORT, 59),
    "overflow": images_of(
        (2**31, 2**31, 4, 3), f"{SHORT}|overflow|too large|exceed", 60
    ),
}


@pytest.mark.parametrize("protocol", PREDICT)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_request_is_refused(triton, files, masks, case, protocol):
    model, inputs, message = WRONG[case]
    with pytest.raises(Refusal, match=message) as caught:
        PREDICT[protocol](triton, model, inputs)
    assert caught.value.code == CODES[protocol]
    # No lines about the inside of the graph.
    assert "\n" not in str(caught.value)
    assert ask(triton, files[0])["mask_png_bytes"].strings == [masks[0]]


# === Many requests ===


def test_the_readme_names_metrics_that_there_are(triton):
    text = (ROOT / "serving/README.md").read_text()
    named = set(re.findall(r"`(nv_\w+)", text))
    assert len(named) >= 4
    served = fetch(triton.metrics, "/metrics")[1].decode()
    for name in named:
        assert re.search(rf'^{name}{{model="pspnet",', served, re.M), name


def test_requests_that_meet_are_batched(triton, files, masks):
    names = ("nv_inference_count", "nv_inference_exec_count")
    before = [triton.count(name) for name in names]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        chosen = [n % len(files) for n in range(64)]
        answers = list(pool.map(lambda n: ask(triton, files[n]), chosen))
    for n, answer in zip(chosen, answers, strict=True):
        assert answer["mask_png_bytes"].strings == [masks[n]]
    pictures, runs = (
        triton.count(name) - count
        for name, count in zip(names, before, strict=True)
    )
    assert pictures == 64
    assert 16 <= runs <= 48


# === Beginning and end ===


def test_models_that_cannot_be_loaded_are_told(models, export, tmp_path):
    """Three of them, and the message of each."""
    target = "../../pspnet/1/model.savedmodel"
    expected = {}
    for name, old, new, message in (
        (
            "missing",
            target,
            "none",
            "the parameter `saved_model` must be the folder of a SavedModel. "
            f"Received: {tmp_path}/models/missing/1/none",
        ),
        (
            "other",
            "predict_uint8",
            "other",
            "the parameter `signature` must be one of logits, predict_array, "
            "predict_uint8, probabilities, scores, serving_default. "
            "Received: other",
        ),
        (
            "unsaid",
            'key: "signature"',
            'key: "unsaid"',
            "config.pbtxt must have the parameter `signature`",
        ),
    ):
        folder = tmp_path / "models" / name
        shutil.copytree(models / "pspnet_array", folder, symlinks=True)
        (folder / "1/model.py").unlink()
        shutil.copy(models / "pspnet/1/model.py", folder / "1")
        config = (folder / "config.pbtxt").read_text()
        assert old in config
        config = config.replace('"pspnet_array"', f'"{name}"')
        config = config.replace(old, new).replace(target, os.fspath(export))
        (folder / "config.pbtxt").write_text(config)
        expected[name] = message
    run = tmp_path / "run"
    run.mkdir()
    with (
        pytest.raises(ChildProcessError) as caught,
        triton_server.serving(tmp_path / "models", run),
    ):
        pass
    for name, message in expected.items():
        assert re.search(
            rf"failed to load '{name}' version 1: .*{re.escape(message)}",
            str(caught.value),
        )


def test_model_that_died_stays_dead(only_pspnet, tmp_path, files):
    """What the README says about it, and its health check, of this release.

    Triton waits for it when it is told to end, until the time limit.
    """
    run = tmp_path / "run"
    run.mkdir()
    option = "--exit-timeout-secs=2"
    with triton_server.serving(only_pspnet, run, option) as triton:
        triton.model_process("pspnet").kill()
        for _ in range(3):
            with pytest.raises(Refusal, match="is not healthy") as caught:
                ask(triton, files[0])
            assert caught.value.code == 500
        for path in ("/v2/health/ready", "/v2/models/pspnet/ready"):
            assert fetch(triton.http, path)[0] == 200
        with pytest.raises(ChildProcessError, match="Exit timeout expired"):
            triton.end()
