"""The measured process: runs one artifact and loads nothing else.

    python measured.py ARTIFACT IMAGE.npy MASK.npy THREADS

It runs as a script and imports nothing of the package, which would load Keras
and TensorFlow even for artifacts that do not need them.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]

# Kind of artifact -> function that imports its engine.
ENGINES: dict[str, Callable[[], object]] = {
    "savedmodel": lambda: importlib.import_module("tensorflow"),
    "onnx": lambda: importlib.import_module("onnxruntime"),
    "litert": lambda: importlib.import_module("ai_edge_litert.interpreter"),
    "model": lambda: importlib.import_module("keras_pspnet"),
}


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Returns the kind of an artifact, a key of `ENGINES`.

    Args:
        path: Folder of a SavedModel or of a model, .tflite or .onnx file.

    Returns:
        The kind; None for anything else.
    """
    path = Path(path)
    files = {"saved_model.pb": "savedmodel", "config.json": "model"}
    for name, kind in files.items():
        if (path / name).is_file():
            return kind
    suffixes = {".tflite": "litert", ".onnx": "onnx"}
    return suffixes.get(path.suffix) if path.is_file() else None


def load_artefact(path: str | os.PathLike[str], threads: int) -> Run:
    """Loads an artifact of a known kind.

    Args:
        path: As in `kind_of`.
        threads: Number of threads to compute with.

    Returns:
        A function from float32 images (1, H, W, bands) to their masks
        (1, H, W). If the artifact returns logits, NumPy takes their argmax.
    """
    loaders = {
        "savedmodel": load_saved_model,
        "onnx": load_onnx,
        "litert": load_litert,
        "model": _load_model,
    }
    return loaders[kind_of(path) or ""](path, threads)


def load_saved_model(path: str | os.PathLike[str], threads: int) -> Run:
    """Loads a SavedModel into a session, as TensorFlow Serving runs it.

    Args:
        path: An export of this package or of Keras.
        threads: As in `load_artefact`.
    """
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        # One operation at a time, as in all other engines.
        inter_op_parallelism_threads=1,
    )
    with tf.Graph().as_default() as graph:
        session = tf.compat.v1.Session(graph=graph, config=config)
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        signatures = loaded.signature_def
        ours = "predict_array" in signatures
        signature = signatures["predict_array" if ours else "serving_default"]
        (source,) = signature.inputs.values()
        if ours:
            mask = graph.get_tensor_by_name(signature.outputs["mask"].name)
        else:
            (logits,) = signature.outputs.values()
            logits = graph.get_tensor_by_name(logits.name)
            mask = tf.cast(tf.argmax(logits, axis=-1), tf.uint8)
        run = session.make_callable(mask, [source.name])
    sides = [side.size for side in source.tensor_shape.dim]
    return _fitted(run, sides)


def load_onnx(path: str | os.PathLike[str], threads: int) -> Run:
    """Loads an ONNX file into ONNX Runtime.

    Args:
        path: An export of this package or of Keras.
        threads: As in `load_artefact`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    (source,) = session.get_inputs()
    output = session.get_outputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        return _as_mask(session.run([output], {source.name: images})[0])

    return _fitted(run, source.shape)


def load_litert(path: str | os.PathLike[str], threads: int) -> Run:
    """Loads a LiteRT file.

    Args:
        path: An export of this package.
        threads: As in `load_artefact`.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    output = interpreter.get_output_details()[0]

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], images.astype(source["dtype"]))
        interpreter.invoke()
        return _as_mask(interpreter.get_tensor(output["index"]))

    return _fitted(run, source["shape"].tolist())


def _load_model(path: str | os.PathLike[str], threads: int) -> Run:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras_pspnet as kp

    predictor = kp.Predictor(kp.load_pretrained(path))
    size = predictor.size or (None, None)
    return _fitted(lambda x: _as_mask(predictor(x)), [None, *size, None])


def _as_mask(values: np.ndarray) -> np.ndarray:
    return values.argmax(axis=-1) if values.ndim == 4 else values


def _fitted(run: Run, shape: Any) -> Run:
    """Resizes images for a network of a fixed size, by the nearest pixels."""
    size = shape[1:3]
    if not all(isinstance(side, int) and side > 0 for side in size):
        return run

    def fitted(images: np.ndarray) -> np.ndarray:
        rows, columns = (
            np.arange(side) * whole // side
            for side, whole in zip(size, images.shape[1:3], strict=True)
        )
        return run(images[:, rows][:, :, columns])

    return fitted


def serve(
    import_engine: Callable[[], object],
    load: Callable[[], Run],
    image: str | os.PathLike[str],
    mask: str | os.PathLike[str],
) -> None:
    """Loads an artifact, then runs it once for every line of the input.

    Writes lines of JSON. Once the artifact is warm: the seconds to load it and
    of the first run, and the resident memory in MB at the start, after the
    import, after loading and after the first run. Then the seconds of every
    run, and at the end the peak memory.

    Args:
        import_engine: Imports the engine; called first.
        load: Loads the artifact.
        image: File of an array (H, W, bands).
        mask: File for the result of the first run.
    """
    # Output of the libraries goes to the log, not among the figures.
    figures = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def write(value: Any) -> None:
        figures.write(json.dumps(value) + "\n")

    images = np.load(image)[None].astype("float32")
    found = {"started": resident_memory()}
    import_engine()
    found["imported"] = resident_memory()
    start = time.perf_counter()
    run = load()
    found["load_seconds"] = time.perf_counter() - start
    found["loaded"] = resident_memory()
    start = time.perf_counter()
    result = run(images)
    found["first_seconds"] = time.perf_counter() - start
    found["first"] = resident_memory()
    np.save(mask, result)
    # Some engines still optimize during the second run.
    run(images)
    write(found)
    for _ in sys.stdin:
        start = time.perf_counter()
        run(images)
        write(time.perf_counter() - start)
    write(peak_memory())


def resident_memory() -> float:
    """Returns the current memory of this process, in MB."""
    status = _status("VmRSS")
    if status is not None:
        return status
    command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
    return int(subprocess.check_output(command)) / 1e3


def peak_memory() -> float:
    """Returns the peak memory of this process, in MB."""
    status = _status("VmHWM")
    if status is not None:
        return status
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _status(name: str) -> float | None:
    """Reads a value of /proc/self/status, as Linux has it.

    `getrusage` would start its peak at that of the parent process.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    (value,) = (line.split()[1] for line in lines if line.startswith(name))
    return int(value) * 1.024e-3


def main(arguments: list[str]) -> None:
    """Serves the artifact named on the command line.

    Args:
        arguments: See the module.
    """
    path, image, mask, threads = arguments
    kind = kind_of(path) or ""
    if kind == "model":
        # In a checkout, import the package that the parent process uses.
        sys.path.append(str(Path(__file__).parents[2]))
    serve(ENGINES[kind], lambda: load_artefact(path, int(threads)), image, mask)


if __name__ == "__main__":
    main(sys.argv[1:])
