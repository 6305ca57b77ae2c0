"""The rows of `export.py`: each engine, and how it loads its file."""

from __future__ import annotations

from pathlib import Path

from comparison import WEIGHTS, Against, Engine, Run, measured

OPENVINO = "openvino"
LITERT = "ai_edge_litert.interpreter"
ENGINES = (
    Engine("keras-savedmodel", "float32", "tensorflow", "keras"),
    Engine("keras-onnx", "float32", "onnxruntime", "keras.onnx"),
    Engine("mmseg-float32", "float32", "peer", WEIGHTS),
    Engine("mmseg-bfloat16", "bfloat16", "peer", WEIGHTS),
    Engine(
        "savedmodel-float32",
        "float32",
        "tensorflow",
        "float32",
        Against("keras-savedmodel", 0.64),
        Against("mmseg-float32", 0.95),
    ),
    Engine(
        "savedmodel-frozen",
        "float32",
        "tensorflow",
        "frozen",
        Against("keras-savedmodel", 0.60),
        Against("mmseg-float32", 0.95),
    ),
    Engine(
        "savedmodel-bfloat16",
        "bfloat16",
        "tensorflow",
        "bfloat16",
        Against("keras-savedmodel"),
        Against("mmseg-bfloat16", 0.66),
    ),
    Engine(
        "onnx",
        "float32",
        "onnxruntime",
        "float32.onnx",
        Against("keras-onnx", 0.88),
        Against("mmseg-float32"),
    ),
    Engine(
        "onnx-int8",
        "int8",
        "onnxruntime",
        "int8.onnx",
        Against("keras-onnx", 0.26),
    ),
    Engine(
        "openvino-float32",
        "float32",
        OPENVINO,
        "float32.onnx",
        Against("keras-onnx"),
        Against("mmseg-float32"),
    ),
    Engine(
        "openvino-bfloat16",
        "bfloat16",
        OPENVINO,
        "float32.onnx",
        Against("keras-onnx"),
        Against("mmseg-bfloat16"),
    ),
    Engine(
        "openvino-int8",
        "int8",
        OPENVINO,
        "int8.onnx",
        Against("keras-onnx"),
    ),
    Engine(
        "litert-float32",
        "float32",
        LITERT,
        "float32.tflite",
        Against("keras-savedmodel"),
        Against("mmseg-float32"),
    ),
    Engine(
        "litert-int8",
        "int8",
        LITERT,
        "int8.tflite",
        Against("keras-savedmodel"),
    ),
)
NAMES = tuple(engine.name for engine in ENGINES)


def load(engine: Engine, path: Path, threads: int) -> Run:
    """Loads an export of ours or of Keras's.

    Args:
        engine: The engine.
        path: The file or folder.
        threads: Number of threads that it may compute with.

    Returns:
        A function from a float32 image (1, H, W, 3) to its mask (1, H, W)
        of integers.
    """
    if engine.module == OPENVINO:
        return _load_openvino(engine, path, threads)
    loaders = {
        "tensorflow": measured.load_saved_model,
        "onnxruntime": measured.load_onnx,
    }
    return loaders.get(engine.module, measured.load_litert)(path, threads)


def _load_openvino(engine: Engine, path: Path, threads: int) -> Run:
    import openvino

    settings = {
        # The default is bfloat16 wherever the processor supports it.
        "INFERENCE_PRECISION_HINT": "bf16"
        if engine.dtype == "bfloat16"
        else "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    network = openvino.Core().compile_model(path, "CPU", settings)
    return lambda images: network(images)[0].argmax(axis=-1)
