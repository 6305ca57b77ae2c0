"""The original PSPNet models, in Caffe.

Geometry, by the published prototxt files: stem of 64, 64, 128, every block of
a dilated stage dilated alike, corner-aligned resizing, pyramid maps in the
order 6, 3, 2, 1, pictures in BGR minus their mean. The ResNet-50 of ADE20K
has its strides on the first 1x1, the ResNet-101s of VOC and Cityscapes on the
3x3: mixing these up costs 17 points of mIoU on Cityscapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_pspnet.backbones import BLOCKS
from keras_pspnet.convert.assign import (
    BIN_SIZES,
    Converted,
    Row,
    conv_row,
    convert_rows,
    vector_row,
)
from keras_pspnet.labels import published_labels

# B, G, R of the prototxt files, here in the order of RGB.
MEAN = (123.68, 116.779, 103.939)
STEM = ("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3")
_PARTS = ("1x1_reduce", "3x3", "1x1_increase")
# The order of the blobs of PSPNet's own BN layer.
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def convert_caffe(layers: Mapping[str, Sequence[np.ndarray]]) -> Converted:
    """Converts a Caffe PSPNet to RGB pictures and bins of 1, 2, 3, 6.

    Args:
        layers: Layer name -> blobs.

    Returns:
        The network, without an auxiliary head: the files have none.

    Raises:
        ValueError: If it is another network.
    """
    # Statistics are (1, C, 1, 1), and so is a bias in the oldest files.
    tensors = {
        f"{name}[{index}]": blob.reshape(-1)
        if index > 0 or name.endswith("/bn")
        else blob
        for name, blobs in layers.items()
        for index, blob in enumerate(blobs)
    }
    depth = _depth(layers)
    rows = [*_backbone_rows(layers, depth), *_head_rows()]
    arrays = convert_rows(tensors, rows, ignored=r"(?!)")
    _to_rgb(arrays)
    _to_rising_bins(arrays)
    num_classes = arrays["head_classifier/bias"].shape[0]
    config = {
        "num_classes": num_classes,
        "backbone": f"resnet{depth}",
        "stem": "deep_wide",
        "width": 1.0,
        "aux": False,
        "contract_dilation": False,
        "stride_on": "1x1" if depth == 50 else "3x3",
        "align_corners": True,
        "mean": MEAN,
        "std": (1.0, 1.0, 1.0),
        "labels": published_labels(num_classes),
    }
    return Converted("caffe", config, arrays)


def _depth(layers: Mapping[str, Any]) -> int:
    pattern = re.compile(r"conv([2-5])_(\d+)_1x1_reduce$")
    found = [
        match.groups() for name in layers if (match := pattern.match(name))
    ]
    counts = tuple(
        sum(stage == str(number) for stage, _ in found)
        for number in (2, 3, 4, 5)
    )
    for depth in (50, 101, 152, 269):
        if BLOCKS[depth] == counts:
            return depth
    raise ValueError(
        "`source` must have the layers of a PSPNet. "
        f"Received: {counts} bottleneck blocks in conv2 to conv5"
    )


def _conv_bn_rows(source: str, name: str) -> Iterator[Row]:
    yield conv_row(f"{source}[0]", f"{name}_conv/kernel")
    for index, kind in enumerate(_BATCH_NORM):
        yield vector_row(f"{source}/bn[{index}]", f"{name}_bn/{kind}")


def _backbone_rows(layers: Mapping[str, Any], depth: int) -> Iterator[Row]:
    for index, source in enumerate(STEM, start=1):
        yield from _conv_bn_rows(source, f"stem{index}")
    for stage, count in enumerate(BLOCKS[depth], start=2):
        for block in range(1, count + 1):
            source = f"conv{stage}_{block}"
            name = f"stage{stage}_block{block}"
            for index, part in enumerate(_PARTS, start=1):
                yield from _conv_bn_rows(f"{source}_{part}", f"{name}_{index}")
            if f"{source}_1x1_proj" in layers:
                yield from _conv_bn_rows(
                    f"{source}_1x1_proj", f"{name}_shortcut"
                )


def _head_rows() -> Iterator[Row]:
    for bins in BIN_SIZES:
        yield from _conv_bn_rows(
            f"conv5_3_pool{bins}_conv", f"head_conv/pyramid/bin{bins}"
        )
    yield from _conv_bn_rows("conv5_4", "head")
    yield conv_row("conv6[0]", "head_classifier/kernel")
    yield vector_row("conv6[1]", "head_classifier/bias")


def _to_rgb(arrays: dict[str, np.ndarray]) -> None:
    """Lets the first kernel take RGB where it took BGR."""
    arrays["stem1_conv/kernel"] = arrays["stem1_conv/kernel"][:, :, ::-1]


def _to_rising_bins(arrays: dict[str, np.ndarray]) -> None:
    """Reorders the head's channels: x, 6, 3, 2, 1 -> x, 1, 2, 3, 6."""
    kernel = arrays["head_conv/kernel"]
    width = arrays["head_conv/pyramid/bin1_conv/kernel"].shape[-1]
    maps = len(BIN_SIZES)
    features = kernel.shape[2] - maps * width
    own, *falling = np.split(
        kernel, [features + width * index for index in range(maps)], axis=2
    )
    arrays["head_conv/kernel"] = np.concatenate([own, *falling[::-1]], axis=2)
