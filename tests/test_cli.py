"""Tests of the command line: files come out, bad input is told in one line."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import keras
import keras_pspnet.training.train as training
import numpy as np
import onnx
import pytest
import tensorflow as tf
from PIL import Image
from source_states import mmseg_state, random_pspnet
from support import (
    assert_is_argmax,
    conv_logits,
    conv_model,
    numpy,
    picture,
    tiny_pspnet,
)
from torch_files import pickled, raw, tensor, write_zip

import keras_pspnet.export
import keras_pspnet.pretrained
from keras_pspnet import cli_evaluate, cli_segment, cli_shared, network
from keras_pspnet.cli import main
from keras_pspnet.data.decode import read_mask
from keras_pspnet.evaluation import Scores, evaluate
from keras_pspnet.export import saved_model
from keras_pspnet.export.signature import ServingOptions
from keras_pspnet.inference import segment
from keras_pspnet.labels import LabelSet
from keras_pspnet.presets import PRESETS
from keras_pspnet.pretrained import load_pretrained, save_pretrained

LABELS = LabelSet(
    "three", ("park", "lake", "path"), ((9, 0, 0), (0, 9, 0), (0, 0, 9))
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("cli") / "model"
    # Before the seed that every test gets.
    keras.utils.set_random_seed(0)
    save_pretrained(tiny_pspnet(labels=LABELS, aux=False), folder)
    return str(folder)


@pytest.fixture
def photo(tmp_path, monkeypatch) -> str:
    """A picture in the current folder, beside which nothing is."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(33, 47)).save("photo.png")
    return "photo.png"


@pytest.fixture
def no_model(monkeypatch) -> None:
    """Fails if a model is loaded: bad input must show before."""

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(keras_pspnet.pretrained, "load_pretrained", load)


def load_conv_model(monkeypatch) -> Any:
    """Puts one small model in the place of all; returns it."""
    model = conv_model()
    monkeypatch.setattr(
        keras_pspnet.pretrained, "load_pretrained", lambda *_, **__: model
    )
    return model


