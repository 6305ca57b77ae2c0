"""Small LiteRT files."""

from pathlib import Path

import tensorflow as tf


def write_litert(path: Path, output: str = "logits") -> Path:
    function = tf.function(
        lambda images: {output: 2 * images},
        input_signature=[tf.TensorSpec((2, 4, 5, 3), tf.float32, "images")],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], tf.Module()
    )
    path.write_bytes(converter.convert())
    return path
