"""Tests of the SavedModel, most of them as a server sees it.

One fresh process without this package loads the export and answers all
requests, good and bad; the tests look at what it wrote down.
"""

import base64
import json
import os
import stat
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import conv_model, picture, tiny_pspnet

from keras_pspnet import export_saved_model
from keras_pspnet.export import saved_model
from keras_pspnet.inference import predict_masks, segment

# Sizes and formats of the files of one request.
FILES = (
    ((33, 47), "JPEG"),
    ((40, 21), "PNG"),
    ((33, 47), "PNG"),
    ((1, 1), "JPEG"),
)

SERVER = """
import base64, json, sys
import numpy as np
import tensorflow as tf

folder, inputs, outputs = sys.argv[1:]
served = tf.saved_model.load(folder).signatures

def files(texts):
    return [base64.b64decode(text) for text in texts]

def call(request):
    if "shape" in request:
        return served["predict_array"](images=tf.zeros(request["shape"]))
    data = tf.constant(files(request["files"]), tf.string)
    data = tf.reshape(data, request.get("reshape", [-1]))
    return served["serving_default"](image_bytes=data)

with open(inputs) as stream:
    requests = json.load(stream)
images = tf.constant(np.float32(requests["images"]))
good = dict(
    array=served["predict_array"](images=images)["mask"],
    pixel=call({"shape": [1, 1, 1, 3]})["mask"],
)
answer = call({"files": requests["files"]})
pngs = answer.pop("mask_png_bytes").numpy()
good |= answer
good |= {f"png{k}": np.frombuffer(png, "u1") for k, png in enumerate(pngs)}
np.savez(outputs + "/good.npz", **good)
# One line each: should a request abort the process, it is the next one.
for name, request in requests["bad"].items():
    try:
        call(request)
        told = "answered"
    except tf.errors.InvalidArgumentError as error:
        told = error.message
    with open(outputs + "/bad.jsonl", "a") as stream:
        print(json.dumps([name, told]), file=stream)
again = served["predict_array"](images=images)["mask"]
np.testing.assert_array_equal(again, good["array"])
assert not any(name.startswith("keras_pspnet") for name in sys.modules)
"""

IMAGES = np.stack([picture(35, 50), picture(35, 50)[::-1]])


def encoded() -> list[bytes]:
    streams = [BytesIO() for _ in FILES]
    for stream, (size, form) in zip(streams, FILES, strict=True):
        Image.fromarray(picture(*size)).save(stream, form)
    return [stream.getvalue() for stream in streams]


