"""Checkpoints of mmsegmentation's PSPNet.

Geometry: half the dilation in the first block of a dilated stage; ImageNet's
mean and standard deviation. The configuration inside the file says the rest,
which the tensors cannot show. Without one, it is that of most published files:
output stride 8, stride on the 3x3, bins of 1, 2, 3, 6, half-pixel resizing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from keras_pspnet.convert.assign import Converted
from keras_pspnet.convert.name_table import (
    BIN_SIZES,
    DEEP_STEM,
    PLAIN_STEM,
    NameTable,
)
from keras_pspnet.labels import LabelSet, generic_labels, published_labels

_PYRAMID = "decode_head.psp_modules.{index}.1"
_AUX = "auxiliary_head.convs.0"
TABLE = NameTable(
    "mmseg",
    stems=(DEEP_STEM, PLAIN_STEM),
    prefix="backbone.",
    pyramid=(f"{_PYRAMID}.conv", f"{_PYRAMID}.bn"),
    head=(
        "decode_head.bottleneck.conv",
        "decode_head.bottleneck.bn",
        "decode_head.conv_seg",
    ),
    aux=(f"{_AUX}.conv", f"{_AUX}.bn", "auxiliary_head.conv_seg"),
)
_OUTPUT_STRIDES = {(1, 2, 1, 1): 8, (1, 2, 2, 1): 16, (1, 2, 2, 2): 32}


def is_mmseg(tensors: Mapping[str, Any]) -> bool:
    """Returns whether the tensors have the names of mmsegmentation."""
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
    converted = TABLE.convert(tensors)
    return converted.with_config(
        contract_dilation=True,
        **_geometry(meta),
        labels=_labels(meta, converted.config["num_classes"]),
    )


def _geometry(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the geometry from the configuration inside the file."""
    # Versions 0.x and 1.x.
    found = (meta.get("config"), meta.get("cfg"))
    text = next((each for each in found if isinstance(each, str)), "")
    strides = _tuple_in(text, "strides") or (1, 2, 1, 1)
    if strides not in _OUTPUT_STRIDES:
        raise ValueError(
            "`source` must have strides of "
            f"{' or '.join(map(str, _OUTPUT_STRIDES))}. "
            f"Received: strides={strides} in its configuration"
        )
    bin_sizes = _tuple_in(text, "pool_scales") or BIN_SIZES
    if len(bin_sizes) != len(BIN_SIZES):
        raise ValueError(
            f"`source` must have {len(BIN_SIZES)} pyramid maps. "
            f"Received: pool_scales={bin_sizes} in its configuration"
        )
    caffe_style = re.search(r"style\s*=\s*['\"]caffe['\"]", text)
    return {
        "output_stride": _OUTPUT_STRIDES[strides],
        "stride_on": "1x1" if caffe_style else "3x3",
        "bin_sizes": bin_sizes,
        "align_corners": bool(re.search(r"align_corners\s*=\s*True", text)),
    }


def _tuple_in(text: str, name: str) -> tuple[int, ...]:
    pattern = rf"\b{name}\s*=\s*[\[(]([\d,\s]{{1,99}})[\])]"
    match = re.search(pattern, text)
    return tuple(map(int, re.findall(r"\d+", match[1]))) if match else ()


def _labels(meta: Mapping[str, Any], num_classes: int) -> LabelSet | None:
    """Reads the class names in the file, or infers them from their number."""
    inner = meta.get("dataset_meta")
    found = inner if isinstance(inner, Mapping) else meta
    entries = {str(key).lower(): value for key, value in found.items()}
    known = published_labels(num_classes)
    if entries.get("classes") is None:
        return known
    try:
        names = tuple(entries["classes"])
        if known is not None and names == known.names:
            return known
        labels = LabelSet("mmseg", names, generic_labels(num_classes).colors)
    except (TypeError, ValueError):
        # Wrong names would be worse than none.
        return None
    try:
        palette: Any = entries.get("palette")
        colors = tuple((int(r), int(g), int(b)) for r, g, b in palette)
        return dataclasses.replace(labels, colors=colors)
    except (OverflowError, TypeError, ValueError):
        return labels
