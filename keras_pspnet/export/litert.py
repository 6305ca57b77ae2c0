"""LiteRT: what phones and single-board computers load."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.export.logs import quiet_tensorflow
from keras_pspnet.export.metadata import add_metadata
from keras_pspnet.export.verify import Parity, compare, sample_images
from keras_pspnet.inference import SIDE_ENTRY, description, model_labels
from keras_pspnet.inference.fold import as_constants, fold
from keras_pspnet.utils import write_atomically

_COMPARED = 4


def write_litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    size: tuple[int, int],
    precision: str,
    calibration: Sequence[np.ndarray],
) -> Parity:
    """Does the work of `keras_pspnet.export_litert`, documented there.

    Args:
        model: A model with one output.
        path: File to write.
        size: (height, width) of the images.
        precision: `"float32"`, `"float16"`, `"dynamic"` or `"int8"`.
        calibration: Images (1, H, W, 3) of this size for int8.

    Returns:
        How far the export is from the model.
    """
    data = add_metadata(
        _convert(fold(model, size), size, precision, calibration),
        model_labels(model).names,
        {SIDE_ENTRY: json.dumps(description(model))},
    )
    # Integers hold the range that calibration saw and nothing else.
    seen = list(calibration[:_COMPARED])
    images = seen or [image[None] for image in sample_images(size, seed=0)]
    parity = compare(model, _runner(data), "LiteRT", precision, images)
    write_atomically(path, data)
    return parity


def _convert(
    network: keras.Model,
    size: tuple[int, int],
    precision: str,
    calibration: Sequence[np.ndarray],
) -> bytes:
    logits = as_constants(network)

    module = tf.Module()
    module.run = tf.function(lambda images: {"logits": logits(images)})
    signature = tf.TensorSpec((1, *size, 3), tf.float32, "images")
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.run.get_concrete_function(signature)], module
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: ([x] for x in calibration)
    with quiet_tensorflow():
        return bytes(converter.convert())


def _runner(data: bytes) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner()

    def run(images: list[np.ndarray]) -> list[np.ndarray]:
        return [np.array(runner(images=image)["logits"]) for image in images]

    return run
