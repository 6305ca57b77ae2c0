"""Images that set the ranges of int8 values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_pspnet.data import Source, read_image
from keras_pspnet.inference import fill_color, fit_inside, num_bands, shrink
from keras_pspnet.inference.segment import MAX_SIDE
from keras_pspnet.utils.plausibility import ImageRange, warn

# With fewer, single images decide the ranges.
_FEW = 8


def check_calibration(calibration: Sequence[Source], precision: str) -> None:
    """Refuses int8 without images, and images without int8.

    Args:
        calibration: See `export_litert` and `export_onnx`.
        precision: Likewise.

    Raises:
        TypeError: If `calibration` is not a sequence.
        ValueError: If it is empty for int8, or not empty otherwise.
    """
    if isinstance(calibration, str | bytes | os.PathLike) or not hasattr(
        calibration, "__len__"
    ):
        raise TypeError(
            "`calibration` must be a sequence of images. "
            f"Received: calibration of type {type(calibration).__name__}"
        )
    if (precision == "int8") != bool(len(calibration)):
        raise ValueError(
            "`calibration` must hold images for precision='int8' and be empty "
            f"otherwise. Received: {len(calibration)} images, "
            f"precision={precision!r}"
        )


def warn_of_few(calibration: Sequence[Source]) -> None:
    """Warns if there are so few images that single ones decide the ranges.

    Args:
        calibration: See `check_calibration`.
    """
    if 0 < len(calibration) < _FEW:
        warn(
            "`calibration` should hold a few dozen typical images, from which "
            f"int8 takes its ranges. Received: {len(calibration)} images"
        )


def calibration_images(
    model: keras.Model,
    calibration: Sequence[Source],
    size: tuple[int, int] | None,
    values: ImageRange | None = None,
) -> Iterator[np.ndarray]:
    """Reads images one at a time, in the form that the network takes.

    Args:
        model: The model.
        calibration: Paths, bytes or arrays.
        size: (height, width) to fit the images into; None only downscales
            long ones.
        values: If given, counts the images.

    Yields:
        float32 (1, H, W, bands).
    """
    fill, bands = fill_color(model), num_bands(model)
    for each in calibration:
        image = np.asarray(read_image(each, bands=bands), "float32")
        if values is not None:
            values.add(image)
        if size is None:
            image = shrink(image, MAX_SIDE)
        image = np.asarray(image, "float32")[None]
        yield image if size is None else fit_inside(image, size, fill)[0]
