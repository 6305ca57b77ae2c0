"""Checkpoints of hszhao/semseg's PSPNet, the authors' own in PyTorch.

Geometry, by its code: stem of 64, 64, 128, stride on the 3x3, every block of
a dilated stage dilated alike, corner-aligned resizing, ImageNet's mean and
deviation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_pspnet.convert.assign import (
    BIN_SIZES,
    Converted,
    Row,
    conv_row,
    convert_rows,
)
from keras_pspnet.convert.torch_resnet import (
    COUNTERS,
    backbone_config,
    batch_norm_rows,
    classifier_rows,
    residual_rows,
    stem_rows,
)
from keras_pspnet.labels import published_labels

STEM = tuple((f"layer0.{index}", f"layer0.{index + 1}") for index in (0, 3, 6))


def is_semseg(tensors: Mapping[str, Any]) -> bool:
    """Returns whether these are the names of a semseg PSPNet."""
    return any(name.startswith("ppm.features.") for name in tensors)


def convert_semseg(tensors: Mapping[str, Any]) -> Converted:
    """Converts a semseg PSPNet.

    Args:
        tensors: The `state_dict`, without the `module.` of its wrapper.

    Returns:
        The network.

    Raises:
        ValueError: If it is another network.
    """
    config = backbone_config(tensors, [f"{conv}.weight" for conv, _ in STEM])
    depth = int(config["backbone"].removeprefix("resnet"))
    aux = any(name.startswith("aux.") for name in tensors)
    rows = [
        *stem_rows(STEM),
        *residual_rows(tensors, depth),
        *_pyramid_rows(),
        *_head_rows("cls", "head"),
        *(_head_rows("aux", "aux") if aux else ()),
    ]
    arrays = convert_rows(tensors, rows, COUNTERS)
    num_classes = arrays["head_classifier/bias"].shape[0]
    config |= {
        "num_classes": num_classes,
        "aux": aux,
        "contract_dilation": False,
        "stride_on": "3x3",
        "align_corners": True,
        "labels": published_labels(num_classes),
    }
    return Converted("semseg", config, arrays)


def _pyramid_rows() -> Iterator[Row]:
    for index, bins in enumerate(BIN_SIZES):
        source = f"ppm.features.{index}"
        name = f"head_conv/pyramid/bin{bins}"
        yield conv_row(f"{source}.1.weight", f"{name}_conv/kernel")
        yield from batch_norm_rows(f"{source}.2", f"{name}_bn")


def _head_rows(source: str, name: str) -> Iterator[Row]:
    yield conv_row(f"{source}.0.weight", f"{name}_conv/kernel")
    yield from batch_norm_rows(f"{source}.1", f"{name}_bn")
    yield from classifier_rows(f"{source}.4", f"{name}_classifier")
