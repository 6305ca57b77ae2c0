"""Tests of the command line: files come out, bad input is told in one line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import keras_pspnet.training.train as training
import numpy as np
import pytest
from PIL import Image
from source_states import mmseg_state, random_pspnet
from support import conv_model, numpy, picture, tiny_pspnet
from torch_files import pickled, raw, tensor, write_zip

import keras_pspnet.export
import keras_pspnet.pretrained
from keras_pspnet.cli import main
from keras_pspnet.data.decode import read_mask
from keras_pspnet.evaluation import Scores
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
    ("arguments", "told"),
    [
        (["no.jpg", "-o", "x.png"], "`image` must be a file that exists"),
        (["notes.txt", "-o", "x.png"], "`image` must be a picture file"),
        ([".", "-o", "x.png"], "`image` must be a file that can be read"),
        (["photo.png", "-o", "no/x.png"], "in a folder that exists"),
        (["photo.png", "-o", "notes.txt/x.png"], "not under a file"),
        (["photo.png", "-o", "folder.png"], "must be a file, not a folder"),
        (["photo.png", "-o", "x.webp"], "`path` must end in .png or .jpg"),
        (["photo.png", "-o", "x.jpg", "--mask"], "end in .png for a mask"),
    ],
)
def test_segment_refuses_bad_files_before_loading_a_model(
    photo, no_model, capsys, arguments: list[str], told: str
) -> None:
    Path("notes.txt").write_text("some notes")
    Path("folder.png").mkdir()
    before = sorted(os.listdir())
    line = refusal(capsys, "segment", *arguments)
    assert told in line
    named = next(
        each for each in arguments if each in line.split("Received")[1]
    )
    assert named
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model", "mars"], "'cityscapes_769' or a folder"),
        (["--model", "empty"], "must hold the files config.json and"),
    ],
)
def test_segment_refuses_unknown_models(photo, capsys, options, told) -> None:
    Path("empty").mkdir()
    line = refusal(capsys, "segment", photo, "-o", "x.png", *options)
    assert told in line
    assert options[1] in line.split("Received")[1]
    assert not Path("x.png").exists()


def test_segment_refuses_scales_out_of_range(
    photo, model_folder, capsys
) -> None:
    options = ["-o", "x.png", "--model", model_folder, "--scales", "0"]
    line = refusal(capsys, "segment", photo, *options)
    assert "`scales` must be a sequence of numbers from 0.1 to 10" in line


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


def load_conv_model(monkeypatch) -> Any:
    """Puts one small model in the place of all; returns it."""
    model = conv_model()
    monkeypatch.setattr(
        keras_pspnet.pretrained, "load_pretrained", lambda *_, **__: model
    )
    return model


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

    def train(recipe: Any, *places: Any) -> Scores:
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
    assert "mean IoU    1.000" in out
    assert "Written to here: model/, scores.json, predictions.png" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mars"], "`recipe` must be one of scenes, aerial or a .py file"),
        (["mars.py"], "`recipe` must be an existing file"),
        (["aerial"], "`data` must be a folder for recipe 'aerial'"),
        (["aerial", "--data", "none"], "`images_dir` must be a folder that"),
        (["aerial", "--data", "empty"], "must hold pictures and masks with"),
        (["scenes", "-o", "photo.png"], "photo.png"),
    ],
)
def test_train_refuses(photo, capsys, arguments: list[str], told: str) -> None:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            Path("empty", split, kind).mkdir(parents=True)
    assert told in refusal(capsys, "train", *arguments)


def test_train_passes_interruption_on(photo, monkeypatch, capsys) -> None:
    def train(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train)
    assert main(["train", "scenes"]) == 130
    assert capsys.readouterr().out == ""


# === The programme as a whole ===


@pytest.mark.parametrize("command", ["", "segment", "train", "export"])
def test_help(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: keras-pspnet")
    assert err == ""


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["segment"], ["segment", "photo.png"]]
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
