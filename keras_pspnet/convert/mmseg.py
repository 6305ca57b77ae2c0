"""Checkpoints of mmsegmentation's PSPNet.

Geometry: first block of a dilated stage at half the dilation, ImageNet's mean
and deviation, and what the configuration inside the file says of the rest;
where a file has none, what most of the published ones have: output stride 8,
stride on the 3x3, bins of 1, 2, 3, 6, half-pixel resizing. The tensors are the
same whatever it says.
"""

from __future__ import annotations

import re
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
from keras_pspnet.labels import LabelSet, generic_labels, published_labels

DEEP_STEM = tuple(
    (f"backbone.stem.{index}", f"backbone.stem.{index + 1}")
    for index in (0, 3, 6)
)
PLAIN_STEM = (("backbone.conv1", "backbone.bn1"),)
_OUTPUT_STRIDES = {(1, 2, 1, 1): 8, (1, 2, 2, 1): 16, (1, 2, 2, 2): 32}


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
    config |= {
        "num_classes": num_classes,
        "aux": aux,
        "contract_dilation": True,
        **_geometry(meta),
        "labels": _labels(meta, num_classes),
    }
    return Converted("mmseg", config, arrays)


def _head_rows() -> Iterator[Row]:
    for index, bins in enumerate(BIN_SIZES):
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


def _geometry(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the configuration that training has written into the file."""
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
    """Reads the class names in the file, or goes by their number."""
    inner = meta.get("dataset_meta")
    found = inner if isinstance(inner, Mapping) else meta
    entries = {str(key).lower(): value for key, value in found.items()}
    known = published_labels(num_classes)
    if entries.get("classes") is None:
        return known
    colors: Any = entries.get("palette")
    try:
        names = tuple(entries["classes"])
        if known is not None and names == known.names:
            return known
        plain = generic_labels(num_classes).colors
        labels = LabelSet("mmseg", names, plain)
    except (TypeError, ValueError):
        # Another network's names would be worse than none.
        return None
    try:
        colors = tuple((int(r), int(g), int(b)) for r, g, b in colors)
        return LabelSet("mmseg", names, colors)
    except (OverflowError, TypeError, ValueError):
        return labels
