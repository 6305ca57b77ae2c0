"""Backbones trained on ImageNet, in files of mmcv and timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_pspnet.convert.assign import Converted
from keras_pspnet.convert.name_table import DEEP_STEM, PLAIN_STEM, NameTable

TIMM_STEM = (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1"))
TABLE = NameTable(
    "imagenet",
    stems=(DEEP_STEM, TIMM_STEM, PLAIN_STEM),
    # Ignores the classifier of the 1000 classes, too.
    ignored=rf"{NameTable.ignored}|^fc\.(weight|bias)$",
)


def is_backbone(tensors: Mapping[str, Any]) -> bool:
    """Returns whether the tensors have the names of a ResNet in PyTorch."""
    return "layer1.0.conv1.weight" in tensors


def convert_backbone(tensors: Mapping[str, Any]) -> Converted:
    """Converts a ResNet with a deep or a 7x7 stem.

    Args:
        tensors: The `state_dict`.

    Returns:
        The network.

    Raises:
        ValueError: If it is another network.
    """
    return TABLE.convert(tensors)
