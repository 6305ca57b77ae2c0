"""LiteRT files, for phones and single-board computers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.export.flatbuffer import take_pixels, widen_strided_kernels
from keras_pspnet.export.logs import quiet_tensorflow
from keras_pspnet.export.metadata import add_metadata
from keras_pspnet.export.verify import Parity, compare, sample_images
from keras_pspnet.inference import (
    SIDE_ENTRY,
    as_uint8,
    description,
    model_labels,
    num_bands,
)
from keras_pspnet.inference.fold import as_constants, fold
from keras_pspnet.utils import write_atomically

_COMPARED = 4


def write_litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    size: tuple[int, int],
    precision: str,
    calibration: Sequence[np.ndarray],
    output: str = "logits",
    input_dtype: str = "float32",
) -> Parity:
    """Implements `keras_pspnet.export_litert`.

    Args:
        model: A model with one output.
        path: File to write.
        size: (height, width) of the images.
        precision: `"float32"`, `"float16"`, `"dynamic"` or `"int8"`.
        calibration: Images (1, H, W, bands) of that size for int8.
        output: `"logits"` or `"mask"`.
        input_dtype: `"float32"` or `"uint8"`.

    Returns:
        The difference between export and model.
    """
    network = fold(model, size, fixed_head=True)
    data = add_metadata(
        _convert(network, precision, calibration, output, input_dtype),
        model_labels(model).names,
        num_bands(model),
        {SIDE_ENTRY: json.dumps(description(model))},
        output,
    )
    # int8 clips values beyond the range of the calibration images.
    seen = list(calibration[:_COMPARED])
    samples = sample_images(size, 0, model)
    images = seen or [image[None] for image in samples]
    if input_dtype == "uint8":
        images = [as_uint8(image).astype("float32") for image in images]
    parity = compare(model, _runner(data), "LiteRT", precision, images)
    write_atomically(path, data)
    return parity


def _convert(
    network: keras.Model,
    precision: str,
    calibration: Sequence[np.ndarray],
    output: str,
    input_dtype: str,
) -> bytes:
    logits = as_constants(network)
    # For a network of integers, the converter itself makes the input uint8.
    all_integers = precision == "int8" and input_dtype == "uint8"

    def run(images: Any) -> dict[str, Any]:
        found = logits(tf.cast(images, tf.float32))
        if output == "mask":
            best = tf.argmax(found, axis=-1, output_type=tf.int32)
            found = tf.cast(best, tf.uint8)
        return {output: found}

    module = tf.Module()
    module.run = tf.function(run, autograph=False)
    signature = tf.TensorSpec(
        (1, *network.inputs[0].shape[1:]),
        tf.float32 if all_integers else input_dtype,
        "images",
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.run.get_concrete_function(signature)], module
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: ([x] for x in calibration)
    if all_integers:
        converter.inference_input_type = tf.uint8
    with quiet_tensorflow():
        data = bytes(converter.convert())
    if precision in ("dynamic", "int8"):
        data = widen_strided_kernels(data)
    return take_pixels(data) if all_integers else data


def _runner(data: bytes) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner()
    (dtype,) = (each["dtype"] for each in runner.get_input_details().values())
    (output,) = runner.get_output_details()

    def run(images: list[np.ndarray]) -> list[np.ndarray]:
        return [
            np.array(runner(images=image.astype(dtype))[output])
            for image in images
        ]

    return run
