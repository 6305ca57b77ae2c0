"""Loads models by name, folder or exported file, ready to run."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from keras_pspnet.inference.exported import is_exported, load_exported
from keras_pspnet.inference.predictor import Predictor, as_predictor
from keras_pspnet.presets import PRESET_NAMES
from keras_pspnet.pretrained import load_pretrained
from keras_pspnet.utils import file_sha256


def load_predictor(
    source: str | os.PathLike[str],
    backbone: str | None = None,
    precision: str | None = None,
) -> Predictor:
    """Loads any kind of model for `segment` and `evaluate`.

    Args:
        source: As in `load_pretrained` or `load_exported`.
        backbone: Backbone of a published model.
        precision: Precision of the convolutions, `"float32"` or
            `"bfloat16"`; None is float32, or the exported model's own.

    Raises:
        ImportError: If the engine of an exported model is not installed.
        OSError: If the model cannot be read.
        ValueError: If there is no such model, or an argument does not apply.
    """
    if source in PRESET_NAMES or not is_exported(source):
        model = load_pretrained(source, backbone=backbone)
        return as_predictor(model, precision or "float32")
    for name, value in (("backbone", backbone), ("precision", precision)):
        if value is not None:
            raise ValueError(
                f"`{name}` must be left out for an exported model, which has "
                f"its own. Received: {name}={value!r}, "
                f"model={os.fspath(source)!r}"
            )
    return load_exported(source)


def exported_sha256(path: str | os.PathLike[str]) -> str:
    """Hashes an exported model: a file, or all files of a SavedModel.

    Args:
        path: The model.
    """
    root = Path(path)
    if root.is_file():
        return file_sha256(root)
    files = sorted(each for each in root.rglob("*") if each.is_file())
    lines = [
        f"{exported_sha256(file)} {file.relative_to(root).as_posix()}\n"
        for file in files
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
