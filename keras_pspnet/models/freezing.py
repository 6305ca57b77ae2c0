"""Which layers of a network are trained."""

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
    """Freezes a part of a `PSPNet`.

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
    """Lists the layers that are trained otherwise than `freeze` has it.

    Args:
        model: The network.
        freeze: Its argument.

    Returns:
        Name of the layer -> whether it is trained, in an order in which
        `set_layer_flags` sets them again. A layer that contains others
        stands for all of them.
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
        flags: From `layer_flags`; names that it lacks are skipped, as of a
            backbone of another depth.
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
    """Refuses layers that an optimizer cannot train, or leave alone.

    Args:
        model: A compiled model whose optimizer is built.

    Raises:
        ValueError: If a layer was unfrozen since; on JAX also if one was
            frozen.
    """
    optimizer, trained = model.optimizer, model.trainable_variables
    new = keras_private.unoptimized(optimizer, trained)
    fewer = len(trained) < keras_private.num_optimized(optimizer)
    if new or (fewer and keras.backend.backend() == "jax"):
        change = f"{new[0].path} unfrozen" if new else "layers frozen"
        raise ValueError(
            "`trainable` must be set before the first step: call compile() "
            "again, which begins with a new optimizer. "
            f"Received: {change} since"
        )


@contextlib.contextmanager
def refusing_other_optimizers() -> Iterator[None]:
    """Turns Keras's warning of a skipped optimizer into an error.

    Raises:
        ValueError: If a file's optimizer is of other variables than the
            model's. A file without an optimizer leaves it as it is.
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