def refusal(capsys, *arguments: str) -> str:
    """Runs a command that must fail; returns its one line on stderr."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("keras-pspnet: error: ")
    return lines[0]


# === segment ===


def make_pictures(*paths: str) -> None:
    """Writes pictures of different sizes; folders are made."""
    for index, path in enumerate(paths):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(33 + index, 47)).save(path)


def test_segment_writes_the_picture(photo, model_folder, capsys) -> None:
    assert (
        main(["segment", photo, "-o", "out.png", "--model", model_folder]) == 0
    )
    result = segment(load_pretrained(model_folder), photo)
    with Image.open("out.png") as found:
        np.testing.assert_array_equal(found, result.picture())
    out, err = capsys.readouterr()
    assert err == ""
    shares = [f"{name} {share:.1%}" for name, share in result.areas().items()]
    assert len(shares) > 1
    assert out == f"out.png: {', '.join(shares)}\n"


def test_segment_writes_the_mask_of_several_views(photo, monkeypatch) -> None:
    model = conv_model()
    loaded = []

    def load(source: str, backbone: str | None) -> Any:
        loaded.append((source, backbone))
        return model

    monkeypatch.setattr(keras_pspnet.pretrained, "load_pretrained", load)
    options = ["--mask", "--scales", "1", "0.3", "--flip", "-o", "mask.png"]
    assert main(["segment", photo, *options]) == 0
    assert loaded == [("aerial", None)]
    want = segment(model, photo, scales=(1, 0.3), flip=True).mask
    np.testing.assert_array_equal(read_mask("mask.png"), want)
    assert (want != segment(model, photo).mask).any()


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ("", {}),
        ("--scales 0.5 1", {"scales": [0.5, 1.0]}),
        ("--flip", {"flip": True}),
        ("--window 32", {"window": 32}),
        ("--max-side 20", {"max_side": 20}),
        ("--max-side none", {"max_side": None}),
        ("--max-pixels 9000", {"max_pixels": 9000}),
        ("--confidence", {"confidence": True}),
    ],
)
def test_segment_passes_on_what_is_given(
    photo, monkeypatch, arguments: str, passed: dict[str, Any]
) -> None:
    model = load_conv_model(monkeypatch)
    spy = create_autospec(segment, side_effect=segment)
    monkeypatch.setattr(cli_segment, "segment", spy)
    assert main(["segment", photo, "-o", "x.png", *arguments.split()]) == 0
    ((network, image), given) = spy.call_args
    assert network.model is model
    np.testing.assert_array_equal(image, picture(33, 47))
    # Neither is worth a word where it is the default.
    given = {name: value for name, value in given.items() if value is not False}
    assert given == passed


@pytest.mark.parametrize(
    ("options", "what", "colorblind"),
    [
        (["--confidence"], "confidence", False),
        (["--colorblind"], "picture", True),
        (["--colorblind", "--mask"], "mask", True),
    ],
)
def test_segment_writes_what_is_asked_for(
    photo, monkeypatch, options: list[str], what: str, colorblind: bool
) -> None:
    model = load_conv_model(monkeypatch)
    assert main(["segment", photo, "-o", "out.png", *options]) == 0
    result = segment(model, photo, confidence=True)
    result.save("want.png", what, colorblind)
    assert Path("out.png").read_bytes() == Path("want.png").read_bytes()


def test_segment_computes_in_the_precision_asked_for(
    photo, monkeypatch
) -> None:
    model = load_conv_model(monkeypatch)
    spy = create_autospec(network.as_network, side_effect=network.as_network)
    monkeypatch.setattr(cli_shared, "as_network", spy)
    command = ["segment", photo, "-o", "x.png"]
    assert main(command) == 0
    assert main([*command, "--precision", "bfloat16"]) == 0
    assert [each.args for each in spy.call_args_list] == [
        (model, "float32"),
        (model, "bfloat16"),
    ]


def test_segment_writes_an_output_for_each_picture(
    photo, monkeypatch, capsys
) -> None:
    model = load_conv_model(monkeypatch)
    make_pictures("b.jpg", "seen/c.PNG", "seen/a.webp", "seen/deeper/x.png")
    Path("seen/notes.txt").write_text("some notes")
    command = ["segment", "seen", "[b].*", photo, "--mask", "-o", "new/out"]
    assert main(command) == 0
    assert sorted(os.listdir("new/out")) == [
        "a.png",
        "b.png",
        "c.png",
        "photo.png",
    ]
    sources = ["seen/a.webp", "seen/c.PNG", "b.jpg", photo]
    lines = []
    for source in sources:
        result = segment(model, source)
        output = os.path.join("new", "out", f"{Path(source).stem}.png")
        np.testing.assert_array_equal(read_mask(output), result.mask)
        shares = result.areas().items()
        lines.append(
            f"{output}: "
            + ", ".join(f"{name} {share:.1%}" for name, share in shares)
        )
    out, err = capsys.readouterr()
    assert out.splitlines() == [*lines, "4 pictures written, 0 failed"]
    assert err == ""


@pytest.mark.parametrize(
    ("paths", "output", "written"),
    [
        ("photo.png", "there", "there/photo.png"),
        ("photo.png", "new/", "new/photo.png"),
        ("seen", "there", "there/one.png"),
        ("seen", "new", "new/one.png"),
        ("seen/*", "new", "new/one.png"),
        ("seen", "new.jpg", "new.jpg"),
        ("seen/one.jpg", "new.JPEG", "new.JPEG"),
    ],
)
def test_segment_writes_one_picture_to_a_file_or_folder(
    photo, monkeypatch, capsys, paths: str, output: str, written: str
) -> None:
    load_conv_model(monkeypatch)
    make_pictures("seen/one.jpg")
    Path("there").mkdir()
    assert main(["segment", paths, "-o", output]) == 0
    with Image.open(written) as found:
        found.load()
    out, _ = capsys.readouterr()
    assert out.startswith(f"{Path(written)}: ")
    assert len(out.splitlines()) == 1


def test_segment_names_outputs_by_the_whole_name_where_stems_collide(
    photo, monkeypatch
) -> None:
    load_conv_model(monkeypatch)
    make_pictures("seen/a.jpg", "seen/a.png", "seen/b.a.png")
    assert main(["segment", "seen", "-o", "out"]) == 0
    names = ["a.jpg.png", "a.png.png", "b.a.png"]
    assert sorted(os.listdir("out")) == names
    # None of these is a picture that was there: there is no danger.
    assert main(["segment", "seen/a.jpg", "seen/a.png", "-o", "seen"]) == 0
    assert sorted(os.listdir("seen")) == sorted(
        ["a.jpg", "a.png", "b.a.png", *names[:2]]
    )


@pytest.mark.parametrize(
    ("paths", "received"),
    [
        ("one/*.jpg two", "'one/a.jpg' and 'two/a.jpg'"),
        ("one/a.jpg one/a.png one/a.jpg.tif", "'one/a.jpg' and 'one/a.jpg.tif"),
    ],
)
def test_segment_refuses_pictures_of_one_name(
    photo, no_model, capsys, paths: str, received: str
) -> None:
    make_pictures("one/a.jpg", "one/a.png", "two/a.jpg", "one/a.jpg.tif")
    line = refusal(capsys, "segment", *paths.split(), "-o", "out")
    assert "`paths` must be pictures of different names for one folder" in line
    assert received in line
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ("photo.png -o photo.png", "'photo.png' for 'photo.png'"),
        ("photo.png -o .", "'photo.png' for 'photo.png'"),
        ("photo.png -o link.png", "'link.png' for 'photo.png'"),
        ("link.png -o photo.png", "'photo.png' for 'link.png'"),
        ("seen -o seen", "'seen/b.png' for 'seen/b.png'"),
        ("seen/[ab].* -o other/../seen", "'other/../seen/b.png' for"),
        # One picture's output is a link to another picture.
        ("seen/b.png photo.png -o links", "'links/b.png' for 'photo.png'"),
    ],
)
def test_segment_never_replaces_what_it_segments(
    photo, no_model, capsys, arguments: str, received: str
) -> None:
    make_pictures("seen/a.jpg", "seen/b.png", "other/x.png")
    Path("link.png").symlink_to(photo)
    Path("links").mkdir()
    Path("links/b.png").symlink_to("../photo.png")
    files = {path: path.read_bytes() for path in Path().rglob("*.*g")}
    line = refusal(capsys, "segment", *arguments.split())
    assert "`output` must not replace a picture that is segmented" in line
    assert received in line
    for path, content in files.items():
        assert path.read_bytes() == content


def test_segment_goes_on_after_bad_pictures(photo, monkeypatch, capsys) -> None:
    load_conv_model(monkeypatch)
    make_pictures("seen/a.png", "seen/c.png", "seen/d.png")
    Path("seen/b.jpg").write_text("no picture")
    data = Path("seen/c.png").read_bytes()
    Path("seen/c.png").write_bytes(data[: len(data) // 2])
    Path("gone.png").symlink_to("nowhere.png")
    Path("out/d.png").mkdir(parents=True)
    assert main(["segment", "seen", "g*", "-o", "out"]) == 1
    out, err = capsys.readouterr()
    lines = err.splitlines()
    for line, name, told in zip(
        lines,
        ("seen/b.jpg", "seen/c.png", "seen/d.png", "gone.png"),
        ("must be a picture file", "decoded", "not a folder", "that exists"),
        strict=True,
    ):
        assert line.startswith(f"keras-pspnet: error: {name}: `")
        assert told in line
    assert len(out.splitlines()) == 2
    assert out.startswith("out/a.png: ")
    assert out.endswith("\n1 picture written, 4 failed\n")
    assert sorted(os.listdir("out")) == ["a.png", "d.png"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "MemoryError"),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "OOM when\nallocating"
            ),
            "OOM when allocating",
        ),
    ],
)
def test_segment_goes_on_after_pictures_too_large_for_the_memory(
    photo, monkeypatch, capsys, error: Exception, told: str
) -> None:
    load_conv_model(monkeypatch)
    make_pictures("seen/a.png", "seen/b.png")

    def run_out(model: Any, image: Any, **arguments: Any) -> Any:
        if image == Path("seen/a.png"):
            raise error
        return segment(model, image, **arguments)

    monkeypatch.setattr(cli_segment, "segment", run_out)
    assert main(["segment", "seen", "-o", "out"]) == 1
    out, err = capsys.readouterr()
    assert err == f"keras-pspnet: error: seen/a.png: {told}\n"
    assert out.splitlines()[1:] == ["1 picture written, 1 failed"]


def test_segment_keeps_what_is_done_when_it_is_interrupted(
    photo, monkeypatch, capsys
) -> None:
    model = load_conv_model(monkeypatch)
    make_pictures("seen/a.png", "seen/b.png", "seen/c.png")

    def interrupted(model: Any, image: Any, **arguments: Any) -> Any:
        if image == Path("seen/b.png"):
            raise KeyboardInterrupt
        return segment(model, image, **arguments)

    monkeypatch.setattr(cli_segment, "segment", interrupted)
    assert main(["segment", "seen", "--mask", "-o", "out"]) == 130
    assert os.listdir("out") == ["a.png"]
    want = segment(model, "seen/a.png").mask
    np.testing.assert_array_equal(read_mask("out/a.png"), want)
    out, err = capsys.readouterr()
    assert out.endswith("\n1 picture written, 0 failed\n")
    assert err == ""


def test_segment_shows_a_bar_on_a_terminal_only(
    photo, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    make_pictures("seen/a.png", "seen/b.png")
    Path("seen/c.png").write_text("no picture")
    command = ["segment", "seen", "-o", "out"]
    assert main(command) == 1
    assert "3/3" not in capsys.readouterr().out
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert "3/3" in out
    assert "out/a.png: " in out
    assert out.endswith("2 pictures written, 1 failed\n")
    # A redirected stderr has the errors, not the terminal.
    assert err.startswith("keras-pspnet: error: seen/c.png: ")
    assert len(err.splitlines()) == 1


def test_segment_shows_windows_of_one_picture_on_a_terminal(
    photo, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    command = ["segment", photo, "-o", "out.png", "--window", "32"]
    assert main(command) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(command) == 0
    # 33x47 in windows of 32, every 22 pixels.
    assert "4/4" in capsys.readouterr().out


def test_segment_takes_names_that_cannot_be_printed(
    photo, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    name = os.fsdecode(b"caf\xe9.png")
    os.replace(photo, name)
    assert main(["segment", name, "-o", "out/"]) == 0
    assert capsys.readouterr().out.startswith("out/caf\\udce9.png: ")
    assert os.listdir("out") == [name]


@pytest.mark.parametrize(
    ("arguments", "told", "received"),
    [
        ("no.jpg -o x.png", "patterns of files that exist", "no.jpg"),
        ("*.gif -o x.png", "must be patterns that match pictures", "*.gif"),
        ("empty -o x.png", "or folders that hold some", "empty"),
        ("notes.txt -o x.png", "`image` must be a picture file", "notes.txt"),
        ("photo.png -o no/x.png", "in a folder that exists", "no/x.png"),
        ("photo.png -o notes.txt/x.png", "not under a file", "notes.txt/x.png"),
        ("photo.png -o x.webp", "`path` must end in .png or .jpg", "x.webp"),
        ("photo.png -o out", "`path` must end in .png or .jpg", "out"),
        ("photo.png -o x.jpg --mask", "end in .png for a mask", "x.jpg"),
        ("two -o x.png", "`output` must be a folder for 2 pictures", "x.png"),
        ("two -o notes.txt", "must be a folder for 2 pictures", "notes.txt"),
        ("two -o notes.txt/x", "not under a file", "notes.txt/a.png"),
        ("photo.png -o x.png --scales 0", "`scales` must be a sequence", "0.0"),
        ("two -o out --window 8", "`window` must be an integer of", "8"),
        ("two -o out --max-side 0", "`max_side` must be an integer of", "0"),
        ("two -o out --max-pixels 0", "`max_pixels` must be an", "0"),
        ("photo.png -o x.png --max-pixels 9", "must have at most 9", "photo"),
    ],
)
def test_segment_refuses_bad_input_before_loading_a_model(
    photo, no_model, capsys, arguments: str, told: str, received: str
) -> None:
    Path("notes.txt").write_text("some notes")
    Path("empty").mkdir()
    make_pictures("two/a.png", "two/b.png")
    before = sorted(os.listdir())
    line = refusal(capsys, "segment", *arguments.split())
    assert told in line
    assert received in line.split("Received")[1]
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model", "mars"], "'cityscapes_769' or a folder"),
        (["--model", "empty"], "must hold the files config.json and"),
        (["--model", "no.onnx"], "`path` must exist"),
    ],
)
def test_segment_refuses_unknown_models(photo, capsys, options, told) -> None:
    Path("empty").mkdir()
    for output in ("x.png", "out/"):
        line = refusal(capsys, "segment", photo, "-o", output, *options)
        assert told in line
        assert options[1] in line.split("Received")[1]
    assert sorted(os.listdir()) == ["empty", "photo.png"]


# === Exported models ===


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, str]:
    """Format to path of what computes as `conv_model`."""
    folder = tmp_path_factory.mktemp("exported")
    model = conv_model()

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), name="images")]
    )
    def logits(images: Any) -> Any:
        return {"logits": model(images)}

    module = tf.Module()
    module.model = model
    tf.saved_model.save(module, str(folder / "served"), {"logits": logits})
    kernel, bias = (numpy(variable) for variable in model.weights)
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Transpose", ["images"], ["x"], perm=[0, 3, 1, 2]),
            node("Conv", ["x", "kernel", "bias"], ["y"], pads=[1, 1, 1, 1]),
            node("Transpose", ["y"], ["logits"], perm=[0, 2, 3, 1]),
        ],
        "conv",
        [
            onnx.helper.make_tensor_value_info(
                "images", 1, [None, None, None, 3]
            )
        ],
        [
            onnx.helper.make_tensor_value_info(
                "logits", 1, [None, None, None, 4]
            )
        ],
        [
            onnx.numpy_helper.from_array(array, name)
            for array, name in (
                (np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), "kernel"),
                (bias, "bias"),
            )
        ],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8),
        folder / "model.onnx",
    )
    return {
        "onnx": str(folder / "model.onnx"),
        "savedmodel": str(folder / "served"),
    }


@pytest.mark.parametrize(
    ("form", "weights"), [("onnx", ""), ("savedmodel", "saved_model.pb")]
)
def test_exported_models_segment_and_are_scored(
    photo, exported, capsys, form: str, weights: str
) -> None:
    path = exported[form]
    command = ["segment", photo, "-o", "out.png", "--mask", "--model", path]
    assert main(command) == 0
    scores = conv_logits(conv_model(), picture(33, 47)[None])[0]
    assert_is_argmax(read_mask("out.png"), scores)
    for name in ("images", "masks"):
        Path(name).mkdir()
    os.replace(photo, "images/a.png")
    os.replace("out.png", "masks/a.png")
    command = ["evaluate", "--data", ".", "--model", path, "-o", "all.json"]
    assert main(command) == 0
    scores = Scores.load("all.json")
    assert scores.pixel_accuracy == 1
    assert "precision" not in scores.protocol
    content = Path(path, weights).read_bytes()
    assert scores.weights_sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "option", ["--backbone resnet50", "--precision bfloat16"]
)
def test_exported_models_have_their_own_backbone_and_precision(
    photo, capsys, option: str
) -> None:
    command = ("segment", photo, "-o", "out.png", "--model", "my.tflite")
    line = refusal(capsys, *command, *option.split())
    name, value = option.removeprefix("--").split()
    assert f"`{name}` must be left out for an exported model" in line
    assert f"Received: {name}='{value}', model='my.tflite'" in line


def test_a_published_name_is_no_exported_folder(photo) -> None:
    Path("aerial").mkdir()
    Path("aerial/saved_model.pb").write_bytes(b"")
    command = ["segment", photo, "-o", "out.png", "--model", "aerial"]
    assert main(command) == 0


# === evaluate ===


@pytest.fixture
def data(tmp_path, monkeypatch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Five pairs in `set/images` and `set/masks`."""
    monkeypatch.chdir(tmp_path)
    pairs = []
    rng = np.random.default_rng(11)
    for name in ("images", "masks"):
        Path("set", name).mkdir(parents=True)
    for index, name in enumerate("abcde"):
        image = picture(24 + index, 31)
        mask = rng.integers(0, 3, image.shape[:2], dtype="uint8")
        mask[:, :3] = 255
        Image.fromarray(image).save(f"set/images/{name}.png")
        Image.fromarray(mask).save(f"set/masks/{name}.png")
        pairs.append((image, mask))
    return pairs


