"""Tests of exported files: scored as the model they were made of."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import reference
import tensorflow as tf
from litert_files import write_litert
from support import assert_close, assert_is_argmax, picture, tiny_pspnet

from keras_pspnet import export_litert, export_onnx, export_saved_model
from keras_pspnet.evaluation.evaluate import evaluate
from keras_pspnet.inference.exported import is_exported, load_exported
from keras_pspnet.inference.predictor import (
    Predictor,
    predict_logits,
)
from keras_pspnet.inference.segment import segment
from keras_pspnet.labels import LabelSet, generic_labels

LABELS = LabelSet("land", ("a", "b", "c"), ((9, 0, 0), (0, 9, 0), (0, 0, 9)), 9)
# Of the LiteRT file; the other two take every size.
SIZE = (48, 64)
FILL = (10, 20, 30)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Everything that is said of it is unlike what is made up."""
    # Some weights give an image one class alone.
    keras.utils.set_random_seed(0)
    options = {"mean": FILL, "align_corners": True, "aux": False}
    return tiny_pspnet(labels=LABELS, bin_sizes=(1, 2), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def files(model, folder) -> dict[str, Path]:
    """One export of each format."""
    paths = {
        "saved_model": folder / "served" / "1",
        "litert": folder / "model.tflite",
        "onnx": folder / "model.onnx",
    }
    export_saved_model(model, paths["saved_model"])
    export_litert(model, paths["litert"], SIZE)
    export_onnx(model, paths["onnx"])
    return paths


FORMATS = pytest.mark.parametrize("form", ["saved_model", "litert", "onnx"])


@pytest.fixture(scope="module")
def networks(files) -> dict[str, Predictor]:
    assert all(is_exported(path) for path in files.values())
    return {form: load_exported(path) for form, path in files.items()}


@pytest.fixture
def network(networks, form: str) -> Predictor:
    return networks[form]


def images(height: int, width: int) -> np.ndarray:
    both = [picture(height, width), picture(height, width)[::-1]]
    return np.stack(both).astype("float32")


# === As the model ===


@FORMATS
def test_what_the_model_says_comes_back(network, form: str) -> None:
    assert network.labels == LABELS
    assert network.fill == FILL
    assert network.align_corners is True
    assert network.model is None
    fixed = form == "litert"
    assert network.size == (SIZE if fixed else None)


@FORMATS
def test_logits_are_those_of_the_model(network, model) -> None:
    given = images(*SIZE)
    # A view without memory of its own, as flipped ones are.
    for each in (given, given[:, :, ::-1]):
        want = predict_logits(model, each)
        assert_close(network(each), want, 1e-5)
        # The next call does not write over what was given before.
        first = network(each[:1])
        network(each[1:])
        assert_close(first, want[:1], 1e-5)


@FORMATS
def test_scores_are_those_of_the_model(network, model) -> None:
    rng = np.random.default_rng(0)
    given = images(*SIZE).astype("uint8")
    masks = rng.integers(0, 3, given.shape[:3], dtype="uint8")
    scores = evaluate(network, [(given, masks)])
    want = evaluate(model, [(given, masks)])
    # A pixel or two may be a tie.
    assert np.abs(scores.confusion - want.confusion).sum() <= 4
    assert scores.labels == LABELS
    assert scores.weights_sha256 is None
    assert scores.images == 2


@pytest.mark.parametrize("form", ["saved_model", "onnx"])
@pytest.mark.parametrize("size", [(33, 47), (1, 1), (80, 19)])
def test_files_of_free_size_take_every_picture(network, model, size) -> None:
    assert_close(
        network(images(*size)), predict_logits(model, images(*size)), 1e-5
    )


@pytest.mark.parametrize("form", ["litert"])
@pytest.mark.parametrize(
    ("size", "inside"), [((24, 80), (19, 64)), ((60, 30), (48, 24))]
)
def test_files_of_fixed_size_fit_images_inside(
    network, model, size, inside
) -> None:
    padded = np.empty((2, *SIZE, 3), "float32")
    padded[:] = FILL
    seen = np.s_[:, : inside[0], : inside[1]]
    padded[seen] = reference.bilinear(images(*size), inside)
    logits = predict_logits(model, padded)[seen]
    assert_close(network(images(*size)), logits, 1e-5)
    mask = segment(network, picture(*size)).mask
    assert_is_argmax(mask, reference.bilinear(logits[:1], size)[0])


# === Files of other people, made by hand ===


def write_onnx(
    path: Path,
    shape: tuple[Any, ...] = ("B", 8, 12, 3),
    inputs: str = "images",
    output: str = "logits",
    said: str | None = None,
) -> Path:
    """Two classes: red, and the mean of all colors."""
    weights = np.float32([[1, 1 / 3], [0, 1 / 3], [0, 1 / 3]])
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", [inputs, "weights"], [output])],
        "graph",
        [onnx.helper.make_tensor_value_info(inputs, kind, shape)],
        [onnx.helper.make_tensor_value_info(output, kind, (*shape[:-1], 2))],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    proto = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    if said is not None:
        onnx.helper.set_model_props(proto, {"pspnet.json": said})
    onnx.save(proto, path)
    return path


def write_saved_model(path: Path, signature: str, name: str) -> Path:
    module = tf.Module()
    module.double = tf.function(
        lambda images: {"logits": 2 * images},
        input_signature=[tf.TensorSpec((None, None, None, 3), name=name)],
    )
    tf.saved_model.save(
        module, str(path), signatures={signature: module.double}
    )
    return path


def test_onnx_of_fixed_size_without_a_description(tmp_path) -> None:
    network = load_exported(write_onnx(tmp_path / "other.onnx"))
    assert network.labels == generic_labels(2)
    assert network.size == (8, 12)
    assert (network.fill, network.align_corners) == ((0, 0, 0), False)
    given = images(16, 12)
    inside = reference.bilinear(given, (8, 6))
    want = np.stack([inside[..., 0], inside.mean(-1)], -1)
    assert_close(network(given), want, 1e-5)


def test_a_saved_model_without_a_description(tmp_path) -> None:
    path = write_saved_model(tmp_path / "other", "logits", "images")
    network = load_exported(path)
    assert network.labels == generic_labels(3)
    np.testing.assert_array_equal(network(images(5, 4)), 2 * images(5, 4))


# === What is refused ===

FOREIGN = "`path` must be a model that keras_pspnet has exported. Received: "


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"output": "scores"}, "'scores'"),
        ({"inputs": "x"}, "'x'"),
        ({"shape": ("B", 8, 3)}, r"\[8, 3\]|'B', 8, 3"),
        ({"said": "{"}, "broken description"),
        ({"said": "[]"}, "broken description"),
        ({"said": "{}"}, "broken description .'labels'"),
    ],
)
def test_other_onnx_files_are_refused(arguments, found, tmp_path) -> None:
    path = write_onnx(tmp_path / "other.onnx", **arguments)
    with pytest.raises(ValueError, match=f"{FOREIGN}.*other.onnx.*({found})"):
        load_exported(path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"labels": generic_labels(3).to_dict()}, "3 labels for 2 classes"),
        ({"labels": {"names": ["a", "b"]}}, "broken description"),
        ({"fill": [1, 2]}, "broken description"),
        ({"fill": 5}, "broken description"),
    ],
)
def test_descriptions_are_checked(changes, found: str, tmp_path) -> None:
    good = {
        "labels": generic_labels(2).to_dict(),
        "fill": [1, 2.5, 3],
        "align_corners": False,
    }
    path = tmp_path / "model.onnx"
    network = load_exported(write_onnx(path, said=json.dumps(good)))
    assert network.fill == (1, 2.5, 3)
    write_onnx(path, said=json.dumps({**good, **changes}))
    with pytest.raises(ValueError, match=f"{FOREIGN}.*{found}"):
        load_exported(path)


