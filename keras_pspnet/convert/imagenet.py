"""Backbones that were trained on ImageNet: mmcv's and timm's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_pspnet.convert.assign import Converted, convert_rows
from keras_pspnet.convert.torch_resnet import (
    COUNTERS,
    backbone_config,
    residual_rows,
    stem_rows,
)

MMCV_STEM = tuple((f"stem.{index}", f"stem.{index + 1}") for index in (0, 3, 6))
TIMM_STEM = (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1"))
PLAIN_STEM = (("conv1", "bn1"),)
# The classifier of the thousand classes is left behind.
_IGNORED = rf"{COUNTERS}|^fc\.(weight|bias)$"


def is_backbone(tensors: Mapping[str, Any]) -> bool:
    """Returns whether these are the names of a ResNet for ImageNet."""
    return "layer1.0.conv1.weight" in tensors and not any(
        name.startswith(("ppm.", "cls.")) for name in tensors
    )


def convert_backbone(tensors: Mapping[str, Any]) -> Converted:
    """Converts a ResNet with a deep or a 7x7 stem.

    Args:
        tensors: The `state_dict`.

    Returns:
        The network; `config` has `backbone`, `stem` and `width` alone.

    Raises:
        ValueError: If it is another network.
    """
    if "stem.0.weight" in tensors:
        stem: Any = MMCV_STEM
    elif "conv1.0.weight" in tensors:
        stem = TIMM_STEM
    else:
        stem = PLAIN_STEM
    config = backbone_config(tensors, [f"{conv}.weight" for conv, _ in stem])
    depth = int(config["backbone"].removeprefix("resnet"))
    rows = [*stem_rows(stem), *residual_rows(tensors, depth)]
    return Converted("imagenet", config, convert_rows(tensors, rows, _IGNORED))