EVALUATE = ["evaluate", "--data", "set"]


def test_evaluate_prints_the_table_and_how_it_was_measured(
    data, model_folder, capsys
) -> None:
    options = [
        "--model",
        model_folder,
        "-o",
        "all.json",
        "--confusion-plot",
        "c.png",
    ]
    assert main([*EVALUATE, *options]) == 0
    model = load_pretrained(model_folder)
    want = evaluate(model, data)
    assert want.pictures == 5
    out, err = capsys.readouterr()
    assert err == ""
    table, measured = out.split("\n\n")
    assert table == want.table()
    lines = [line.split(maxsplit=1) for line in measured.splitlines()]
    assert lines[:6] == [
        ["protocol", "plain"],
        ["scales", "1"],
        ["flip", "no"],
        ["window", "none"],
        ["base", "none"],
        ["ignore", "label    255"],
    ]
    assert f"weights sha256  {want.weights_sha256}\n" in measured
    assert f"keras {keras.__version__}" in measured
    assert measured.endswith("\nWritten to all.json, c.png\n")

    scores = Scores.load("all.json")
    np.testing.assert_array_equal(scores.confusion, want.confusion)
    assert scores.labels == LABELS
    assert scores.weights_sha256 == want.weights_sha256
    assert scores.protocol == {
        **want.protocol,
        "ignore_label": 255,
        "precision": "float32",
    }
    with Image.open("c.png") as found:
        np.testing.assert_array_equal(found, want.confusion_plot())


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("--protocol mmseg --base 64 48", {"base": (64, 48)}),
        ("--protocol semseg --base 40 --window 48", {"base": 40, "window": 48}),
        (
            "--protocol caffe --base 40 --window 48 --no-flip",
            {"base": 40, "window": 48, "flip": False},
        ),
        ("--scales 0.5 1 --flip", {"scales": (0.5, 1), "flip": True}),
        ("--window 16", {"window": 16}),
        ("--ignore-label 1", {"ignore_label": 1}),
    ],
)
def test_evaluate_measures_as_it_is_told(
    data, monkeypatch, options: str, arguments: dict[str, Any]
) -> None:
    model = load_conv_model(monkeypatch)
    words = options.split()
    if "--protocol" in words:
        arguments = {**arguments, "protocol": words[1]}
    if "--ignore-label" in words:
        # What is not ignored must be a class.
        for index, name in enumerate("abcde"):
            mask = data[index][1]
            mask[mask == 255] = 1
            Image.fromarray(mask).save(f"set/masks/{name}.png")
    assert main([*EVALUATE, "-o", "all.json", *words]) == 0
    want = evaluate(model, data, **arguments)
    scores = Scores.load("all.json")
    np.testing.assert_array_equal(scores.confusion, want.confusion)
    assert scores.pixels == want.pixels > 0
    label = arguments.get("ignore_label", 255)
    assert scores.protocol == {
        **want.protocol,
        "ignore_label": label,
        "precision": "float32",
    }


