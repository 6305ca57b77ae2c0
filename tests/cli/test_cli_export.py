"""Tests of `keras-pspnet export`."""

import inspect
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import numpy as np
import pytest
from command_line import (
    load_conv_model,
    refusal,
    usage_error,
)
from PIL import Image
from support import (
    picture,
)

import keras_pspnet as kp
import keras_pspnet.export
import keras_pspnet.pretrained
from keras_pspnet.cli.main import main
from keras_pspnet.export import saved_model
from keras_pspnet.export.serving_graph import ServingOptions

BFLOAT16 = {"precision": "bfloat16"}
DYNAMIC = {"precision": "dynamic"}


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
        ("savedmodel", "export_saved_model", {}),
        ("savedmodel --precision bfloat16", "export_saved_model", BFLOAT16),
        ("savedmodel --max-side 512", "export_saved_model", {"max_side": 512}),
        (
            "savedmodel --max-side none",
            "export_saved_model",
            {"max_side": None},
        ),
        (
            "savedmodel --scales 0.75 1",
            "export_saved_model",
            {"scales": [0.75, 1.0]},
        ),
        ("savedmodel --flip", "export_saved_model", {"flip": True}),
        ("savedmodel --window 473", "export_saved_model", {"window": 473}),
        (
            "savedmodel --max-pixels 9000",
            "export_saved_model",
            {"max_pixels": 9000},
        ),
        (
            "savedmodel --batch-sizes 1 4",
            "export_saved_model",
            {"batch_sizes": [1, 4]},
        ),
        ("onnx", "export_onnx", {}),
        ("litert", "export_litert", {}),
        ("litert --size 24 32", "export_litert", {"size": [24, 32]}),
        ("litert --precision dynamic", "export_litert", DYNAMIC),
    ],
)
def test_export_passes_on_what_is_given(
    photo, monkeypatch, capsys, arguments: str, function: str, passed: Any
) -> None:
    signature = inspect.signature(getattr(kp, function))
    export = spy_on_export(monkeypatch, function)
    form, *options = arguments.split()
    command = ["export", form, "-o", "made", "--model", "mine"]
    assert main([*command, "--backbone", "b", *options]) == 0
    want = signature.bind(("mine", "b"), "made", **passed)
    want.apply_defaults()
    ((model, output), given) = export.call_args
    assert (model, output) == tuple(want.args[:2])
    assert plain({**want.arguments, **given}) == plain(want.arguments)
    assert capsys.readouterr().out == "a table\nWritten to made\n"


def plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Sequences as lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in arguments.items()
        if name not in ("model", "folder", "path")
    }


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
    command = ["export", "litert", "-o", "made"]
    command += ["--precision", "int8", "--calibration"]
    assert main([*command, pictures, photo]) == 0
    passed = export.call_args.kwargs
    assert passed["size"] is None
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
    assert main(["export", "savedmodel", "-o", "made", *arguments.split()]) == 0
    write.assert_called_once_with(
        model, "made", "float32", options, batch_sizes
    )


def test_export_refuses_what_is_in_the_way(photo, no_model, capsys) -> None:
    Path("served/1").mkdir(parents=True)
    line = refusal(capsys, "export", "savedmodel", "-o", "served/1")
    assert "`folder` must not exist yet. Received: folder='served/1'" in line
    for form in ("onnx", "litert"):
        line = refusal(capsys, "export", form, "-o", "served/1")
        assert "`path` must be a file, not a folder" in line
    assert not list(Path("served/1").iterdir())


@pytest.mark.parametrize(
    ("formats", "options"),
    [
        ("onnx litert", "--max-side 512"),
        ("onnx litert", "--scales 1 2"),
        ("onnx litert", "--flip"),
        ("onnx litert", "--window 473"),
        ("onnx litert", "--max-pixels 9000"),
        ("onnx litert", "--batch-sizes 1 2"),
        ("onnx savedmodel", "--size 24 32"),
        ("onnx savedmodel", "--calibration photo.png"),
        ("onnx", "--precision float32"),
    ],
)
def test_export_refuses_options_of_other_formats(
    photo, capsys, formats: str, options: str
) -> None:
    for each in formats.split():
        command = ("export", each, "-o", "made", *options.split())
        line = usage_error(capsys, *command)
        assert f"unrecognized arguments: {options}; see" in line
    assert os.listdir() == ["photo.png"]


@pytest.mark.parametrize(
    ("form", "precision"), [("savedmodel", "int8"), ("litert", "bfloat16")]
)
def test_export_refuses_precisions_of_other_formats(
    photo, capsys, form: str, precision: str
) -> None:
    command = ("export", form, "-o", "made", "--precision", precision)
    line = usage_error(capsys, *command)
    assert f"argument --precision: invalid choice: '{precision}'" in line
    assert line.endswith(f"; see keras-pspnet export {form} --help")


def test_not_every_name_that_the_shell_listed_is_told(photo, capsys) -> None:
    command = ("export", "onnx", "-o", "made", "--calibration", *"abcdef")
    line = usage_error(capsys, *command)
    assert "unrecognized arguments: --calibration a b c d ...; see" in line


def test_export_asks_for_a_format(photo, capsys) -> None:
    line = usage_error(capsys, "export", "-o", "made")
    assert "FORMAT" in line
    assert line.endswith("; see keras-pspnet export --help")
    line = usage_error(capsys, "export", "--format", "onnx", "-o", "x.onnx")
    assert "--format is now export savedmodel, export litert or" in line


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
    command = ("export", "litert", "-o", "made")
    command += ("--precision", "int8", "--calibration", photo, path)
    line = refusal(capsys, *command)
    assert told in line
    assert f"='{path}" in line.split("Received")[1]
    assert not Path("made").exists()


def test_export_passes_refusals_of_values_on(
    photo, monkeypatch, capsys
) -> None:
    load_conv_model(monkeypatch)
    line = refusal(
        capsys, "export", "savedmodel", "-o", "made", "--max-side", "0"
    )
    assert "`max_side` must be an integer of at least 1 or None" in line
    assert os.listdir() == ["photo.png"]


def test_export_explains_what_max_side_takes(photo, capsys) -> None:
    command = ("export", "savedmodel", "-o", "made", "--max-side", "all")
    line = usage_error(capsys, *command)
    assert "--max-side: must be an integer or none: 'all'" in line
    assert line.endswith("; see keras-pspnet export savedmodel --help")
