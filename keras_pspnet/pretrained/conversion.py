"""Models from the files of other frameworks."""

from __future__ import annotations

import os
from typing import Any

from keras_pspnet.convert import convert_source, fill
from keras_pspnet.models import PSPNet

# Arguments of PSPNet that a file of another framework cannot tell for sure.
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
    """Builds the network of another framework's file.

    Args:
        path: mmsegmentation's or semseg's `.pth`, or an original
            `.caffemodel`; which one is recognised from the file.
        **config: Arguments of `PSPNet` that override what that source is
            known for, or the file says: `labels`, `output_stride`,
            `contract_dilation`, `stride_on`, `align_corners`, `bin_sizes`,
            `mean`, `std`.

    Returns:
        The network, with the auxiliary head if the file has one.

    Raises:
        OSError: If the file cannot be read.
        TypeError: If `config` has what is no argument of `PSPNet`.
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
        fill(model.weights, converted.arrays)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    return model