def test_evaluate_takes_two_folders_and_the_model_s_ignore_label(
    data, monkeypatch
) -> None:
    labels = LabelSet("three", LABELS.names, LABELS.colors, ignore_label=77)
    model = tiny_pspnet(labels=labels)
    monkeypatch.setattr(
        keras_pspnet.pretrained, "load_pretrained", lambda *_, **__: model
    )
    os.replace("set/images", "photos")
    for index, name in enumerate("abcde"):
        mask = data[index][1]
        mask[mask == 255] = 77
        Image.fromarray(mask).save(f"set/masks/{name}.png")
    folders = ["--images", "photos", "--masks", "set/masks"]
    assert main(["evaluate", *folders, "-o", "all.json"]) == 0
    scores = Scores.load("all.json")
    want = evaluate(model, data, ignore_label=77)
    np.testing.assert_array_equal(scores.confusion, want.confusion)
    assert scores.protocol["ignore_label"] == 77


def test_merged_shards_equal_the_whole(data, monkeypatch, capsys) -> None:
    load_conv_model(monkeypatch)
    command = [*EVALUATE, "--scales", "1", "0.5", "--flip"]
    assert main([*command, "-o", "whole.json"]) == 0
    whole, _ = capsys.readouterr()
    for index in range(3):
        shard = ["--shard", f"{index}/3", "-o", f"{index}.json"]
        assert main([*command, *shard]) == 0
        assert f"shard           {index}/3\n" in capsys.readouterr().out
    assert [Scores.load(f"{i}.json").pictures for i in range(3)] == [2, 2, 1]
    merge = ["evaluate", "--merge", "1.json", "2.json", "0.json"]
    assert main([*merge, "-o", "sum.json", "--confusion-plot", "sum.png"]) == 0
    merged, _ = capsys.readouterr()
    assert Path("sum.json").read_bytes() == Path("whole.json").read_bytes()
    assert merged.replace("sum.json, sum.png", "whole.json") == whole
    with Image.open("sum.png") as found:
        want = Scores.load("whole.json").confusion_plot()
        np.testing.assert_array_equal(found, want)


