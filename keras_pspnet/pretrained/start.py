"""Starts a network from the weights of a trained one."""

from __future__ import annotations

import inspect
import os
from typing import Any

import keras

from keras_pspnet.convert import fill
from keras_pspnet.models import PSPNet
from keras_pspnet.presets import PRESET_NAMES
from keras_pspnet.pretrained.find import find_folder
from keras_pspnet.pretrained.load import load_pretrained

_CLASSIFIERS = ("head_classifier/", "aux_classifier/")
# Arguments without which the weights of a network have no meaning.
NETWORK = (
    *("backbone", "stem", "output_stride", "contract_dilation", "stride_on"),
    *("shortcut", "width", "align_corners", "bin_sizes", "pooling", "reduce"),
    "head_channels",
)


def config_of(
    source: str | os.PathLike[str], backbone: str | None = None
) -> dict[str, Any]:
    """Reads the `PSPNet` arguments of a trained model.

    Args:
        source: As in `load_pretrained`.
        backbone: Likewise.

    Returns:
        All arguments by name; arguments that were not saved have their
        defaults.

    Raises:
        OSError: As in `load_pretrained`.
        ValueError: Likewise.
    """
    config = find_folder(source, backbone).read_config()
    parameters = inspect.signature(PSPNet).parameters
    return {
        name: config.get(name, parameter.default)
        for name, parameter in parameters.items()
    }


def start_from(model: PSPNet, source: str | os.PathLike[str]) -> None:
    """Copies the weights of a trained model into a network.

    Classifiers keep their own weights if the classes differ, and so does an
    auxiliary head that the trained model lacks.

    Args:
        model: The network.
        source: As in `load_pretrained`.

    Raises:
        OSError: As in `load_pretrained`.
        ValueError: Likewise, or if the trained model has another network.
    """
    own = model.get_config()
    backbone = own["backbone"] if source in PRESET_NAMES else None
    bands = config_of(source, backbone)["input_shape"][-1]
    has_bands = bands == model.input_shape[-1]
    trained = load_pretrained(
        source,
        backbone=backbone,
        num_classes=model.num_classes,
        aux=model.aux,
        input_shape=model.input_shape[1:],
        mean=None if has_bands else model.mean,
        std=None if has_bands else model.std,
    )
    theirs = trained.get_config()
    for name in (*NETWORK, "mean", "std"):
        if own[name] != theirs[name]:
            raise ValueError(
                f"`start_from` must be a model whose `{name}` is that of the "
                f"network. Received: start_from={os.fspath(source)!r} with "
                f"{name}={theirs[name]!r}, and a network with "
                f"{name}={own[name]!r}"
            )
    labels = (model.labels, trained.labels)
    names = {None if each is None else each.names for each in labels}
    arrays = {
        weight.path: keras.ops.convert_to_numpy(weight)
        for weight in trained.weights
        if len(names) == 1 or not weight.path.startswith(_CLASSIFIERS)
    }
    fill(model.weights, arrays, () if len(names) == 1 else _CLASSIFIERS)
