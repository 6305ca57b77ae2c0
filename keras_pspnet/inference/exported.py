"""Loads exported files as predictors, to run and score them like a model."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_pspnet.inference.predictor import Predictor
from keras_pspnet.inference.segment import as_uint8
from keras_pspnet.labels import LabelSet, generic_labels
from keras_pspnet.utils.arguments import finite_numbers

# Where exports keep `model_info.description`: a file of a SavedModel, a file in
# the archive of a LiteRT file, an entry in the metadata of an ONNX file.
SIDE_FILE = "assets.extra/pspnet.json"
# Hashes of a SavedModel's files, for `sha256sum --check`.
SUMS_FILE = "assets.extra/SHA256SUMS"
SIDE_ENTRY = "pspnet.json"
# Thousands of classes need less.
_MAX_DESCRIPTION = 2**24  # bytes


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Tells whether a path is an exported model.

    Args:
        path: Folder of a SavedModel, or .tflite or .onnx file.
    """
    path = Path(path)
    return path.suffix in _LOADERS or (path / "saved_model.pb").is_file()


def load_exported(path: str | os.PathLike[str]) -> Predictor:
    """Loads an exported model.

    Args:
        path: Path that `export_saved_model`, `export_litert` or `export_onnx`
            wrote.

    Returns:
        A predictor for `segment` and `evaluate`. If the file computes masks,
        not logits, it supports only single views of whole images.

    Raises:
        FileNotFoundError: If the path does not exist.
        ImportError: If the engine is not installed.
        ValueError: If the path is not an exported PSPNet.

    Examples:
        >>> from keras_pspnet.inference.exported import load_exported
        >>> parity = kp.export_litert(net, "net.tflite", size=(33, 33))
        >>> scores = kp.evaluate(load_exported("net.tflite"), pairs)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"`path` must exist. Received: path={str(path)!r}"
        )
    if not is_exported(path):
        raise ValueError(
            "`path` must be a SavedModel's folder, or a .tflite or .onnx "
            f"file. Received: path={str(path)!r}"
        )
    try:
        return _LOADERS.get(path.suffix, _load_saved_model)(path)
    except ImportError:
        raise
    except Exception as error:
        # The errors of these libraries share no base class.
        raise ValueError(
            "`path` must be a model that keras_pspnet has exported. "
            f"Received: path={str(path)!r} with another content ({error})"
        ) from error


def _load_saved_model(path: Path) -> Predictor:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    logits = loaded.signatures.get("logits")
    if logits is None:
        raise ValueError("no signature 'logits'")
    ends = logits.structured_input_signature[1], logits.structured_outputs
    inputs, outputs = (
        {name: tensor.shape.as_list() for name, tensor in tensors.items()}
        for tensors in ends
    )
    side_file = path / SIDE_FILE
    text = side_file.read_bytes() if side_file.is_file() else None

    def run(images: np.ndarray) -> np.ndarray:
        return logits(images=tf.constant(images))["logits"].numpy()

    # Keep the owner alive, and with it its tables and variables.
    run.owner = loaded  # type: ignore[attr-defined]
    return _predictor(run, inputs, outputs, text)


def _load_litert(path: Path) -> Predictor:
    check_installed("ai_edge_litert", "ai-edge-litert", "litert", "file")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner()
    ends = runner.get_input_details(), runner.get_output_details()
    inputs, outputs = (
        {name: detail["shape"].tolist() for name, detail in details.items()}
        for details in ends
    )
    takes_bytes = any(each["dtype"] == np.uint8 for each in ends[0].values())

    # A LiteRT file takes one image at a time.
    def run(images: np.ndarray) -> np.ndarray:
        if takes_bytes:
            images = as_uint8(images)
        found = [runner(images=image[None]) for image in images]
        return np.concatenate([each for (each,) in map(dict.values, found)])

    return _predictor(run, inputs, outputs, _read_side_entry(path))


def _read_side_entry(path: Path) -> bytes | None:
    """Reads an entry zipped behind a LiteRT file, which may be a zip bomb."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if SIDE_ENTRY not in archive.namelist():
            return None
        with archive.open(SIDE_ENTRY) as entry:
            text = entry.read(_MAX_DESCRIPTION + 1)
    if len(text) > _MAX_DESCRIPTION:
        raise ValueError(f"over {_MAX_DESCRIPTION} bytes in {SIDE_ENTRY}")
    return text


def _load_onnx(path: Path) -> Predictor:
    check_installed("onnxruntime", "onnxruntime", "onnx", "file")
    import onnxruntime

    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    inputs, outputs = (
        {tensor.name: tensor.shape for tensor in tensors}
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    text = session.get_modelmeta().custom_metadata_map.get(SIDE_ENTRY)

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(None, {"images": images})[0]

    return _predictor(run, inputs, outputs, text)


_LOADERS = {".tflite": _load_litert, ".onnx": _load_onnx}


def _predictor(
    run: Callable[[np.ndarray], np.ndarray],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    text: str | bytes | None,
) -> Predictor:
    """Checks names and shapes; without a description, makes up labels."""
    images, logits = inputs.get("images", ()), outputs.get("logits", ())
    gives_masks = set(outputs) == {"mask"}
    if gives_masks:
        logits = [*outputs["mask"], _classes_of(text)]
    if (
        (len(inputs), len(images), len(logits)) != (1, 4, 4)
        or not isinstance(images[-1], int)
        or not isinstance(logits[-1], int)
    ):
        raise ValueError(f"inputs {inputs} and outputs {outputs}")
    height, width, classes = *images[1:3], logits[-1]
    fixed = isinstance(height, int) and isinstance(width, int)
    size = (height, width) if fixed else None
    if text is None:
        fill = (0.0,) * images[-1]
        return Predictor(run, generic_labels(classes), size, fill)
    try:
        said = json.loads(text)
        labels = LabelSet.from_dict(said["labels"])
        fill = finite_numbers(said["fill"])
        if len(fill) != images[-1]:
            raise ValueError(f"fill for {images[-1]} bands: {said['fill']}")
        align_corners = bool(said["align_corners"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a broken description ({error})") from error
    if labels.num_classes != classes:
        raise ValueError(f"{labels.num_classes} labels for {classes} classes")
    if not gives_masks:
        return Predictor(run, labels, size, fill, align_corners)
    one_hot = np.eye(classes, dtype="float32")
    predictor = Predictor(
        lambda images: one_hot[run(images)], labels, size, fill, align_corners
    )
    predictor.gives_masks = True
    return predictor


def _classes_of(text: str | bytes | None) -> int | None:
    """Returns the number of classes in a description, None without one."""
    try:
        return len(json.loads(text or "")["labels"]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def check_installed(module: str, package: str, extra: str, what: str) -> None:
    """Checks that an optional package is installed, before the work starts.

    Args:
        module: Module to import.
        package: Package that has the module.
        extra: Extra of keras_pspnet that installs the package.
        what: What needs it, "export" or "file".

    Raises:
        ImportError: If it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"{package} must be installed for this {what}: "
            f"pip install keras-pspnet[{extra}]"
        )