def test_a_single_shard_merges_too(data, monkeypatch, capsys) -> None:
    load_conv_model(monkeypatch)
    assert main([*EVALUATE, "--shard", "0/1", "-o", "0.json"]) == 0
    assert main([*EVALUATE, "-o", "whole.json"]) == 0
    assert main(["evaluate", "--merge", "0.json", "-o", "sum.json"]) == 0
    assert Path("sum.json").read_bytes() == Path("whole.json").read_bytes()


def test_a_shard_reads_its_own_pictures_only(data, monkeypatch) -> None:
    model = load_conv_model(monkeypatch)
    for name in "acd":
        Path(f"set/images/{name}.png").write_text("no picture")
        Path(f"set/masks/{name}.png").write_text("no mask")
    assert main([*EVALUATE, "--shard", "1/3", "-o", "1.json"]) == 0
    want = evaluate(model, [data[1], data[4]])
    scores = Scores.load("1.json")
    np.testing.assert_array_equal(scores.confusion, want.confusion)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("images/e.png", "`image` must be a PNG file that can be decoded"),
        ("masks/e.png", "`mask` must be a PNG file that can be decoded"),
        ("size", "`mask` must have the size of its picture"),
        ("label", "`mask` must hold labels within 0..3, or 255 to ignore"),
    ],
)
def test_evaluate_stops_at_a_bad_pair_before_it_predicts(
    data, monkeypatch, capsys, broken: str, told: str
) -> None:
    load_conv_model(monkeypatch)

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("pictures were predicted")

    monkeypatch.setattr(cli_evaluate, "evaluate", run)
    name = f"set/{broken}"
    if broken in ("size", "label"):
        name = "set/masks/e.png"
        mask = data[4][1]
        mask = mask[:-1] if broken == "size" else mask + np.uint8(2)
        Image.fromarray(mask).save(name)
    else:
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) // 2])
    line = refusal(
        capsys, *EVALUATE, "-o", "all.json", "--confusion-plot", "c.png"
    )
    assert told in line
    assert f"'{name}'" in line
    assert os.listdir() == ["set"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "`data` must be given, or `images` and `masks`. Received: nei"),
        ("--images set/images", "Received: images"),
        ("--data set --masks set/masks", "Received: data, masks"),
        ("--data none", "`images_dir` must be a folder that exists"),
        ("--data set -o no/all.json", "in a folder that exists"),
        ("--data set --confusion-plot no/c.png", "in a folder that exists"),
        (
            "--data set --confusion-plot c.pdf",
            "`path` must end in .png or .jpg",
        ),
        ("--data set --scales 0", "`scales` must be a sequence of numbers"),
        ("--data set --window 8", "`window` must be an integer of at least"),
        ("--data set --base 64", "`base` must be None for protocol='plain'"),
        ("--data set --protocol mmseg --base 64", "must be (longest, short"),
        ("--data set --ignore-label 256", "must be an integer within 0..255"),
        ("--data set --shard 0/6", "Received: shard=0/6 of 5 pictures"),
    ],
)
def test_evaluate_refuses_bad_input_before_loading_a_model(
    data, no_model, capsys, arguments: str, told: str
) -> None:
    assert told in refusal(capsys, "evaluate", *arguments.split())
    assert os.listdir() == ["set"]


