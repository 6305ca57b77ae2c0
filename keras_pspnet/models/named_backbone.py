"""Backbones by name: their networks, and the images that they expect."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from keras_pspnet.backbones import (
    BLOCKS,
    LITE,
    DilatedResNet,
    efficientnet_lite0,
)
from keras_pspnet.utils.arguments import check_rule, finite_numbers

BACKBONES = (*(f"resnet{depth}" for depth in BLOCKS), LITE)
# Means and standard deviations of ImageNet in units of 0..255, R, G, B: what
# the published weights of torch's and mmsegmentation's backbones expect.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
# TensorFlow's, which suit integers.
_LITE_MEAN, _LITE_STD = (127.0,) * 3, (128.0,) * 3


def named_backbone(
    name: str,
    input_shape: tuple[int | None, int | None, int],
    output_stride: int,
    width: float,
    **resnet: Any,
) -> keras.Model:
    """Builds a backbone.

    Args:
        name: One of `BACKBONES`.
        input_shape: See `PSPNet`.
        output_stride: See `PSPNet`.
        width: See `PSPNet`.
        **resnet: Arguments of `DilatedResNet`; another backbone has no such
            choices.

    Raises:
        ValueError: If a value is out of range, or has no effect.
    """
    if name != LITE:
        depth = int(name.removeprefix("resnet"))
        resnet |= {"output_stride": output_stride, "width": width}
        return DilatedResNet(depth, input_shape, name=name, **resnet)
    for argument, value in resnet.items():
        default = inspect.signature(DilatedResNet).parameters[argument].default
        rule = f"be {default!r} for backbone={name!r}: it is for ResNets"
        check_rule(argument, value, rule, value == default)
    return efficientnet_lite0(input_shape, output_stride, width)


def default_normalization(
    backbone: Any,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of R, G, B for a backbone.

    Args:
        backbone: As of `PSPNet`.
    """
    is_lite = isinstance(backbone, str) and backbone == LITE
    return (_LITE_MEAN, _LITE_STD) if is_lite else (IMAGENET_MEAN, IMAGENET_STD)


def normalization(
    backbone: Any, bands: int, mean: Any, std: Any
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each band.

    Args:
        backbone: As of `PSPNet`.
        bands: Bands of the images.
        mean: As of `PSPNet`; None is the backbone's default.
        std: Likewise.

    Raises:
        ValueError: If there is not a number for each band.
    """
    found = []
    defaults = default_normalization(backbone)
    given = zip(("mean", "std"), (mean, std), defaults, strict=True)
    for name, values, default in given:
        if values is None and bands in (1, 3):
            values = default if bands == 3 else (sum(default) / 3,)
        numbers = finite_numbers(values)
        rule = f"hold a number for each of the {bands} bands of `input_shape`"
        rule += " (keras_pspnet.data.band_statistics measures them)"
        check_rule(name, values, rule, len(numbers) == bands)
        found.append(numbers)
    return found[0], found[1]