def test_other_litert_files_are_refused(tmp_path) -> None:
    path = write_litert(tmp_path / "other.tflite", "scores")
    with pytest.raises(ValueError, match=f"{FOREIGN}.*other.tflite.*'scores'"):
        load_exported(path)
    # Bytes that are no text, zipped behind a model that is one of ours.
    path = write_litert(tmp_path / "broken.tflite")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("pspnet.json", b"\xff\xfe\xfd")
    with pytest.raises(ValueError, match=f"{FOREIGN}.*broken description"):
        load_exported(path)


def test_other_saved_models_are_refused(tmp_path) -> None:
    path = write_saved_model(tmp_path / "other", "serving_default", "images")
    with pytest.raises(ValueError, match=f"{FOREIGN}.*other.*'logits'"):
        load_exported(path)
    path = write_saved_model(tmp_path / "inputs", "logits", "x")
    with pytest.raises(ValueError, match=f"{FOREIGN}.*inputs.*'x'"):
        load_exported(path)


@pytest.mark.parametrize("data", [b"", b"no model" * 40])
@pytest.mark.parametrize(
    "name", ["model.onnx", "model.tflite", "served/saved_model.pb"]
)
def test_what_is_no_model_is_refused(name: str, data: bytes, tmp_path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    if path.suffix == ".pb":
        path = path.parent
    with pytest.raises(ValueError, match=f"{FOREIGN}.*{path.name}"):
        load_exported(path)


@pytest.mark.parametrize("name", ["model.keras", "folder", "model.pb"])
def test_other_paths_are_refused(name: str, tmp_path) -> None:
    path = tmp_path / name
    if path.suffix:
        path.write_bytes(b"PK")
    else:
        path.mkdir()
    assert not is_exported(path)
    match = f"`path` must be a SavedModel's folder, or a .tflite.*{name}"
    with pytest.raises(ValueError, match=match):
        load_exported(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    for path in (tmp_path / "no.onnx", str(tmp_path / "no")):
        with pytest.raises(FileNotFoundError, match="`path` must exist.*no"):
            load_exported(path)


@pytest.mark.parametrize(
    ("name", "missing", "match"),
    [
        ("a.onnx", "onnxruntime", "onnxruntime must.*keras-pspnet.onnx."),
        ("a.tflite", "ai_edge_litert", "ai-edge-litert must.*-pspnet.litert."),
    ],
)
def test_missing_packages_are_named(
    name: str, missing: str, match: str, tmp_path, monkeypatch
) -> None:
    (tmp_path / name).write_bytes(b"")
    asked = []

    def find_spec(module: str) -> None:
        asked.append(module)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    with pytest.raises(ImportError, match=match):
        load_exported(tmp_path / name)
    assert asked == [missing]
