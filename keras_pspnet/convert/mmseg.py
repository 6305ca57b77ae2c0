"""Checkpoints of mmsegmentation's PSPNet.

Geometry, by the published configurations: stride on the 3x3, first block of a
dilated stage at half the dilation, half-pixel resizing (corner-aligned for
the crops of 769, which the configuration inside the file says), ImageNet's
mean and deviation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from keras_pspnet.convert.assign import Converted, Row, conv_row, convert_rows
from keras_pspnet.convert.torch_resnet import (
    COUNTERS,
    backbone_config,
    batch_norm_rows,
    classifier_rows,
    residual_rows,
    stem_rows,
)
from keras_pspnet.labels import LabelSet, published_labels

DEEP_STEM = tuple(
    (f"backbone.stem.{index}", f"backbone.stem.{index + 1}")
    for index in (0, 3, 6)
)
PLAIN_STEM = (("backbone.conv1", "backbone.bn1"),)
_BIN_SIZES = (1, 2, 3, 6)


def is_mmseg(tensors: Mapping[str, Any]) -> bool:
    """Returns whether these are the names of an mmsegmentation model."""
    return any(name.startswith("decode_head.") for name in tensors)


def convert_mmseg(
    tensors: Mapping[str, Any], meta: Mapping[str, Any]
) -> Converted:
    """Converts an mmsegmentation PSPNet.

    Args:
        tensors: The `state_dict` of the checkpoint.
        meta: The `meta` of the checkpoint; may be empty.

    Returns:
        The network.

    Raises:
        ValueError: If it is another network.
    """
    deep = "backbone.stem.0.weight" in tensors
    stem = DEEP_STEM if deep else PLAIN_STEM
    config = backbone_config(
        tensors, [f"{conv}.weight" for conv, _ in stem], "backbone."
    )
    depth = int(config["backbone"].removeprefix("resnet"))
    aux = any(name.startswith("auxiliary_head.") for name in tensors)
    rows = [
        *stem_rows(stem),
        *residual_rows(tensors, depth, "backbone."),
        *_head_rows(),
        *(_aux_rows() if aux else ()),
    ]
    arrays = convert_rows(tensors, rows, COUNTERS)
    num_classes = arrays["head_classifier/bias"].shape[0]
    text = str(meta.get("config") or meta.get("cfg") or "")
    config |= {
        "num_classes": num_classes,
        "aux": aux,
        "contract_dilation": True,
        "stride_on": "3x3",
        "align_corners": bool(re.search(r"align_corners\s*=\s*True", text)),
        "labels": _labels(meta, num_classes),
    }
    return Converted("mmseg", config, arrays)


def _head_rows() -> Iterator[Row]:
    for index, bins in enumerate(_BIN_SIZES):
        source = f"decode_head.psp_modules.{index}.1"
        name = f"head_conv/pyramid/bin{bins}"
        yield conv_row(f"{source}.conv.weight", f"{name}_conv/kernel")
        yield from batch_norm_rows(f"{source}.bn", f"{name}_bn")
    yield conv_row("decode_head.bottleneck.conv.weight", "head_conv/kernel")
    yield from batch_norm_rows("decode_head.bottleneck.bn", "head_bn")
    yield from classifier_rows("decode_head.conv_seg", "head_classifier")


def _aux_rows() -> Iterator[Row]:
    source = "auxiliary_head.convs.0"
    yield conv_row(f"{source}.conv.weight", "aux_conv/kernel")
    yield from batch_norm_rows(f"{source}.bn", "aux_bn")
    yield from classifier_rows("auxiliary_head.conv_seg", "aux_classifier")


def _labels(meta: Mapping[str, Any], num_classes: int) -> LabelSet | None:
    """Reads the class names in the file, or goes by their number."""
    inner = meta.get("dataset_meta")
    found = inner if isinstance(inner, Mapping) else meta
    entries = {str(key).lower(): value for key, value in found.items()}
    known = published_labels(num_classes)
    try:
        labels = LabelSet(
            "mmseg",
            tuple(entries["classes"]),
            tuple(
                (int(red), int(green), int(blue))
                for red, green, blue in entries["palette"]
            ),
        )
    except (KeyError, TypeError, ValueError):
        return known
    if len(labels.names) != num_classes:
        return known
    if known is not None and labels.names == known.names:
        return known
    return labels