@pytest.mark.parametrize("shard", ["2/2", "-1/2", "0/0", "1", "a/2", "0/2/3"])
def test_evaluate_explains_what_shard_takes(data, capsys, shard: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*EVALUATE, f"--shard={shard}"])
    assert stopped.value.code == 2
    assert f"--shard: must be I/N with I from 0 to N-1: '{shard}'" in (
        capsys.readouterr().err
    )


def test_evaluate_passes_interruption_on(data, monkeypatch, capsys) -> None:
    load_conv_model(monkeypatch)

    def run(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_evaluate, "evaluate", run)
    assert main([*EVALUATE, "-o", "all.json"]) == 130
    assert capsys.readouterr() == ("", "")
    assert os.listdir() == ["set"]


def test_evaluate_shows_a_bar_on_a_terminal_only(
    data, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    assert main(EVALUATE) == 0
    assert "5/5" not in capsys.readouterr().out
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(EVALUATE) == 0
    out, _ = capsys.readouterr()
    assert out.count("5/5") >= 2
    assert out.index("check") < out.index("evaluate") < out.index("mean IoU")


def write_report(path: str, shard: Any, pictures: int = 2, **other: Any):
    protocol = {"name": "plain", "shard": shard, **other.pop("protocol", {})}
    Scores(
        np.full((3, 3), 2),
        **{"labels": LABELS, "weights_sha256": 64 * "a", **other},
        protocol=protocol,
        pictures=pictures,
    ).save(path)


OTHER_NAMES = LabelSet("three", ("park", "lake", "sea"), LABELS.colors)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"protocol": {"name": "mmseg"}}, "must have the same `protocol`"),
        ({"protocol": {"ignore_label": 0}}, "must have the same `protocol`"),
        ({"weights_sha256": 64 * "b"}, "must have the same `weights_sha256`"),
        ({"labels": OTHER_NAMES}, "must have the same `labels`"),
        ({"versions": {"keras": "3"}}, "must have the same `versions`"),
        ({"shard": [0, 2]}, "shard 0/2 in 'a.json' and 'b.json'"),
        ({"shard": [1, 3]}, "'a.json' of 2 and 'b.json' of 3"),
        ({"shard": None}, "'b.json' with shard=None"),
        ({"shard": [2, 2]}, "'b.json' with shard=[2, 2]"),
        ({"shard": "1/2"}, "'b.json' with shard='1/2'"),
        ({"pictures": 3}, "5 pictures, shard 0/2 has 3. Received: 'a.json'"),
    ],
)
def test_merge_refuses_what_is_not_one_evaluation(
    data, capsys, other: dict[str, Any], told: str
) -> None:
    write_report("a.json", [0, 2])
    write_report("b.json", **{"shard": [1, 2], **other})
    merge = ("evaluate", "--merge", "a.json", "b.json", "-o", "all.json")
    line = refusal(capsys, *merge)
    assert "error: `merge` must be " in line
    assert told in line
    assert "b.json" in line or "pictures" in other
    assert not Path("all.json").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("a.json", "must be all shards of a set. Received: reports without 1/"),
        ("a.json no.json", "`path` must be readable"),
        ("a.json notes.json", "`path` must be a file that Scores.save wrote"),
        ("a.json b.json -o b.json", "must not replace a report that is merg"),
        ("a.json b.json --data set", "`data` must be left out where reports"),
        ("a.json b.json --flip", "Received: flip=True"),
        ("a.json b.json -o no/x.json", "in a folder that exists"),
    ],
)
def test_merge_refuses_bad_input(
    data, no_model, capsys, arguments: str, told: str
) -> None:
    write_report("a.json", [0, 2])
    write_report("b.json", [1, 2])
    Path("notes.json").write_text("[]")
    before = {path: path.read_bytes() for path in Path().glob("*.json")}
    line = refusal(capsys, "evaluate", "--merge", *arguments.split())
    assert told in line
    after = {path: path.read_bytes() for path in Path().glob("*.json")}
    assert after == before


# === export ===

BFLOAT16 = {"precision": "bfloat16"}
QUOTED_A = "'a', "


def spy_on_export(monkeypatch, function: str) -> Mock:
    """Puts in an export's place what takes the same arguments.

    The model is a tuple of what it would be loaded by.
    """
    monkeypatch.setattr(
        keras_pspnet.pretrained,
        "load_pretrained",
        lambda source, backbone: (source, backbone),
    )
    spy = create_autospec(
        getattr(keras_pspnet.export, function), return_value="a table"
    )
    monkeypatch.setattr(keras_pspnet.export, function, spy)
    return spy


@pytest.mark.parametrize(
    ("arguments", "function", "passed"),
    [
        ("", "export_saved_model", {}),
        ("--precision bfloat16", "export_saved_model", BFLOAT16),
        ("--max-side 512", "export_saved_model", {"max_side": 512}),
        ("--max-side none", "export_saved_model", {"max_side": None}),
        ("--scales 0.75 1", "export_saved_model", {"scales": [0.75, 1.0]}),
        ("--flip", "export_saved_model", {"flip": True}),
        ("--window 473", "export_saved_model", {"window": 473}),
        ("--max-pixels 9000", "export_saved_model", {"max_pixels": 9000}),
        ("--batch-sizes 1 4", "export_saved_model", {"batch_sizes": [1, 4]}),
        ("--format onnx", "export_onnx", {}),
        ("--format onnx --precision float32", "export_onnx", {}),
        ("--format litert", "export_litert", {}),
        ("--format litert --size 24 32", "export_litert", {"size": [24, 32]}),
    ],
)
def test_export_passes_on_what_is_given(
    photo, monkeypatch, capsys, arguments: str, function: str, passed: Any
) -> None:
    export = spy_on_export(monkeypatch, function)
    command = ["export", "-o", "made", "--model", "mine", "--backbone", "b"]
    assert main([*command, *arguments.split()]) == 0
    export.assert_called_once_with(("mine", "b"), "made", **passed)
    assert capsys.readouterr().out == "a table\nWritten to made\n"


