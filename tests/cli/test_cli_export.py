"""Tests of `keras-pspnet export`."""

import inspect
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import numpy as np
import pytest
from command_line import refusal, replace_loading, usage_error
from PIL import Image
from support import picture

import keras_pspnet as kp
import keras_pspnet.export
from keras_pspnet.cli.main import main
from keras_pspnet.data import read_image

BFLOAT16 = {"precision": "bfloat16"}
DYNAMIC = {"precision": "dynamic"}


def spy_on_export(monkeypatch, function: str) -> Mock:
    """Puts in an export's place what takes the same arguments.

    The model is a tuple of what it would be loaded by.
    """
    replace_loading(monkeypatch, lambda source, backbone: (source, backbone))
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
        (
            "savedmodel --max-side 512 --scales 0.75 1 --flip --window 473 "
            "--max-pixels 9000 --batch-sizes 1 4",
            "export_saved_model",
            {
                "max_side": 512,
                "scales": [0.75, 1.0],
                "flip": True,
                "window": 473,
                "max_pixels": 9000,
                "batch_sizes": [1, 4],
            },
        ),
        (
            "savedmodel --max-side none",
            "export_saved_model",
            {"max_side": None},
        ),
        ("savedmodel --freeze", "export_saved_model", {"freeze": True}),
        ("onnx", "export_onnx", {}),
        (
            "onnx --precision float16 --outputs mask",
            "export_onnx",
            {"precision": "float16", "output": "mask"},
        ),
        ("litert", "export_litert", {}),
        ("litert --size 24 32", "export_litert", {"size": [24, 32]}),
        ("litert --precision dynamic", "export_litert", DYNAMIC),
        (
            "litert --outputs mask --input-dtype uint8",
            "export_litert",
            {"output": "mask", "input_dtype": "uint8"},
        ),
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


@pytest.mark.parametrize("paths", ["seen", "seen/[ab].*"])
def test_export_calibrates_on_images_and_folders(
    photo, monkeypatch, paths: str
) -> None:
    export = spy_on_export(monkeypatch, "export_litert")
    images = [picture(8 + index, 12) for index in range(3)]
    Path("seen/deeper").mkdir(parents=True)
    for name, image in zip(("b.png", "a.PNG", ".c.png"), images, strict=True):
        Image.fromarray(image).save(Path("seen", name))
    Path("seen/notes.txt").write_text("some notes")
    command = ["export", "litert", "-o", "made"]
    command += ["--precision", "int8", "--calibration"]
    assert main([*command, paths, photo]) == 0
    passed = export.call_args.kwargs
    assert passed["size"] is None
    assert passed["precision"] == "int8"
    wanted = [images[1], images[0], picture(33, 47)]
    for got, want in zip(passed["calibration"], wanted, strict=True):
        np.testing.assert_array_equal(read_image(got), want)


def test_export_refuses_what_is_in_the_way(photo, no_model, capsys) -> None:
    Path("served/1").mkdir(parents=True)
    line = refusal(capsys, "export", "savedmodel", "-o", "served/1")
    assert "`folder` must not exist yet. Received: folder='served/1'" in line
    for form in ("onnx", "litert"):
        line = refusal(capsys, "export", form, "-o", "served/1")
        assert "`path` must be a file, not a folder" in line
    assert not list(Path("served/1").iterdir())


@pytest.mark.parametrize(
    ("form", "options", "told"),
    [
        ("onnx", "--max-side 512", "unrecognized arguments: --max-side 512;"),
        ("litert", "--flip", "unrecognized arguments: --flip;"),
        ("savedmodel", "--size 24 32", "unrecognized arguments: --size 24 32;"),
        ("onnx", "--precision dynamic", "invalid choice: 'dynamic'"),
        ("savedmodel", "--precision int8", "invalid choice: 'int8'"),
        ("litert", "--precision bfloat16", "invalid choice: 'bfloat16'"),
        ("savedmodel", "--max-side all", "must be an integer of at least 1"),
    ],
)
def test_export_refuses_what_is_of_other_formats(
    photo, capsys, form: str, options: str, told: str
) -> None:
    command = ("export", form, "-o", "made", *options.split())
    line = usage_error(capsys, *command)
    assert told in line
    assert os.listdir() == ["photo.png"]


def test_not_every_name_that_the_shell_listed_is_told(photo, capsys) -> None:
    command = ("export", "savedmodel", "-o", "made", "--calibration", *"abcdef")
    line = usage_error(capsys, *command)
    assert "unrecognized arguments: --calibration a b c d ...; see" in line


@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_int8_without_images_is_refused_before_a_model_is_loaded(
    photo, no_model, capsys, form: str
) -> None:
    command = ("export", form, "-o", "made")
    line = refusal(capsys, *command, "--precision", "int8")
    assert "`calibration` must hold images for precision='int8'" in line
    line = refusal(capsys, *command, "--calibration", photo)
    assert "`calibration` must hold images for precision='int8'" in line
    assert os.listdir() == ["photo.png"]
