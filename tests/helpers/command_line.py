"""Helpers of the command line's tests."""

import os
from pathlib import Path
from typing import Any

from PIL import Image
from support import conv_model, picture

import keras_pspnet.inference.load
import keras_pspnet.pretrained
from keras_pspnet.cli.main import main
from keras_pspnet.labels import LabelSet

LABELS = LabelSet(
    "three", ("park", "lake", "path"), ((9, 0, 0), (0, 9, 0), (0, 0, 9))
)


def load_conv_model(monkeypatch) -> Any:
    """Replaces all models by a small one, and returns it."""
    model = conv_model()
    replace_loading(monkeypatch, lambda *_, **__: model)
    return model


def replace_loading(monkeypatch, load: Any) -> None:
    """Replaces `load_pretrained` by a function."""
    for module in (keras_pspnet.pretrained, keras_pspnet.inference.load):
        monkeypatch.setattr(module, "load_pretrained", load)


def refusal(capsys, *arguments: str) -> str:
    """Runs a command that must fail, and returns its line on stderr."""
    assert main(arguments) == 2
    return only_error(capsys)


def usage_error(capsys, *arguments: str) -> str:
    """Runs a command with bad usage, and returns its line on stderr."""
    try:
        main(arguments)
    except SystemExit as stopped:
        assert stopped.code == 2
        return only_error(capsys)
    raise AssertionError("it was parsed")


def only_error(capsys) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("keras-pspnet: error: ")
    return line


def write_images(*paths: str) -> None:
    """Writes images of different sizes, and creates folders."""
    for index, path in enumerate(paths):
        os.makedirs(Path(path).parent, exist_ok=True)
        Image.fromarray(picture(33 + index, 47)).save(path)


def printed(capsys) -> tuple[str, str]:
    """Returns stdout and stderr without the notice on the default model."""
    out, err = capsys.readouterr()
    lines = err.splitlines(keepends=True)
    return out, "".join(line for line in lines if ": note: " not in line)