@pytest.mark.parametrize("pictures", ["seen", "seen/[ab].*"])
def test_export_calibrates_on_pictures_and_folders(
    photo, monkeypatch, pictures: str
) -> None:
    export = spy_on_export(monkeypatch, "export_litert")
    images = [picture(8 + index, 12) for index in range(3)]
    Path("seen/deeper").mkdir(parents=True)
    for name, image in zip(("b.png", "a.PNG", ".c.png"), images, strict=True):
        Image.fromarray(image).save(Path("seen", name))
    Path("seen/notes.txt").write_text("some notes")
    command = ["export", "-o", "made", "--format", "litert"]
    command += ["--precision", "int8", "--calibration"]
    assert main([*command, pictures, photo]) == 0
    passed = export.call_args.kwargs
    assert sorted(passed) == ["calibration", "precision"]
    assert passed["precision"] == "int8"
    wanted = [images[1], images[0], picture(33, 47)]
    for got, want in zip(passed["calibration"], wanted, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("arguments", "options", "batch_sizes"),
    [
        ("", ServingOptions(), (1,)),
        (
            "--max-side none --scales 1 0.5 --flip --window 32 "
            "--max-pixels 7000 --batch-sizes 1 2",
            ServingOptions(None, (1.0, 0.5), True, 32, 7000),
            (1, 2),
        ),
    ],
)
def test_export_options_reach_the_served_model(
    photo, monkeypatch, arguments: str, options: Any, batch_sizes: Any
) -> None:
    model = load_conv_model(monkeypatch)
    write = create_autospec(saved_model.write_saved_model)
    monkeypatch.setattr(saved_model, "write_saved_model", write)
    assert main(["export", "-o", "made", *arguments.split()]) == 0
    write.assert_called_once_with(
        model, "made", "float32", options, batch_sizes
    )


def test_export_refuses_what_is_in_the_way(photo, no_model, capsys) -> None:
    Path("served/1").mkdir(parents=True)
    command = ("export", "-o", "served/1")
    line = refusal(capsys, *command)
    assert "`folder` must not exist yet. Received: folder='served/1'" in line
    line = refusal(capsys, *command, "--format", "onnx")
    assert "`path` must be a file, not a folder" in line
    assert not list(Path("served/1").iterdir())


@pytest.mark.parametrize(
    ("formats", "options", "value"),
    [
        ("onnx litert", "--max-side 512", "512"),
        ("onnx litert", "--max-side none", "None"),
        ("onnx litert", "--scales 1 2", "[1.0, 2.0]"),
        ("onnx litert", "--flip", "True"),
        ("onnx litert", "--window 473", "473"),
        ("onnx litert", "--max-pixels 9000", "9000"),
        ("onnx litert", "--batch-sizes 1 2", "[1, 2]"),
        ("onnx savedmodel", "--size 24 32", "[24, 32]"),
        ("onnx savedmodel", "--calibration photo.png", "['photo.png']"),
        # As the shell lists *.png: not every name is told.
        ("onnx", "--calibration" + 9 * " a", f"[{6 * QUOTED_A}...]"),
    ],
)
def test_export_refuses_options_of_other_formats(
    photo, no_model, capsys, formats: str, options: str, value: str
) -> None:
    name = options.split()[0].removeprefix("--").replace("-", "_")
    for each in formats.split():
        command = ("export", "-o", "made", "--format", each)
        line = refusal(capsys, *command, *options.split())
        assert line.endswith(
            f"error: `{name}` must be left out for format '{each}'. "
            f"Received: {name}={value}"
        )
    assert os.listdir() == ["photo.png"]


@pytest.mark.parametrize(
    ("format_", "precision", "rule"),
    [
        ("savedmodel", "int8", "'float32' or 'bfloat16'"),
        (
            "litert",
            "bfloat16",
            "'float32' or 'float16' or 'dynamic' or 'int8'",
        ),
        ("onnx", "bfloat16", "'float32'"),
    ],
)
def test_export_refuses_precisions_of_other_formats(
    photo, no_model, capsys, format_: str, precision: str, rule: str
) -> None:
    command = ("export", "-o", "made", "--format", format_)
    line = refusal(capsys, *command, "--precision", precision)
    assert line.endswith(
        f"error: `precision` must be {rule} for format '{format_}'. "
        f"Received: precision='{precision}'"
    )


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no.png", "`paths` must be files, folders or patterns of files that"),
        ("*.jpg", "`paths` must be patterns that match pictures"),
        ("notes.txt", "must be a picture file"),
        ("folder", "`paths` must be pictures, or folders that hold some"),
        ("damaged", "must be a picture file"),
    ],
)
def test_export_refuses_calibration_on_no_pictures(
    photo, no_model, capsys, path: str, told: str
) -> None:
    Path("notes.txt").write_text("some notes")
    Path("folder/deeper").mkdir(parents=True)
    Path("folder/notes.txt").write_text("some notes")
    Path("damaged").mkdir()
    Path("damaged/a.png").write_text("no picture")
    command = ("export", "-o", "made", "--format", "litert")
    command += ("--precision", "int8", "--calibration", photo, path)
    line = refusal(capsys, *command)
    assert told in line
    assert f"='{path}" in line.split("Received")[1]
    assert not Path("made").exists()


