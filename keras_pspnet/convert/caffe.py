"""The original PSPNet models, in Caffe.

Geometry, by the published prototxt files: stem of 64, 64, 128, every block of
a dilated stage dilated alike, corner-aligned resizing, pyramid maps in the
order 6, 3, 2, 1, images in BGR minus their mean. The ResNet-50 of ADE20K
has its strides on the first 1x1, the ResNet-101s of VOC and Cityscapes on the
3x3: mixing these up costs 17 points of mIoU on Cityscapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_pspnet.convert.assign import Converted
from keras_pspnet.convert.name_table import NameTable, to_rising_bins
from keras_pspnet.labels import published_labels

# B, G, R of the prototxt files, here in the order of RGB.
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
    # A layer's blobs; those of PSPNet's own BN layer are in this order, too.
    suffixes=(("[0]", "[1]"), ("[0]", "[1]", "[2]", "[3]")),
    ignored="(?!)",
)


def convert_caffe(layers: Mapping[str, Sequence[np.ndarray]]) -> Converted:
    """Converts a Caffe PSPNet to RGB images and bins of 1, 2, 3, 6.

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
    """Lets the first kernel take RGB where it took BGR."""
    arrays["stem1_conv/kernel"] = arrays["stem1_conv/kernel"][:, :, ::-1]
