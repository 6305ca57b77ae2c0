"""Recognizes the source of a file and converts it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from keras_pspnet.convert.assign import Converted
from keras_pspnet.convert.caffe import convert_caffe
from keras_pspnet.convert.caffe_file import read_caffe_file
from keras_pspnet.convert.efficientnet_lite import (
    convert_efficientnet_lite,
    is_efficientnet_lite,
)
from keras_pspnet.convert.imagenet import convert_backbone, is_backbone
from keras_pspnet.convert.mmseg import convert_mmseg, is_mmseg
from keras_pspnet.convert.paddle_file import is_paddle_file, read_paddle_file
from keras_pspnet.convert.paddleseg import convert_paddleseg, is_paddleseg
from keras_pspnet.convert.semseg import convert_semseg, is_semseg
from keras_pspnet.convert.torch_file import is_torch_file, read_torch_file

# Files with these names get the error of the reader for their kind.
_TORCH = (".pth", ".pt")
_CAFFE = (".caffemodel", ".prototxt")
_PADDLE = (".pdparams",)
# Keys under which training scripts store the weights.
_STATE_KEYS = ("state_dict", "model", "model_state_dict")


def convert_source(path: str | os.PathLike[str]) -> Converted:
    """Reads a file of another framework and converts the network in it.

    Args:
        path: A PyTorch checkpoint of mmsegmentation's or semseg's PSPNet or
            of a ResNet or EfficientNet-Lite0 for ImageNet (mmcv, timm,
            efficientnet_lite_pytorch; also as safetensors), PaddleSeg's
            `.pdparams`, or an original `.caffemodel`. The content decides,
            not the name.

    Returns:
        The network. Arrays may be views of the file, which must not change
        while they are in use.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, or holds another format or network.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"`path` must be an existing file. Received: path={str(path)!r}"
        )
    meta: Mapping[str, Any] = {}
    try:
        if path.suffix == ".safetensors":
            tensors = _read_safetensors(path)
        elif is_torch_file(path):
            tensors, meta = _read_torch(path)
        elif is_paddle_file(path) or path.suffix in _PADDLE:
            tensors = read_paddle_file(path)
        elif path.suffix in _TORCH:
            tensors, meta = _read_torch(path)
        else:
            return convert_caffe(_read_caffe(path))
        if is_mmseg(tensors):
            return convert_mmseg(tensors, meta)
        if is_semseg(tensors):
            return convert_semseg(tensors)
        if is_paddleseg(tensors):
            return convert_paddleseg(tensors)
        if is_backbone(tensors):
            return convert_backbone(tensors)
        if is_efficientnet_lite(tensors):
            return convert_efficientnet_lite(tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    names = ", ".join(sorted(tensors)[:5])
    raise ValueError(
        "`path` must hold a PSPNet of mmsegmentation, semseg, PaddleSeg or "
        "Caffe, or a ResNet or EfficientNet-Lite0 for ImageNet. Received: "
        f"{str(path)!r} with the tensors "
        f"{names or '(none)'}, ..."
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    # Types that NumPy lacks raise an AttributeError.
    except (safetensors.SafetensorError, AttributeError) as error:
        raise ValueError(
            f"`path` must be a valid safetensors file: {error}. "
            f"Received: {str(path)!r}"
        ) from error


def _read_caffe(path: Path) -> dict[str, list[np.ndarray]]:
    try:
        return read_caffe_file(path)
    except ValueError as error:
        if path.suffix in _CAFFE:
            raise
        raise ValueError(
            "`path` must be a PyTorch checkpoint, a .pdparams, a .caffemodel "
            f"or a .safetensors file. Received: path={str(path)!r}"
        ) from error


def _read_torch(path: Path) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """Reads the state dict of a file, and its `meta`."""
    content = read_torch_file(path)
    if not isinstance(content, Mapping):
        return {}, {}
    inner = {
        key: value
        for key, value in content.items()
        if isinstance(value, Mapping)
    }
    state = next((inner[key] for key in _STATE_KEYS if key in inner), content)
    tensors: dict[str, np.ndarray] = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            # DataParallel adds a prefix to every name.
            plain = str(name).removeprefix("module.")
            if plain in tensors:
                raise ValueError(
                    "`path` must name every tensor once. Received: two of "
                    f"{plain!r}"
                )
            tensors[plain] = value
    return tensors, inner.get("meta", {})
