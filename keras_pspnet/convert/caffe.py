"""The original PSPNet models, in Caffe.

Geometry, according to the published prototxt files: stem of 64, 64 and 128
channels, the same dilation in every block of a stage, corner-aligned resizing,
pyramid maps in the order 6, 3, 2, 1, images in BGR minus the mean. The
ResNet-50 of ADE20K has its strides on the first 1x1, the ResNet-101s of VOC and
Cityscapes on the 3x3: confusing them costs 17 points of mIoU on Cityscapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_pspnet.convert.assign import Converted
from keras_pspnet.convert.name_table import NameTable, to_rising_bins
from keras_pspnet.labels import published_labels

# B, G, R in the prototxt files; R, G, B here.
MEAN = (123.68, 116.779, 103.939)


def _with_norm(conv: str) -> tuple[str, str]:
    return conv, f"{conv}/bn"


TABLE = NameTable(
    "caffe",
    stems=(
        tuple(
            map(_with_norm, ("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3"))
        ),
    ),
    convs=tuple(
        _with_norm(f"conv{{stage}}_{{block}}_{part}")
        for part in ("1x1_reduce", "3x3", "1x1_increase")
    ),
    shortcuts={"conv": _with_norm("conv{stage}_{block}_1x1_proj")},
    pyramid=_with_norm("conv5_3_pool{bins}_conv"),
    head=(*_with_norm("conv5_4"), "conv6"),
    # Blobs of a layer. PSPNet's own BN layer has this order as well.
    suffixes=(("[0]", "[1]"), ("[0]", "[1]", "[2]", "[3]")),
    ignored="(?!)",
)


def convert_caffe(layers: Mapping[str, Sequence[np.ndarray]]) -> Converted:
    """Converts a Caffe PSPNet to RGB images and bins in the order 1, 2, 3, 6.

    Args:
        layers: Layer name -> blobs.

    Returns:
        The network. The files have no auxiliary head.

    Raises:
        ValueError: If it is another network.
    """
    # Statistics have shape (1, C, 1, 1); biases in the oldest files, too.
    tensors = {
        f"{name}[{index}]": blob.reshape(-1)
        if index > 0 or name.endswith("/bn")
        else blob
        for name, blobs in layers.items()
        for index, blob in enumerate(blobs)
    }
    converted = TABLE.convert(tensors)
    _to_rgb(converted.arrays)
    to_rising_bins(converted.arrays)
    return converted.with_config(
        contract_dilation=False,
        stride_on="1x1"
        if converted.config["backbone"] == "resnet50"
        else "3x3",
        align_corners=True,
        mean=MEAN,
        std=(1.0, 1.0, 1.0),
        labels=published_labels(converted.config["num_classes"]),
    )


def _to_rgb(arrays: dict[str, np.ndarray]) -> None:
    """Changes the input of the first kernel from BGR to RGB."""
    arrays["stem1_conv/kernel"] = arrays["stem1_conv/kernel"][:, :, ::-1]
