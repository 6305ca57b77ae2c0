"""Exported files as networks, to be scored as the model they were made of."""

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
from keras_pspnet.labels import LabelSet, generic_labels

# Where exports keep `network.description`: a file of a SavedModel, a file in
# a LiteRT file's archive, an entry of an ONNX file's metadata.
SIDE_FILE = "assets.extra/pspnet.json"
# Hashes of a SavedModel's files, as `sha256sum --check` reads them.
SUMS_FILE = "assets.extra/SHA256SUMS"
SIDE_ENTRY = "pspnet.json"
# A description of thousands of classes stays below this.
_MAX_DESCRIPTION = 2**24  # bytes
_SUFFIXES = (".tflite", ".onnx")


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Tells whether a path is that of an exported model.

    Args:
        path: A SavedModel's folder, or a .tflite or .onnx file.
    """
    path = Path(path)
    return path.suffix in _SUFFIXES or (path / "saved_model.pb").is_file()


def load_exported(
    path: str | os.PathLike[str], threads: int | None = None
) -> Predictor:
    """Loads an exported model.

    Args:
        path: What `export_saved_model`, `export_litert` or `export_onnx`
            has written.
        threads: How many threads LiteRT and ONNX Runtime compute with; None
            is all cores.

    Returns:
        A network for `segment` and `evaluate`.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        ImportError: If what runs it is not installed.
        ValueError: If it is not an exported PSPNet.

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
    loaders: dict[str, Callable[[Path, int], Predictor]] = {
        ".tflite": _load_litert,
        ".onnx": _load_onnx,
    }
    load = loaders.get(path.suffix, _load_saved_model)
    return load(path, threads or os.cpu_count() or 1)


def _load_saved_model(path: Path, threads: int) -> Predictor:
    import tensorflow as tf

    loaded = _opened(path, lambda: tf.saved_model.load(str(path)))
    logits = loaded.signatures.get("logits")
    if logits is None:
        raise _foreign(path, "no signature 'logits'")
    classes = _check_tensors(
        path,
        _shapes(logits.structured_input_signature[1]),
        _shapes(logits.structured_outputs),
    )
    side_file = path / SIDE_FILE
    text = side_file.read_bytes() if side_file.is_file() else None

    # The signature fits pictures into networks of fixed size by itself.
    def run(images: np.ndarray) -> np.ndarray:
        return logits(images=tf.constant(images))["logits"].numpy()

    # The function keeps its owner alive, and so its tables and variables.
    run.owner = loaded  # type: ignore[attr-defined]
    return Predictor(run, **_described(path, text, classes))


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Sequence[Any] | None]:
    return {
        name: None if tensor.shape.rank is None else tensor.shape.as_list()
        for name, tensor in tensors.items()
    }


def _load_litert(path: Path, threads: int) -> Predictor:
    check_installed("ai_edge_litert", "ai-edge-litert", "litert", "file")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = _opened(
        path,
        lambda: Interpreter(model_path=str(path), num_threads=threads),
    )
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        raise _foreign(path, f"{len(signatures)} signatures")
    runner = interpreter.get_signature_runner()
    inputs, outputs = (
        {name: detail["shape"].tolist() for name, detail in details.items()}
        for details in (
            runner.get_input_details(),
            runner.get_output_details(),
        )
    )
    classes = _check_tensors(path, inputs, outputs)
    batch_size, height, width, _ = inputs["images"]
    text = _opened(path, lambda: _read_side_entry(path))

    def run(images: np.ndarray) -> np.ndarray:
        return runner(images=images)["logits"]

    return Predictor(
        run,
        size=(height, width),
        batch_size=batch_size,
        **_described(path, text, classes),
    )


def _read_side_entry(path: Path) -> bytes | None:
    """Reads what is zipped behind a LiteRT file, which may be a bomb."""
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


def _load_onnx(path: Path, threads: int) -> Predictor:
    check_installed("onnxruntime", "onnxruntime", "onnx", "file")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = _opened(
        path,
        lambda: onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        ),
    )
    inputs, outputs = (
        {tensor.name: tensor.shape for tensor in tensors}
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    classes = _check_tensors(path, inputs, outputs)
    height, width = inputs["images"][1:3]
    fixed = isinstance(height, int) and isinstance(width, int)
    text = session.get_modelmeta().custom_metadata_map.get(SIDE_ENTRY)

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"images": images})[0]

    return Predictor(
        run,
        size=(height, width) if fixed else None,
        **_described(path, text, classes),
    )


def _opened(path: Path, opening: Callable[[], Any]) -> Any:
    """Opens a file with a library whose errors have nothing in common."""
    try:
        return opening()
    except Exception as error:
        raise _foreign(path, f"another content ({error})") from error


def _check_tensors(
    path: Path,
    inputs: Mapping[str, Sequence[Any] | None],
    outputs: Mapping[str, Sequence[Any] | None],
) -> int:
    """Checks names and shapes, and returns the number of classes."""
    images, logits = inputs.get("images"), outputs.get("logits")
    if (
        len(inputs) != 1
        or images is None
        or logits is None
        or (len(images), images[-1], len(logits)) != (4, 3, 4)
        or not isinstance(logits[-1], int)
    ):
        raise _foreign(path, f"inputs {inputs} and outputs {outputs}")
    return logits[-1]


def _described(
    path: Path, text: str | bytes | None, classes: int
) -> dict[str, Any]:
    """Reads arguments of a `Predictor`; labels are made up if not said."""
    if text is None:
        return {"labels": generic_labels(classes)}
    try:
        said = json.loads(text)
        labels = LabelSet.from_dict(said["labels"])
        red, green, blue = (float(value) for value in said["fill"])
        align_corners = bool(said["align_corners"])
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, f"a broken description ({error})") from error
    if labels.num_classes != classes:
        raise _foreign(
            path, f"{labels.num_classes} labels for {classes} classes"
        )
    return {
        "labels": labels,
        "fill": (red, green, blue),
        "align_corners": align_corners,
    }


def _foreign(path: Path, what: str) -> ValueError:
    return ValueError(
        "`path` must be a model that keras_pspnet has exported. "
        f"Received: path={str(path)!r} with {what}"
    )


def check_installed(module: str, package: str, extra: str, what: str) -> None:
    """Refuses work that needs an optional package, before it begins.

    Args:
        module: What is imported.
        package: What is installed.
        extra: The extra of this package that names it.
        what: What needs it, "export" or "file".

    Raises:
        ImportError: If it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"{package} must be installed for this {what}: "
            f"pip install keras-pspnet[{extra}]"
        )
