"""PaddleSeg's PSPNet, on its `ResNet50_vd` and `ResNet101_vd`.

Geometry, according to its code: ResNet-D (2x2 average pooling before the
projection of a strided block), stem of 32, 32 and 64 channels, stride on the
3x3, the same dilation in every block of a stage, half-pixel resizing, pyramid
maps in the order 6, 3, 2, 1, a head of 1,024 channels, images scaled to -1..1.
Convolutions of the heads have a bias before their batch normalization.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_pspnet.convert.assign import Converted
from keras_pspnet.convert.name_table import NameTable, to_rising_bins
from keras_pspnet.labels import published_labels

# (x / 255 - 0.5) / 0.5
HALF = (127.5, 127.5, 127.5)
_PREFIX = "backbone."
_BIAS = "._conv.bias"
_MEAN = "._batch_norm._mean"


def _with_norm(layer: str) -> tuple[str, str]:
    return f"{layer}._conv", f"{layer}._batch_norm"


TABLE = NameTable(
    "paddleseg",
    stems=(tuple(_with_norm(f"conv1_{index}") for index in (1, 2, 3)),),
    prefix=_PREFIX,
    convs=tuple(
        _with_norm(f"bb_{{rank}}_{{index}}.conv{conv}") for conv in (0, 1, 2)
    ),
    shortcuts={"average_pool": _with_norm("bb_{rank}_{index}.short")},
    pyramid=_with_norm("head.psp_module.stages.{index}.1"),
    head=(*_with_norm("head.psp_module.conv_bn_relu2"), "head.conv"),
    aux=(*_with_norm("head.auxlayer.conv_bn_relu"), "head.auxlayer.conv"),
    suffixes=(
        (".weight", ".bias"),
        (".weight", ".bias", "._mean", "._variance"),
    ),
    ignored="(?!)",
)


def is_paddleseg(tensors: Mapping[str, Any]) -> bool:
    """Returns whether the tensors have the names of a PaddleSeg PSPNet."""
    return any(name.startswith("head.psp_module.") for name in tensors)


def convert_paddleseg(tensors: Mapping[str, Any]) -> Converted:
    """Converts a PaddleSeg PSPNet to bins 1, 2, 3, 6, without biases.

    Args:
        tensors: The `state_dict`.

    Returns:
        The network.

    Raises:
        ValueError: If it is another network.
    """
    converted = TABLE.convert(_without_biases(tensors))
    backbone = converted.config["backbone"]
    if f"{_PREFIX}bb_0_0.conv2._conv.weight" not in tensors:
        # PaddleSeg dilates both convolutions of a basic block; this package
        # and mmsegmentation only the first. No such PSPNet is published.
        raise ValueError(
            "`source` must have bottleneck blocks, like PaddleSeg's "
            f"ResNet50_vd. Received: the basic blocks of a {backbone}"
        )
    to_rising_bins(converted.arrays)
    return converted.with_config(
        contract_dilation=False,
        stride_on="3x3",
        align_corners=False,
        mean=HALF,
        std=HALF,
        labels=published_labels(converted.config["num_classes"]),
    )


def _without_biases(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Subtracts biases of convolutions from the means that follow them.

    (x + bias) - mean equals x - (mean - bias) up to rounding.
    """
    found = dict(tensors)
    for name, bias in tensors.items():
        if not name.endswith(_BIAS):
            continue
        target = name.removesuffix(_BIAS) + _MEAN
        mean = tensors.get(target)
        # `convert_layers` reports anything else as unexpected.
        if mean is None or mean.shape != bias.shape:
            continue
        if mean.dtype.kind == bias.dtype.kind == "f":
            # `fill` reports values that are not finite.
            with np.errstate(all="ignore"):
                found[target] = mean - bias
            del found[name]
    return found
