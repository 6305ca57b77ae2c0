"""What a Keras model says of itself: labels, size, colors, its hash."""

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
    """Returns the hash of a model's weights, in their order.

    Args:
        model: Any Keras model.
    """
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def model_labels(model: keras.Model) -> LabelSet:
    """Returns the model's class names, or made-up ones where it has none."""
    labels = getattr(model, "labels", None)
    if labels:
        return labels
    if getattr(model, "outputs", None):
        outputs = model.output
    else:
        # A subclassed model has to be traced to know.
        outputs = model.compute_output_spec(
            keras.KerasTensor((None, None, None, 3))
        )
    return generic_labels(main_output(outputs).shape[-1])


def description(model: keras.Model) -> dict[str, Any]:
    """Returns what exports say of a model, for JSON, to be evaluated as it.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
    """
    return {
        "labels": model_labels(model).to_dict(),
        "fill": list(fill_color(model)),
        "align_corners": align_corners(model),
    }


def main_output(outputs: Any) -> Any:
    """Returns the logits that count: `main` of two outputs, or the only."""
    return outputs["main"] if isinstance(outputs, dict) else outputs


def network_size(model: keras.Model) -> tuple[int, int] | None:
    """Returns the (height, width) a model was built for, None for any."""
    inputs = getattr(model, "inputs", None)
    # A subclassed model has none.
    height, width = inputs[0].shape[1:3] if inputs else (None, None)
    return None if height is None or width is None else (height, width)


def align_corners(model: keras.Model) -> bool:
    """Tells how a model resizes; True puts corners on each other.

    Args:
        model: Any Keras model.
    """
    return any(
        layer.pyramid.align_corners
        for layer in model.layers
        if isinstance(layer, PyramidConv)
    )


def fill_color(model: keras.Model) -> tuple[float, ...]:
    """Returns the color of padding: what normalization turns into zeros.

    Args:
        model: A `PSPNet`, or its `inference_model()`.

    Returns:
        A value for each band, R, G, B in 0..255 for 3; zeros where the
        model does not normalize.
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
    """Returns the bands of the images that a model takes.

    Args:
        model: Any Keras model.
    """
    inputs = getattr(model, "inputs", None)
    # A subclassed model has none, and one for any bands does not say how many.
    return (inputs[0].shape[-1] if inputs else None) or RGB


def float32_inference_model(model: keras.Model) -> keras.Model:
    """Returns the network without auxiliary branch, computing in float32.

    Args:
        model: A `PSPNet`; any other model comes back as it is.
    """
    if not isinstance(model, PSPNet):
        return model
    if any(
        layer.compute_dtype != "float32"
        for layer in keras_private.nested_layers(model)
    ):
        # What was trained in mixed precision has float32 weights.
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32")
        try:
            copy = PSPNet.from_config(model.get_config())
        finally:
            keras.config.set_dtype_policy(policy)
        copy.set_weights(model.get_weights())
        model = copy
    return model.inference_model()
