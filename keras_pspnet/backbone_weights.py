"""Starts a backbone from weights that were trained on ImageNet."""

from __future__ import annotations

import os
from typing import Any

from keras_pspnet.convert.assign import fill
from keras_pspnet.convert.source import convert_source
from keras_pspnet.download import cache_folder, download
from keras_pspnet.presets import find_backbone_weights

IMAGENET = "imagenet"


def backbone_file(
    source: str | os.PathLike[str], backbone: str, stem: str
) -> str | os.PathLike[str]:
    """Finds, and downloads where it must, a file of backbone weights.

    Args:
        source: `"imagenet"`, or a file of the user's.
        backbone: As `PSPNet` names it.
        stem: As `PSPNet` names it.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be downloaded.
        ValueError: If nobody publishes weights of this backbone and stem.
    """
    if source != IMAGENET:
        return source
    row = find_backbone_weights(backbone, stem)
    return download(row.url, cache_folder() / "downloads", row.sha256)


def load_backbone(
    network: Any,
    source: str | os.PathLike[str],
    expected: dict[str, Any],
) -> None:
    """Fills a backbone from a file.

    Args:
        network: The `DilatedResNet`.
        source: The file: mmcv's or timm's ResNet, as `.pth` or
            `.safetensors`.
        expected: `backbone`, `stem` and `width` of the network.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds another network.
    """
    converted = convert_source(source)
    found = {key: converted.config[key] for key in expected}
    if converted.source != IMAGENET or found != expected:
        raise ValueError(
            f"`backbone_weights` must be those of {expected}. Received: "
            f"{os.fspath(source)!r} of {found} ({converted.source})"
        )
    fill(network.weights, converted.arrays)
