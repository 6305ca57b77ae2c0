"""Reads labels, size, normalization and hash from a Keras model."""

from __future__ import annotations

import hashlib
from typing import Any

import keras
import numpy as np

from keras_pspnet.data import RGB
from keras_pspnet.labels import LabelSet, generic_labels
from keras_pspnet.layers import InputNormalization, PyramidConv
from keras_pspnet.models import PSPNet
from keras_pspnet.utils import keras_private


def weights_sha256(model: keras.Model) -> str:
    """Returns the SHA-256 of a model's weights, in order.

    Args:
        model: Any Keras model.
    """
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def model_labels(model: keras.Model) -> LabelSet:
    """Returns the labels of a model, or generic ones if it has none."""
    labels = getattr(model, "labels", None)
    if labels:
        return labels
    if getattr(model, "outputs", None):
        outputs = model.output
    else:
        # A subclassed model must be traced to know its outputs.
        outputs = model.compute_output_spec(
            keras.KerasTensor((None, None, None, 3))
        )
    return generic_labels(main_output(outputs).shape[-1])


def description(model: keras.Model) -> dict[str, Any]:
    """Describes a model for its exports, so that they evaluate like it.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
    """
    return {
        "labels": model_labels(model).to_dict(),
        "fill": list(fill_color(model)),
        "align_corners": align_corners(model),
    }


def main_output(outputs: Any) -> Any:
    """Returns the main logits: `main` of two outputs, or the only output."""
    return outputs["main"] if isinstance(outputs, dict) else outputs


def network_size(model: keras.Model) -> tuple[int, int] | None:
    """Returns the (height, width) a model was built for, None for any."""
    inputs = getattr(model, "inputs", None)
    # A subclassed model has no inputs.
    height, width = inputs[0].shape[1:3] if inputs else (None, None)
    return None if height is None or width is None else (height, width)


def align_corners(model: keras.Model) -> bool:
    """Tells whether a model resizes with aligned corners.

    Args:
        model: Any Keras model.
    """
    return any(
        layer.pyramid.align_corners
        for layer in model.layers
        if isinstance(layer, PyramidConv)
    )


def fill_color(model: keras.Model) -> tuple[float, ...]:
    """Returns the padding color, which normalization turns into zeros.

    Args:
        model: A `PSPNet`, or its `inference_model()`.

    Returns:
        A value for each band, R, G, B in 0..255 for 3; zeros if the model
        does not normalize.
    """
    found = normalization(model)
    return found[0] if found else (0.0,) * num_bands(model)


def normalization(
    model: keras.Model,
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns mean and standard deviation of each band, None without them.

    Args:
        model: Any Keras model.
    """
    for layer in model.layers:
        if isinstance(layer, InputNormalization):
            return layer.mean, layer.std
    return None


def num_bands(model: keras.Model) -> int:
    """Returns how many bands the images of a model have.

    Args:
        model: Any Keras model.
    """
    inputs = getattr(model, "inputs", None)
    # A subclassed model has no inputs; other inputs may have any bands.
    return (inputs[0].shape[-1] if inputs else None) or RGB


def float32_inference_model(model: keras.Model) -> keras.Model:
    """Returns the network without auxiliary head, computing in float32.

    Args:
        model: Any Keras model. One that is not functional is returned as it
            is.
    """
    layers = keras_private.nested_layers(model)
    # Models trained in mixed precision have float32 weights.
    mixed = any(layer.compute_dtype != "float32" for layer in layers)
    if not isinstance(model, PSPNet):
        functional = getattr(model, "outputs", None)
        return _in_float32(model) if mixed and functional else model
    if mixed:
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32")
        try:
            copy = PSPNet.from_config(model.get_config())
        finally:
            keras.config.set_dtype_policy(policy)
        copy.set_weights(model.get_weights())
        model = copy
    return model.inference_model()


def _in_float32(model: keras.Model) -> keras.Model:
    def convert(layer: keras.Layer) -> keras.Layer:
        return type(layer).from_config(
            layer.get_config() | {"dtype": "float32"}
        )

    copy = keras.models.clone_model(
        keras.Model(model.inputs, model.output, name=model.name),
        clone_function=convert,
        recursive=True,
    )
    copy.set_weights(model.get_weights())
    copy.labels = model_labels(model)
    return copy
