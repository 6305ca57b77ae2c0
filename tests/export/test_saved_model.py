"""Tests of the SavedModel, most of them as a server sees it.

One process without this package loads the export and answers all
requests, good and bad; the tests look at what it wrote down.
"""

import base64
import functools
import json
import os
import shutil
import stat
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from c_session import ChildSession
from PIL import Image
from small import Small
from support import assert_close, conv_model, picture, tiny_pspnet
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_pspnet import export_saved_model
from keras_pspnet.export import saved_model
from keras_pspnet.export.verify import default_images
from keras_pspnet.inference.predictor import predict_logits
from keras_pspnet.inference.segment import predict_masks, segment

pytestmark = pytest.mark.long

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
        images = tf.fill(request["shape"], float(request.get("value", 0)))
        return served["predict_array"](images=images)
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
good |= {name: value.numpy().astype("U" if name == "status" else "i4")
         for name, value in answer.items()}
data = tf.constant(files(requests["files"]))
scores = served["scores"](image_bytes=data)
good["scores"] = scores["scores"]
small = tf.cast(images, tf.uint8)
good["uint8"] = served["predict_uint8"](images=small)["mask"]
good["probabilities"] = served["probabilities"](images=images)["probabilities"]
good["logits"] = served["logits"](images=images)["logits"]
for name, request in requests["poor"].items():
    answer = call(request)
    good["poor " + name] = answer["status"].numpy().astype("U")
    sizes = answer["height"] * answer["width"]
    empty = answer["mask_png_bytes"] == b""
    assert (empty.numpy() == (sizes.numpy() == 0)).all()
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


def files(*data: bytes) -> dict[str, Any]:
    return {"files": [base64.b64encode(each).decode() for each in data]}


def bad_requests() -> dict[str, dict[str, Any]]:
    """What clients get wrong, by name."""
    jpeg = encoded()[0]
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
        "NaN": {"shape": [1, 16, 16, 3], "value": "nan"},
        "infinity": {"shape": [1, 16, 16, 3], "value": "-inf"},
        "no files": files(),
        "file of rank 0": files(jpeg) | {"reshape": []},
        "file of rank 2": files(jpeg) | {"reshape": [1, 1]},
    }


