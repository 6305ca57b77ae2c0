"""Turns a convolutional Keras model into a dilated backbone."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from keras_pspnet.backbones.dense_copy import DenseCopy, Place
from keras_pspnet.utils import check_choice, did_you_mean, keras_private

STRIDES = (4, 8, 16, 32)
# A side that all usual strides divide.
_PROBE = 512


def dilate(
    model: keras.Model,
    output_stride: int = 8,
    features: str | None = None,
    aux: str | None = None,
) -> keras.Model:
    """Turns a classification network into a backbone of dense features.

    Strides beyond the output stride become dilation of all layers that
    follow. The weights stay the same, and at every pixel that the strided
    network computes, the dilated one has the same features. This is exact at
    odd sizes, and at every size if strided layers have explicit padding.
    Padding `"same"` pads the two sides of an even size differently, so there
    it is exact only if the size is known at build time.

    Batch normalization of the returned model is synchronized over replicas.

    Args:
        model: A functional model of one image (B, H, W, C), channels last,
            such as those of `keras.applications`. Layers after the features,
            such as a classifier, are left out.
        output_stride: 4, 8, 16 or 32: input size over feature size.
        features: Name of the layer whose output the pyramid reads; by default
            the last one at the largest stride.
        aux: Name of the layer whose output the auxiliary head reads; by
            default the last one at half of that stride.

    Returns:
        A functional model with the outputs (aux features, features), for
        `PSPNet(backbone=)`. It has copies of the weights.

    Raises:
        ValueError: If the model is not functional, has several inputs or
            channels first, has no layer of that name or stride, or has a
            layer that cannot be dilated.

    Examples:
        >>> image = keras.Input((None, None, 3))
        >>> x = image
        >>> for _ in range(5):
        ...     x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)
        >>> backbone = kp.dilate(keras.Model(image, x), output_stride=8)
        >>> backbone.compute_output_shape((1, 65, 65, 3))
        [(1, 9, 9, 4), (1, 9, 9, 4)]

    Reference:
        Yu and Koltun, "Multi-Scale Context Aggregation by Dilated
        Convolutions", 2016; Chen et al., "DeepLab", 2016, section 3.1.
    """
    check_choice("output_stride", output_stride, STRIDES)
    _check_model(model)
    strides = _strides(model)
    if features is None:
        features = _last_at(strides, max(strides.values()))
    if aux is None:
        aux = _last_at(strides, _stride_of(strides, features, "features") // 2)
    kept = [
        model.get_layer(name).output
        for name, argument in ((aux, "aux"), (features, "features"))
        if _stride_of(strides, name, argument)
    ]
    core = keras.Model(model.inputs[0], kept, name=model.name)
    walk = DenseCopy(output_stride)
    image = keras.Input(
        model.inputs[0].shape[1:],
        dtype=model.inputs[0].dtype,
        name=model.inputs[0].name,
    )
    dilated = walk.through(core, image, Place())
    for old, new in walk.layers.values():
        new.set_weights(old.get_weights())
    return dilated


def _check_model(model: Any) -> None:
    fault = None
    if not getattr(model, "inputs", None):
        fault = "be a functional Keras model"
    elif len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        fault = "have one input, an image (B, H, W, C)"
    elif any(
        getattr(layer, "data_format", None) == "channels_first"
        for layer in keras_private.nested_layers(model)
    ):
        fault = "have channels last"
    if fault:
        raise ValueError(f"`model` must {fault}. Received: model={model!r}")


def _strides(model: keras.Model) -> dict[str, int]:
    """Returns the stride of each layer that outputs a map, in order."""
    outputs = {
        layer.name: layer.output
        for layer in model.layers
        if not isinstance(layer, layers.InputLayer | layers.ZeroPadding2D)
        and isinstance(getattr(layer, "output", None), keras.KerasTensor)
        and len(layer.output.shape) == 4
    }
    side = model.inputs[0].shape[1] or _PROBE
    width = model.inputs[0].shape[2] or side
    image = keras.KerasTensor((1, side, width, model.inputs[0].shape[3]))
    shapes = keras.Model(model.inputs[0], outputs).compute_output_spec(image)
    return {
        name: _ratio(side, spec.shape[1])
        for name, spec in shapes.items()
        # A single pixel is a global mean, as in squeeze-and-excitation.
        if spec.shape[1] > 1
    }


def _ratio(side: int, out: int) -> int:
    """Returns the power of two that turns one size into the other."""
    for stride in (2**power for power in range(10)):
        if side // stride <= out <= -(-side // stride):
            return stride
    return round(side / out)


def _last_at(strides: dict[str, int], stride: int) -> str:
    found = [name for name, each in strides.items() if each == stride]
    if not found:
        raise ValueError(
            f"`model` must have a layer at stride {stride}. Received: layers "
            f"at strides {sorted(set(strides.values()))}"
        )
    return found[-1]


def _stride_of(strides: dict[str, int], name: str, argument: str) -> int:
    if name not in strides:
        raise ValueError(
            f"`{argument}` must name a layer of the model with a map as its "
            f"output{did_you_mean(name, strides)}. "
            f"Received: {argument}={name!r}"
        )
    return strides[name]
