"""Builds models from the files of other frameworks."""

from __future__ import annotations

import os
from typing import Any

from keras_pspnet.convert import convert_source, fill, with_bands
from keras_pspnet.models import PSPNet

# Arguments of PSPNet that a file of another framework may not record.
GEOMETRY = (
    "output_stride",
    "contract_dilation",
    "stride_on",
    "align_corners",
    "bin_sizes",
    "mean",
    "std",
)


def convert_file(path: str | os.PathLike[str], **config: Any) -> PSPNet:
    """Builds a model from a file of another framework.

    Args:
        path: mmsegmentation's or semseg's `.pth`, PaddleSeg's `.pdparams`, or
            an original `.caffemodel`. The source is recognized from the file.
        **config: Arguments of `PSPNet` that override the file and the
            defaults of its source: `labels`, `output_stride`,
            `contract_dilation`, `stride_on`, `align_corners`, `bin_sizes`,
            `mean`, `std` and `input_shape`. For other than 3 bands, the first
            kernel is adapted with `keras_pspnet.convert.adapt_first_kernel`.

    Returns:
        The model, with the auxiliary head if the file has one.

    Raises:
        OSError: If the file cannot be read.
        TypeError: If `config` has an entry that is no argument of `PSPNet`.
        ValueError: If the file is damaged or of another network.

    Examples:
        >>> model = kp.convert_file("pspnet.pth")
        >>> model.labels.names[15]  # 21 classes are those of PASCAL VOC
        'person'
        >>> kp.save_pretrained(model, "my_voc")
    """
    converted = convert_source(path)
    if "num_classes" not in converted.config:
        raise ValueError(
            "`path` must hold a whole PSPNet; PSPNet(backbone_weights=) takes "
            f"backbones. Received: path={os.fspath(path)!r}"
        )
    model = PSPNet(**(converted.config | config))
    try:
        arrays = with_bands(converted.arrays, model.input_shape[-1])
        fill(model.weights, arrays)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    return model