@functools.cache
def poor_requests() -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Files that have no mask, and the status of each."""
    jpeg, png = encoded()[:2]
    gif, large = BytesIO(), BytesIO()
    Image.fromarray(picture(5, 7)).save(gif, "GIF")
    # 400 million pixels in 49 kilobytes.
    Image.new("1", (20000, 20000)).save(large, "PNG")
    lie = jpeg[:3] + png[3:]
    cut = [jpeg[:30], jpeg[: len(jpeg) // 2], png[:20], png[: len(png) // 2]]
    return {
        "empty": (files(b""), ["EMPTY"]),
        "text": (files(b"some notes"), ["NOT_JPEG_OR_PNG"]),
        "GIF": (files(gif.getvalue()), ["NOT_JPEG_OR_PNG"]),
        "cut": (files(*cut), ["DAMAGED"] * 4),
        "a JPEG's start": (files(lie), ["DAMAGED"]),
        "too large": (files(large.getvalue()), ["TOO_LARGE"]),
        "one of three": (
            files(jpeg, b"some notes", png),
            ["OK", "NOT_JPEG_OR_PNG", "OK"],
        ),
    }


@pytest.fixture(scope="module")
def model() -> keras.Model:
    # Some random weights have logits so large that rounding shows.
    keras.utils.set_random_seed(0)
    return tiny_pspnet()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "pspnet" / "1"
    with pytest.MonkeyPatch.context() as patch:
        # A fresh process, as users have it.
        patch.setattr(saved_model, "subprocess", subprocess)
        export_saved_model(model, folder)
    return folder


@pytest.fixture(scope="module")
def answers(exported, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    requests = folder / "requests.json"
    requests.write_text(
        json.dumps(
            {
                "images": IMAGES.tolist(),
                "files": files(*encoded())["files"],
                "bad": bad_requests(),
                "poor": {
                    name: request
                    for name, (request, _) in poor_requests().items()
                },
            }
        )
    )
    done = forked.run_code(
        [sys.executable, "-I", "-c", SERVER, exported, requests, folder]
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


def test_sizes_and_status_come_with_every_mask(good) -> None:
    np.testing.assert_array_equal(good["height"], [33, 40, 33, 1])
    np.testing.assert_array_equal(good["width"], [47, 21, 47, 1])
    np.testing.assert_array_equal(good["status"], ["OK"] * 4)


@pytest.mark.parametrize("name", poor_requests())
def test_a_poor_file_is_told_and_the_others_answered(good, name) -> None:
    _, statuses = poor_requests()[name]
    np.testing.assert_array_equal(good[f"poor {name}"], statuses)


def test_scores_are_the_shares_of_the_classes(good) -> None:
    for k in range(len(FILES)):
        mask = np.asarray(Image.open(BytesIO(good[f"png{k}"].tobytes())))
        shares = np.bincount(mask.ravel(), minlength=3) / mask.size
        np.testing.assert_allclose(good["scores"][k], shares, atol=1e-6)


def test_probabilities_and_logits_are_the_model_s(model, good) -> None:
    want = predict_logits(model, IMAGES)
    assert_close(good["logits"], want, 1e-5)
    want = np.exp(want - want.max(-1, keepdims=True))
    want /= want.sum(-1, keepdims=True)
    # Logits may differ by 1e-5 of the greatest, which is above 1.
    assert_close(good["probabilities"], want, 2e-5)
    np.testing.assert_array_equal(good["uint8"], good["array"])


@pytest.mark.parametrize("name", bad_requests())
def test_bad_requests_end_in_an_error_and_no_abort(answers, name) -> None:
    lines = (answers / "bad.jsonl").read_text().splitlines()
    told = dict(json.loads(line) for line in lines)
    assert name in told, "the process ended before"
    assert told[name] != "answered"
    if name.startswith("no "):
        what = "image_bytes" if name == "no files" else "images"
        assert f"{what} must not be empty" in told[name]
    if name in ("NaN", "infinity"):
        assert "images must be finite" in told[name]


# === What is written ===


def functions_of(folder: Path) -> dict[str, list[Any]]:
    """Nodes of every function of the graph."""
    graph = (folder / "saved_model.pb").read_bytes()
    found = saved_model_pb2.SavedModel.FromString(graph)
    graph_def = found.meta_graphs[0].graph_def
    nodes = {
        each.signature.name: list(each.node_def)
        for each in graph_def.library.function
    }
    return {"": list(graph_def.node), **nodes}


def constants_of(functions: dict[str, list[Any]]) -> list[int]:
    """Bytes of every constant that is a number or an array of numbers."""
    return [
        node.attr["value"].tensor.ByteSize()
        for nodes in functions.values()
        for node in nodes
        if node.op == "Const"
        and node.attr["dtype"].type != tf.string.as_datatype_enum
    ]


def count_weights(model: keras.Model) -> int:
    main = model.inference_model().weights
    return sum(int(np.prod(weight.shape)) for weight in main)


@pytest.fixture(scope="module")
def bfloat16(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bfloat16") / "1"
    export_saved_model(model, folder, "bfloat16")
    return folder


@pytest.fixture(scope="module")
def frozen(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frozen") / "1"
    with pytest.MonkeyPatch.context() as patch:
        # Verifying other sizes would take seconds; a test compares the logits.
        patch.setattr(
            saved_model, "default_images", lambda net: default_images(net)[:1]
        )
        export_saved_model(model, folder, freeze=True)
    return folder


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("exported", 4),
        pytest.param("bfloat16", 2, marks=pytest.mark.slow),
    ],
)
def test_signatures_share_one_copy_of_the_weights(
    model, request, name, size
) -> None:
    folder = request.getfixturevalue(name)
    values = folder / "variables" / "variables.data-00000-of-00001"
    weights = size * count_weights(model)
    # Normalization, most of a network so narrow, has been folded.
    assert 0.8 * weights < values.stat().st_size < 1.1 * weights
    functions = functions_of(folder)
    assert max(constants_of(functions)) < 256
    (network,) = (
        nodes
        for nodes in functions.values()
        if any(node.op == "Conv2D" for node in nodes)
    )
    reads = [node for node in network if node.op == "ReadVariableOp"]
    handles = [node for node in functions[""] if node.op == "VarHandleOp"]
    assert len({node.input[0] for node in reads}) == len(reads) > 40
    assert len(reads) == len(handles)
    # Whatever is stored in another dtype is cast by every request.
    cast = {node.input[0] for node in network if node.op == "Cast"}
    assert not cast & {f"{node.name}:value:0" for node in reads}


def test_frozen_weights_are_constants_written_once(
    model, exported, frozen
) -> None:
    functions = functions_of(frozen)
    weights = 4 * count_weights(model)
    assert 0.9 * weights < sum(constants_of(functions)) < 1.5 * weights
    nodes = [node for each in functions.values() for node in each]
    assert not [node for node in nodes if "Variable" in node.op]
    assert not [node for node in nodes if node.op == "VarHandleOp"]
    shared, constant = (
        tf.saved_model.load(str(folder)).signatures["logits"](
            images=tf.constant(IMAGES.astype("float32"))
        )["logits"]
        for folder in (exported, frozen)
    )
    assert_close(constant, shared, 1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "exported",
        "frozen",
        pytest.param("bfloat16", marks=pytest.mark.slow),
    ],
)
def test_graphs_have_neither_normalization_nor_auxiliary_branch(
    request, name
) -> None:
    graph = (request.getfixturevalue(name) / "saved_model.pb").read_bytes()
    assert b"aux_" not in graph
    assert b"FusedBatchNorm" not in graph


def test_the_c_loader_of_servers_gives_the_same(exported, good) -> None:
    def run(signature: str, name: str, values: Any, dtype: str) -> Any:
        return child.run(signature, {name: np.array(values, dtype)})

    with ChildSession(exported) as child:
        array = run("predict_array", "images", IMAGES, "float32")
        for signature in ("logits", "predict_array", "probabilities"):
            answers = [
                run(signature, "images", IMAGES, "float32") for _ in range(3)
            ]
            for again in answers[1:]:
                np.testing.assert_equal(again, answers[0])
        files = run("serving_default", "image_bytes", encoded(), "O")
        poor = run("serving_default", "image_bytes", [b"x"], "O")
    np.testing.assert_array_equal(array["mask"], good["array"])
    for k, png in enumerate(files["mask_png_bytes"]):
        assert png == good[f"png{k}"].tobytes()
    assert poor["status"].tolist() == [b"NOT_JPEG_OR_PNG"]


def test_the_side_files_are_for_clients_and_servers(model, exported) -> None:
    extra = exported / "assets.extra"
    side = json.loads((extra / "pspnet.json").read_text())
    assert side["labels"]["names"] == ["class_0", "class_1", "class_2"]
    assert side["versions"]["tensorflow"] == tf.__version__
    assert side["parity"]["precision"] == "float32"
    assert side["parity"]["difference"] <= 1e-5
    records = tf.data.TFRecordDataset(str(extra / "tf_serving_warmup_requests"))
    served = tf.saved_model.load(str(exported)).signatures
    for record in records.as_numpy_iterator():
        log = PredictionLog.FromString(record).predict_log.request
        inputs = {
            name: tf.constant(tf.make_ndarray(tensor))
            for name, tensor in log.inputs.items()
        }
        answer = served[log.model_spec.signature_name](**inputs)
        assert answer["status"].numpy().tolist() == [b"OK"]


def test_sums_tell_whether_an_export_is_whole(exported, tmp_path) -> None:
    folder = tmp_path / "1"
    shutil.copytree(exported, folder)
    check = ["sha256sum", "--check", "--quiet", "assets.extra/SHA256SUMS"]

    def status() -> int:
        return subprocess.run(check, cwd=folder, capture_output=True).returncode

    assert status() == 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    sums = folder / "assets.extra" / "SHA256SUMS"
    assert len(sums.read_text().splitlines()) == len(files) - 1 > 4
    for path in set(files) - {sums}:
        data = path.read_bytes()
        middle = len(data) // 2
        changed = bytes([data[middle] ^ 1])
        path.write_bytes(data[:middle] + changed + data[middle + 1 :])
        assert status() != 0
        path.unlink()
        assert status() != 0
        path.write_bytes(data)
    assert status() == 0


# === Options ===


def masks_of(folder: Path, images: np.ndarray) -> np.ndarray:
    served = tf.saved_model.load(str(folder)).signatures
    return served["predict_array"](images=tf.constant(images))["mask"].numpy()


@pytest.fixture(scope="module")
def wide() -> keras.Model:
    """Sees as far as a deep network and is exported in a tenth of the time."""
    return conv_model(3, side=15)


@pytest.fixture(scope="module")
def limited(wide, tmp_path_factory) -> Path:
    """Shrinks images, and refuses those of more pixels than 20 x 90."""
    folder = tmp_path_factory.mktemp("limited") / "1"
    export_saved_model(wide, folder, max_side=48, max_pixels=20 * 90)
    return folder


def test_long_images_are_shrunk_for_the_network(wide, limited) -> None:
    image = picture(20, 90)
    got = masks_of(limited, image[None].astype("float32"))[0]
    want = segment(wide, image, max_side=48).mask
    # Pillow and TensorFlow round some levels of the small image apart.
    assert got.shape == want.shape
    assert (got == want).mean() > 0.99


def test_larger_images_than_allowed_are_refused(limited) -> None:
    served = tf.saved_model.load(str(limited)).signatures
    fitting, larger = (
        tf.constant(picture(*size)[None]) for size in ((20, 90), (21, 86))
    )
    assert served["predict_uint8"](images=fitting)["mask"].shape == (1, 20, 90)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="at most 1800 pixels"
    ):
        served["predict_uint8"](images=larger)
    stream = BytesIO()
    Image.fromarray(picture(21, 86)).save(stream, "PNG")
    answer = served["serving_default"](tf.constant([stream.getvalue()]))
    assert answer["status"].numpy().tolist() == [b"TOO_LARGE"]


def test_views_are_averaged_in_the_graph(wide, tmp_path) -> None:
    scales = (0.75, 1.25)
    export_saved_model(wide, tmp_path / "1", scales=scales, flip=True)
    image = picture(41, 57)
    got = masks_of(tmp_path / "1", image[None].astype("float32"))[0]
    want = segment(wide, image, scales, flip=True).mask
    assert (got == want).mean() > 0.999


@pytest.fixture(scope="module")
def by_windows(wide, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("windows") / "1"
    export_saved_model(wide, folder, window=32)
    return folder


@pytest.mark.parametrize("size", [(30, 70), (20, 25)])
def test_windows_slide_in_the_graph(wide, by_windows, size) -> None:
    image = picture(*size)[None].astype("float32")
    total = np.zeros((*size, 3))
    count = np.zeros((*size, 1))
    # Every 22 pixels, two thirds of 32 rounded up, the last at the border.
    for top in range(0, max(size[0] - 32, 0) + 22, 22):
        for left in range(0, max(size[1] - 32, 0) + 22, 22):
            y = max(min(top, size[0] - 32), 0)
            x = max(min(left, size[1] - 32), 0)
            here = np.s_[y : y + 32, x : x + 32]
            total[here] += predict_logits(wide, image[:, *here])[0]
            count[here] += 1
    want = (total / count).argmax(-1)
    got = masks_of(by_windows, image)[0]
    assert (got == want).mean() > 0.999


def test_bfloat16_computes_in_bfloat16(tmp_path) -> None:
    parity = export_saved_model(Small(aux=False), tmp_path / "1", "bfloat16")
    assert parity.passed and parity.rows[0].difference > 1e-5
    assert "bfloat16: at most 0.05" in str(parity)
    kinds = [
        node.attr["T"].type
        for nodes in functions_of(tmp_path / "1").values()
        for node in nodes
        if node.op == "Conv2D"
    ]
    # Two have no normalization: the first and the classifier.
    assert kinds.count(tf.bfloat16.as_datatype_enum) == len(kinds) - 2 > 0


def test_a_server_may_read_what_was_written(exported, tmp_path) -> None:
    (tmp_path / "ordinary").mkdir()
    modes = [
        stat.S_IMODE(folder.stat().st_mode)
        for folder in (exported, tmp_path / "ordinary")
    ]
    assert modes[0] == modes[1]
    # Servers take every other folder for a version.
    assert os.listdir(exported.parent) == ["1"]


def test_a_network_of_fixed_size_serves_every_image(tmp_path) -> None:
    model = conv_model(size=(24, 40))
    export_saved_model(model, tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    for size in ((33, 47), (24, 40)):
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


def write_nothing(_: Any, folder: str, **__: Any) -> None:
    """Takes the place of `tf.saved_model.save`, which takes longer."""
    os.mkdir(folder)


def test_a_wrong_export_is_not_left_behind(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tf.saved_model, "save", write_nothing)
    monkeypatch.setattr(
        saved_model,
        "_run_in_child",
        lambda _, images, __: [np.ones((1, 9, 9, 4))] * len(images),
    )
    match = (
        r"must give the same logits as its model\.(.|\n)*48x48 +nan +0\.000%"
    )
    with pytest.raises(RuntimeError, match=match):
        export_saved_model(conv_model(), tmp_path / "pspnet" / "1")
    assert os.listdir(tmp_path / "pspnet") == []


def test_an_interrupted_export_is_not_left_behind(
    tmp_path, monkeypatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", write_nothing)
    monkeypatch.setattr(saved_model, "compare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(conv_model(), tmp_path / "1")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"precision": "int4"}, "`precision` must be one of.*'int4'"),
        ({"max_side": 0}, "`max_side` must be a positive integer.*max_side=0"),
        ({"window": 8}, "`window` must be an integer of at least 16"),
        ({"max_pixels": 0}, "`max_pixels` must be an integer.*max_pixels=0"),
        ({"scales": ()}, "`scales` must be"),
        ({"batch_sizes": (0,)}, r"`batch_sizes` must hold positive.*\(0,\)"),
    ],
)
def test_arguments_are_checked_first(tmp_path, arguments, match) -> None:
    with pytest.raises(ValueError, match=match):
        export_saved_model(conv_model(), tmp_path / "1", **arguments)
    assert os.listdir(tmp_path) == []
