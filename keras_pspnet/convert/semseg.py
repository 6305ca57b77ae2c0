"""Checkpoints of hszhao/semseg's PSPNet, the authors' own in PyTorch.

Geometry, according to its code: stem of 64, 64 and 128 channels, stride on the
3x3, the same dilation in every block of a stage, corner-aligned resizing,
ImageNet's mean and standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_pspnet.convert.assign import Converted
from keras_pspnet.convert.name_table import NameTable
from keras_pspnet.labels import published_labels

STEM = tuple((f"layer0.{index}", f"layer0.{index + 1}") for index in (0, 3, 6))
TABLE = NameTable(
    "semseg",
    stems=(STEM,),
    pyramid=("ppm.features.{index}.1", "ppm.features.{index}.2"),
    head=("cls.0", "cls.1", "cls.4"),
    aux=("aux.0", "aux.1", "aux.4"),
)


def is_semseg(tensors: Mapping[str, Any]) -> bool:
    """Returns whether the tensors have the names of a semseg PSPNet."""
    return any(name.startswith("ppm.features.") for name in tensors)


def convert_semseg(tensors: Mapping[str, Any]) -> Converted:
    """Converts a semseg PSPNet.

    Args:
        tensors: The `state_dict`, without the prefix `module.`.

    Returns:
        The network.

    Raises:
        ValueError: If it is another network.
    """
    converted = TABLE.convert(tensors)
    return converted.with_config(
        contract_dilation=False,
        stride_on="3x3",
        align_corners=True,
        labels=published_labels(converted.config["num_classes"]),
    )
