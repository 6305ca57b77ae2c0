"""Freezing of layers, and checks that the optimizer fits."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_pspnet.layers import BatchNorm
from keras_pspnet.utils import keras_private

FREEZES = (None, "backbone", "batch_norm")


def freeze_layers(model: Any, freeze: str | None) -> None:
    """Freezes part of a `PSPNet`.

    Args:
        model: The network.
        freeze: One of `FREEZES`.
    """
    if freeze == "backbone":
        model.backbone.trainable = False
    elif freeze == "batch_norm":
        for layer in keras_private.nested_layers(model):
            if isinstance(layer, BatchNorm):
                layer.trainable = False


def layer_flags(model: Any, freeze: str | None) -> dict[str, bool]:
    """Returns the `trainable` flags that differ from those of `freeze`.

    Args:
        model: The network.
        freeze: Its `freeze` argument.

    Returns:
        Name of the layer -> its flag, in the order in which
        `set_layer_flags` must set them. The flag of a layer that contains
        others applies to all of them.
    """
    frozen = {id(layer) for layer in _frozen_by(model, freeze)}
    flags = {}
    for layer in keras_private.nested_layers(model):
        if layer.trainable != (id(layer) not in frozen):
            flags[layer.name] = layer.trainable
            inner = {id(each) for each in keras_private.nested_layers(layer)}
            frozen = frozen - inner if layer.trainable else frozen | inner
    return flags


def set_layer_flags(model: keras.Model, flags: Mapping[str, bool]) -> None:
    """Freezes and unfreezes layers by name.

    Args:
        model: The network.
        flags: From `layer_flags`. Names of other layers, as in a backbone of
            another depth, are skipped.
    """
    layers = {each.name: each for each in keras_private.nested_layers(model)}
    for name, trainable in flags.items():
        if name in layers:
            layers[name].trainable = trainable


def _frozen_by(model: Any, freeze: str | None) -> list[Any]:
    if freeze == "backbone":
        inner = keras_private.nested_layers(model.backbone)
        return [model.backbone, *inner]
    if freeze == "batch_norm":
        inner = keras_private.nested_layers(model)
        return [each for each in inner if isinstance(each, BatchNorm)]
    return []


def check_optimized(model: Any) -> None:
    """Refuses layers that were unfrozen after the optimizer was built.

    Args:
        model: A compiled model whose optimizer is built.

    Raises:
        ValueError: If there is such a layer; on JAX also if one was frozen.
    """
    optimizer, trained = model.optimizer, model.trainable_variables
    new = keras_private.unoptimized(optimizer, trained)
    fewer = len(trained) < keras_private.num_optimized(optimizer)
    if new or (fewer and keras.backend.backend() == "jax"):
        change = f"{new[0].path} unfrozen" if new else "layers frozen"
        raise ValueError(
            "`trainable` must be set before the first step: call compile() "
            "again, which starts with a new optimizer. "
            f"Received: {change} since"
        )


@contextlib.contextmanager
def refusing_other_optimizers() -> Iterator[None]:
    """Turns Keras's warning about a skipped optimizer into an error.

    Raises:
        ValueError: If the optimizer in a file has other variables than the
            model's. A file without an optimizer is no error.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for each in caught:
        text = str(each.message)
        if not text.startswith("Skipping variable loading for optimizer"):
            warnings.warn_explicit(
                each.message, each.category, each.filename, each.lineno
            )
        elif "saved optimizer has 0 " not in text:
            raise ValueError(
                "`filepath` must hold the optimizer of a model in which the "
                "same layers are frozen. Freeze them as they were and call "
                "compile() again, or load the weights before compile(). "
                f"Received: {text.strip()}"
            )
