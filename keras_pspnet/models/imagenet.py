"""Loads ImageNet weights into a backbone."""

from __future__ import annotations

import os
from typing import Any

from keras_pspnet.convert import convert_source, fill, with_bands
from keras_pspnet.presets import find_backbone_weights
from keras_pspnet.utils import cache_folder
from keras_pspnet.utils.download import download

IMAGENET = "imagenet"


def load_backbone(network: Any, source: str | os.PathLike[str]) -> None:
    """Loads weights into a backbone, and downloads them if necessary.

    Args:
        network: The `DilatedResNet`, with the name that `PSPNet` gives it.
        source: `"imagenet"`, or a file: mmcv's or timm's ResNet, as `.pth`
            or `.safetensors`.

    Raises:
        OSError: If the file does not exist, or cannot be downloaded or read.
        ValueError: If the file holds another network, or no weights are
            published for such a backbone.
    """
    backbone, stem = network.name, network.stem
    width, stride_on = network.width, network.stride_on
    shortcut = network.shortcut
    if source != IMAGENET and not os.path.isfile(source):
        raise FileNotFoundError(
            "`backbone_weights` must be 'imagenet' or an existing file. "
            f"Received: backbone_weights={os.fspath(source)!r}"
        )
    if source == IMAGENET:
        row = find_backbone_weights(backbone, stem, shortcut)
        if (width, stride_on) != (1, "3x3"):
            raise ValueError(
                "`backbone_weights` must be None or a file unless width=1 and "
                "stride_on='3x3', which the published weights have. "
                f"Received: width={width!r}, stride_on={stride_on!r}"
            )
        source = download(row.url, cache_folder() / "downloads", row.sha256)
    converted = convert_source(source)
    names = ("backbone", "stem", "shortcut")
    found = tuple(converted.config[name] for name in names)
    if converted.source != IMAGENET or found != (backbone, stem, shortcut):
        raise ValueError(
            f"`backbone_weights` must be those of a {backbone} with "
            f"stem={stem!r} and shortcut={shortcut!r}. "
            f"Received: {os.fspath(source)!r} of {found[0]} with "
            f"stem={found[1]!r}, shortcut={found[2]!r} ({converted.source})"
        )
    arrays = with_bands(converted.arrays, network.input_shape[-1])
    fill(network.weights, arrays)