def test_export_passes_refusals_of_values_on(
    photo, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    line = refusal(capsys, "export", "-o", "made", "--max-side", "0")
    assert "`max_side` must be an integer of at least 1 or None" in line
    assert os.listdir() == ["photo.png"]


def test_export_explains_what_max_side_takes(photo, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", "-o", "made", "--max-side", "all"])
    assert stopped.value.code == 2
    assert "--max-side: must be an integer or none: 'all'" in (
        capsys.readouterr().err
    )


# === train ===


def test_train_passes_everything_on(photo, monkeypatch, capsys) -> None:
    calls = []

    def train(recipe: Any, *places: Any, **_: Any) -> Scores:
        calls.append((recipe, *places))
        return Scores(np.eye(3, dtype="int64"), LABELS)

    monkeypatch.setattr(training, "train", train)
    recipe = training.load_recipe("aerial")
    assert main(["train", "aerial", "--data", "dubai"]) == 0
    assert main(["train", "aerial", "--smoke", "-o", "here"]) == 0
    assert calls == [
        (recipe, os.path.join("runs", "aerial"), "dubai"),
        (recipe.shrunk(), "here", None),
    ]
    out, err = capsys.readouterr()
    assert Scores(np.eye(3, dtype="int64"), LABELS).table() in out
    assert "Written to here: model/, scores.json, predictions.png" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mars"], "`recipe` must be one of scenes, aerial, "),
        (["mars.py"], "`recipe` must be an existing file"),
        (
            ["aerial"],
            "`data` must be a folder (--data-dir) for recipe 'aerial'",
        ),
        (["aerial", "--data", "none"], "`name_or_dir` must be an existing"),
        (["aerial", "--data", "empty"], "there is no pair of pictures in"),
        (["scenes", "-o", "photo.png"], "photo.png"),
    ],
)
def test_train_refuses(photo, capsys, arguments: list[str], told: str) -> None:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            Path("empty", split, kind).mkdir(parents=True)
    assert told in refusal(capsys, "train", *arguments)


def test_train_passes_interruption_on(photo, monkeypatch, capsys) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train)
    assert main(["train", "scenes"]) == 130
    assert capsys.readouterr().out == ""


# === The programme as a whole ===


@pytest.mark.parametrize(
    "command", ["", "segment", "evaluate", "train", "export"]
)
def test_help(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: keras-pspnet")
    assert err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["segment"],
        ["segment", "photo.png"],
        ["segment", "photo.png", "-o", "x.png", "--mask", "--confidence"],
        ["evaluate", "--protocol", "mine"],
    ],
)
def test_usage_errors_have_status_2(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: keras-pspnet" in capsys.readouterr().err


def test_a_process_says_one_line_and_nothing_of_tensorflow(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("some notes")
    quiet = {"TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES"}
    command = ["keras_pspnet_command", "segment", "notes.txt", "-o", "x.png"]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        # As a user starts it, without the settings of the tests.
        env={k: v for k, v in os.environ.items() if k not in quiet},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "error: `image` must be a picture file" in done.stderr
    assert os.listdir(tmp_path) == ["notes.txt"]


# === convert and info ===


@pytest.fixture
def checkpoint(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    state = {
        name: tensor(value)
        for name, value in mmseg_state(random_pspnet()).items()
    }
    content, storages = pickled({"state_dict": state})
    write_zip(tmp_path / "pspnet.pth", content, raw(storages))
    return "pspnet.pth"


def test_convert_writes_what_load_pretrained_reads(checkpoint, capsys) -> None:
    assert main(["convert", checkpoint, "-o", "made"]) == 0
    out, _ = capsys.readouterr()
    assert out == (
        "made: PSPNet, resnet18, 21 classes of voc, stem deep, stride on 3x3, "
        "dilation contracted, half-pixel resizing, output stride 8, with "
        "auxiliary head\n"
    )
    model = load_pretrained("made", aux=True)
    want = random_pspnet()
    for got, expected in zip(model.weights, want.weights, strict=True):
        if "seed_generator" not in got.path:
            np.testing.assert_array_equal(numpy(got), numpy(expected))


def test_convert_takes_another_geometry(checkpoint, capsys) -> None:
    options = ["--align-corners", "--no-contract-dilation"]
    options += ["--output-stride", "16", "--mean", "1", "2", "3"]
    assert main(["convert", checkpoint, "-o", "made", *options]) == 0
    assert "not contracted, corner-aligned" in capsys.readouterr()[0]
    config = load_pretrained("made").get_config()
    assert config["align_corners"] is True
    assert config["contract_dilation"] is False
    assert config["stride_on"] == "3x3"
    assert config["output_stride"] == 16
    assert config["mean"] == (1.0, 2.0, 3.0)


def test_convert_refuses_before_and_leaves_nothing(checkpoint, capsys) -> None:
    Path("page.pth").write_text("<html></html>")
    Path("there").mkdir()
    before = sorted(os.listdir())
    for arguments, told in (
        (["no.pth", "-o", "made"], "must be an existing file"),
        (["page.pth", "-o", "made"], "must be a PyTorch checkpoint, a"),
        ([checkpoint, "-o", "there"], "`folder` must not exist yet"),
        ([checkpoint, "-o", "made", "--stride-on", "1x1"], "must be '3x3'"),
    ):
        assert told in refusal(capsys, "convert", *arguments)
        assert sorted(os.listdir()) == before


def test_info_lists_every_model_with_score_and_source(capsys) -> None:
    assert main(["info"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for row in PRESETS:
        line = next(
            each
            for each in out.splitlines()
            if each.split()[:2] == [row.name, row.backbone]
        )
        assert line.split()[2:4] == [str(row.megabytes), f"{row.mean_iou:.4f}"]
        assert line.endswith(row.data)
        assert row.protocol in out
        assert row.license in out
        assert row.url in out
    assert max(map(len, out.splitlines()[: len(PRESETS) + 1])) <= 90