def bad_requests() -> dict[str, dict[str, Any]]:
    """What clients get wrong, by name."""
    jpeg, png = encoded()[:2]
    gif = BytesIO()
    Image.fromarray(picture(5, 7)).save(gif, "GIF")

    def files(*data: bytes) -> dict[str, Any]:
        return {"files": [base64.b64encode(each).decode() for each in data]}

    return {
        "rank 0": {"shape": []},
        "rank 1": {"shape": [3]},
        "rank 2": {"shape": [5, 3]},
        "rank 3": {"shape": [16, 16, 3]},
        "rank 5": {"shape": [1, 1, 16, 16, 3]},
        "1 channel": {"shape": [1, 16, 16, 1]},
        "4 channels": {"shape": [1, 16, 16, 4]},
        "no pictures": {"shape": [0, 16, 16, 3]},
        "no rows": {"shape": [1, 0, 16, 3]},
        "no columns": {"shape": [1, 16, 0, 3]},
        "no files": files(),
        "empty file": files(b""),
        "text": files(b"some notes"),
        "cut JPEG": files(jpeg[: len(jpeg) // 2]),
        "cut PNG": files(png[: len(png) // 2]),
        "GIF": files(gif.getvalue()),
        "one of two": files(jpeg, b"some notes"),
        "file of rank 0": files(jpeg) | {"reshape": []},
        "file of rank 2": files(jpeg) | {"reshape": [1, 1]},
    }


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return tiny_pspnet()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "pspnet" / "1"
    export_saved_model(model, folder)
    return folder


@pytest.fixture(scope="module")
def answers(exported, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    requests = folder / "requests.json"
    files = [base64.b64encode(data).decode() for data in encoded()]
    requests.write_text(
        json.dumps(
            {"images": IMAGES.tolist(), "files": files, "bad": bad_requests()}
        )
    )
    # -I: this package cannot come in from the current folder.
    done = subprocess.run(
        [sys.executable, "-I", "-c", SERVER, exported, requests, folder],
        check=False,
        capture_output=True,
        text=True,
    )
    (folder / "stderr.txt").write_text(done.stderr)
    (folder / "status.txt").write_text(str(done.returncode))
    return folder


@pytest.fixture
def good(answers) -> Any:
    with np.load(answers / "good.npz") as found:
        return dict(found)


# === What a server answers ===


def test_the_process_lives_to_answer_again(answers) -> None:
    stderr = (answers / "stderr.txt").read_text()
    assert (answers / "status.txt").read_text() == "0", stderr


def test_arrays_give_the_model_s_masks(model, good) -> None:
    np.testing.assert_array_equal(good["array"], predict_masks(model, IMAGES))
    assert good["array"].dtype == np.uint8
    assert len(np.unique(good["array"])) > 1
    assert good["pixel"].shape == (1, 1, 1)


def test_files_give_the_masks_of_segment(model, good) -> None:
    for k, (data, (size, _)) in enumerate(zip(encoded(), FILES, strict=True)):
        png = Image.open(BytesIO(good[f"png{k}"].tobytes()))
        assert png.mode == "L"
        mask = np.asarray(png)
        assert mask.shape == size
        np.testing.assert_array_equal(mask, segment(model, data).mask)


def test_masks_of_different_sizes_come_padded(good) -> None:
    np.testing.assert_array_equal(good["height"], [33, 40, 33, 1])
    np.testing.assert_array_equal(good["width"], [47, 21, 47, 1])
    assert good["mask"].shape == (4, 40, 47)
    assert good["mask"].dtype == np.uint8
    for k, ((height, width), _) in enumerate(FILES):
        want = np.full((40, 47), 255, "uint8")
        png = Image.open(BytesIO(good[f"png{k}"].tobytes()))
        want[:height, :width] = png
        np.testing.assert_array_equal(good["mask"][k], want)


@pytest.mark.parametrize("name", bad_requests())
def test_bad_requests_end_in_an_error_and_no_abort(answers, name) -> None:
    lines = (answers / "bad.jsonl").read_text().splitlines()
    told = dict(json.loads(line) for line in lines)
    assert name in told, "the process ended before"
    assert told[name] != "answered"
    if name.startswith("no "):
        what = "image_bytes" if name == "no files" else "images"
        assert f"{what} must not be empty" in told[name]
    if name in ("empty file", "text", "GIF", "one of two"):
        assert "image_bytes must be JPEG or PNG files" in told[name]


# === What is written ===


def test_the_auxiliary_head_is_left_out(model, exported) -> None:
    reader = tf.train.load_checkpoint(str(exported / "variables/variables"))
    shapes = [
        tuple(shape)
        for key, shape in reader.get_variable_to_shape_map().items()
        if key.endswith("VARIABLE_VALUE")
        and reader.get_variable_to_dtype_map()[key] == tf.float32
    ]
    wanted = [
        tuple(variable.shape)
        for variable in model.inference_model().weights
        if "seed_generator" not in variable.path
    ]
    assert sorted(shapes) == sorted(wanted)
    assert b"aux_" not in (exported / "saved_model.pb").read_bytes()


def test_a_server_may_read_what_was_written(exported, tmp_path) -> None:
    (tmp_path / "ordinary").mkdir()
    modes = [
        stat.S_IMODE(folder.stat().st_mode)
        for folder in (exported, tmp_path / "ordinary")
    ]
    assert modes[0] == modes[1]
    # Servers take every other folder for a version.
    assert os.listdir(exported.parent) == ["1"]


@pytest.mark.parametrize("size", [(33, 47), (24, 40)])
def test_a_network_of_fixed_size_serves_every_picture(tmp_path, size) -> None:
    model = conv_model(size=(24, 40))
    export_saved_model(model, tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    images = np.stack([picture(*size).astype("float32")] * 2)
    mask = served["predict_array"](images=tf.constant(images))["mask"]
    np.testing.assert_array_equal(mask, predict_masks(model, images))


# === What is refused ===


def test_an_existing_folder_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match=f"`folder` must.*'{place}'"):
            export_saved_model(conv_model(), place)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_place_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        export_saved_model(conv_model(), tmp_path / "file" / "1")


def test_a_wrong_export_is_not_left_behind(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        saved_model,
        "predict_masks",
        lambda model, images: np.full(images.shape[:3], 9),
    )
    match = r"must give the model's masks.*equal pixels 0\.00%"
    with pytest.raises(RuntimeError, match=match):
        export_saved_model(conv_model(), tmp_path / "pspnet" / "1")
    assert os.listdir(tmp_path / "pspnet") == []


def test_an_interrupted_export_is_not_left_behind(
    tmp_path, monkeypatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "_compare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(conv_model(), tmp_path / "1")
    assert os.listdir(tmp_path) == []


def test_only_tensorflow_exports(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow.*'jax'"):
        export_saved_model(conv_model(), tmp_path / "1")
