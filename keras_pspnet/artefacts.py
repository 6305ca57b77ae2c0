"""Exported files as networks, to be scored as the model they were made of."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_pspnet.labels import LabelSet, generic_labels
from keras_pspnet.network import Network

# Where exports keep `network.description`: a file of a SavedModel, a file in
# a LiteRT file's archive, an entry of an ONNX file's metadata.
SIDE_FILE = "assets.extra/pspnet.json"
SIDE_ENTRY = "pspnet.json"
_SUFFIXES = (".tflite", ".onnx")


def is_artefact(path: str | os.PathLike[str]) -> bool:
    """Tells whether a path is that of an exported model.

    Args:
        path: A SavedModel's folder, or a .tflite or .onnx file.
    """
    path = Path(path)
    return path.suffix in _SUFFIXES or (path / "saved_model.pb").is_file()


def load_artefact(
    path: str | os.PathLike[str], threads: int | None = None
) -> Network:
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
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"`path` must exist. Received: path={str(path)!r}"
        )
    if not is_artefact(path):
        raise ValueError(
            "`path` must be a SavedModel's folder, or a .tflite or .onnx "
            f"file. Received: path={str(path)!r}"
        )
    loaders: dict[str, Callable[[Path, int], Network]] = {
        ".tflite": _load_litert,
        ".onnx": _load_onnx,
    }
    load = loaders.get(path.suffix, _load_saved_model)
    return load(path, threads or os.cpu_count() or 1)


def _load_saved_model(path: Path, threads: int) -> Network:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    if "logits" not in loaded.signatures:
        raise _foreign(path, "no signature 'logits'")
    logits = loaded.signatures["logits"]
    classes = logits.structured_outputs["logits"].shape[-1]
    side_file = path / SIDE_FILE
    text = side_file.read_text() if side_file.is_file() else None
    labels, fill = _described(path, text, classes)

    # The signature fits pictures into networks of fixed size by itself.
    def run(images: np.ndarray) -> np.ndarray:
        return logits(images=tf.constant(images))["logits"].numpy()

    # The function keeps its owner alive, and so its tables and variables.
    run.owner = loaded  # type: ignore[attr-defined]
    return Network(run, labels, fill=fill)


def _load_litert(path: Path, threads: int) -> Network:
    _check_installed("ai_edge_litert", "ai-edge-litert", "litert")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    signatures = interpreter.get_signature_list()
    if not any("logits" in each["outputs"] for each in signatures.values()):
        raise _foreign(path, "no output 'logits'")
    runner = interpreter.get_signature_runner()
    shape = runner.get_input_details()["images"]["shape"]
    classes = int(runner.get_output_details()["logits"]["shape"][-1])
    text = None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if SIDE_ENTRY in archive.namelist():
                text = archive.read(SIDE_ENTRY).decode()
    labels, fill = _described(path, text, classes)

    def run(images: np.ndarray) -> np.ndarray:
        # The next call writes over its result.
        return np.array(runner(images=images)["logits"])

    return Network(
        run,
        labels,
        size=(int(shape[1]), int(shape[2])),
        fill=fill,
        batch_size=1,
    )


def _load_onnx(path: Path, threads: int) -> Network:
    _check_installed("onnxruntime", "onnxruntime", "onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    outputs = {output.name: output.shape for output in session.get_outputs()}
    if "logits" not in outputs:
        raise _foreign(path, "no output 'logits'")
    classes = int(outputs["logits"][-1])
    sides = session.get_inputs()[0].shape[1:3]
    fixed = all(isinstance(side, int) for side in sides)
    text = session.get_modelmeta().custom_metadata_map.get(SIDE_ENTRY)
    labels, fill = _described(path, text, classes)

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"images": images})[0]

    return Network(
        run,
        labels,
        size=tuple(sides) if fixed else None,
        fill=fill,
    )


def _described(
    path: Path, text: str | None, classes: int
) -> tuple[LabelSet, tuple[float, ...]]:
    """Reads labels and fill colour, made up where nothing is said."""
    if text is None:
        return generic_labels(classes), (0.0, 0.0, 0.0)
    try:
        said = json.loads(text)
        labels = LabelSet.from_dict(said["labels"])
        red, green, blue = (float(value) for value in said["fill"])
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(path, f"a broken description ({error})") from error
    if labels.num_classes != classes:
        raise _foreign(
            path, f"{labels.num_classes} labels for {classes} classes"
        )
    return labels, (red, green, blue)


def _foreign(path: Path, what: str) -> ValueError:
    return ValueError(
        "`path` must be a model that keras_pspnet has exported. "
        f"Received: path={str(path)!r} with {what}"
    )


def _check_installed(module: str, package: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ImportError(
            f"{package} must be installed for this file: "
            f"pip install keras-pspnet[{extra}]"
        )
