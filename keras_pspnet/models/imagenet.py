"""Starts a backbone from weights that were trained on ImageNet."""

from __future__ import annotations

import os
from typing import Any

from keras_pspnet.convert import convert_source, fill
from keras_pspnet.presets import find_backbone_weights
from keras_pspnet.utils import cache_folder
from keras_pspnet.utils.download import download

IMAGENET = "imagenet"


def check_backbone_source(
    source: str | os.PathLike[str],
    backbone: str,
    stem: str,
    width: float,
    stride_on: str,
) -> None:
    """Checks, before a network is built, that its weights can be had.

    Args:
        source: `"imagenet"`, or a file of the user's.
        backbone: As `PSPNet` names it.
        stem: As `PSPNet` names it.
        width: As `PSPNet` has it.
        stride_on: As `PSPNet` names it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If nobody publishes weights of such a backbone.
    """
    if source != IMAGENET:
        if not os.path.isfile(source):
            raise FileNotFoundError(
                "`backbone_weights` must be 'imagenet' or an existing file. "
                f"Received: backbone_weights={os.fspath(source)!r}"
            )
        return
    find_backbone_weights(backbone, stem)
    if width != 1 or stride_on != "3x3":
        raise ValueError(
            "`backbone_weights` must be None or a file unless width=1 and "
            "stride_on='3x3', which the published weights have. "
            f"Received: width={width!r}, stride_on={stride_on!r}"
        )


def load_backbone(
    network: Any,
    source: str | os.PathLike[str],
    backbone: str,
    stem: str,
) -> None:
    """Fills a backbone, downloading its weights where it must.

    Args:
        network: The `DilatedResNet`.
        source: `"imagenet"`, or a file: mmcv's or timm's ResNet, as `.pth`
            or `.safetensors`.
        backbone: As `PSPNet` names it.
        stem: As `PSPNet` names it.

    Raises:
        OSError: If the file cannot be downloaded or read.
        ValueError: If it holds another network.
    """
    if source == IMAGENET:
        row = find_backbone_weights(backbone, stem)
        source = download(row.url, cache_folder() / "downloads", row.sha256)
    converted = convert_source(source)
    found = (converted.config["backbone"], converted.config["stem"])
    if converted.source != IMAGENET or found != (backbone, stem):
        raise ValueError(
            f"`backbone_weights` must be those of a {backbone} with the stem "
            f"{stem!r}. Received: {os.fspath(source)!r} of {found[0]} with "
            f"{found[1]!r} ({converted.source})"
        )
    fill(network.weights, converted.arrays)
