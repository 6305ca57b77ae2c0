"""Keras models as backbones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import keras


def as_backbone(backbone: Any, aux: bool) -> keras.Model:
    """Checks a backbone, and builds it if it is a config.

    Args:
        backbone: A functional model, or a config from `backbone_config`.
        aux: Whether the auxiliary head needs features.

    Raises:
        ValueError: If it is neither, a config would import unknown code, or
            the outputs are not features or (aux features, features).
    """
    if isinstance(backbone, Mapping):
        _check_classes(backbone)
        # Keras removes entries from the config.
        config = copy.deepcopy(dict(backbone))
        backbone = keras.saving.deserialize_keras_object(config)
    if not isinstance(backbone, keras.Model) or not getattr(
        backbone, "inputs", None
    ):
        raise ValueError(
            "`backbone` must be the name of a ResNet or a functional Keras "
            f"model, such as keras_pspnet.dilate returns. "
            f"Received: backbone={backbone!r}"
        )
    ranks = [len(output.shape) for output in backbone.outputs]
    if ranks not in ([4], [4, 4]) or len(backbone.inputs) != 1:
        raise ValueError(
            "`backbone` must map an image to features, or to (aux features, "
            f"features). Received: backbone={backbone.name!r} with inputs "
            f"{backbone.inputs} and outputs {backbone.outputs}"
        )
    if aux and ranks == [4]:
        raise ValueError(
            "`aux` must be False for a backbone with one output. "
            f"Received: aux={aux}, backbone={backbone.name!r}"
        )
    return backbone


def backbone_config(backbone: keras.Model) -> dict[str, Any]:
    """Returns the config of a model, for `as_backbone`.

    Args:
        backbone: A functional model of serializable layers.
    """
    return keras.saving.serialize_keras_object(backbone)


def _check_classes(config: Any) -> None:
    """Refuses a config that would import modules other than Keras."""
    registered = keras.saving.get_custom_objects()
    if isinstance(config, Mapping):
        if "class_name" in config:
            module = str(config.get("module") or "keras").partition(".")[0]
            known = module in ("keras", "keras_pspnet", "builtins")
            if not known and config.get("registered_name") not in registered:
                raise ValueError(
                    "`backbone` must consist of Keras's layers, or of "
                    "registered ones whose module is imported. Received: "
                    f"{config['module']}.{config['class_name']}"
                )
        config = list(config.values())
    if isinstance(config, list | tuple):
        for each in config:
            _check_classes(each)
