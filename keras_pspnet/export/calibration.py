"""Images from which integers learn their ranges."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_pspnet.data import Source, read_image
from keras_pspnet.inference import fill_color, fit_inside, num_bands, shrink
from keras_pspnet.inference.segment import MAX_SIDE
from keras_pspnet.utils.plausibility import ImageRange, warn

# With less, the ranges are those of single images.
_FEW = 8


def check_calibration(calibration: Sequence[Source], precision: str) -> None:
    """Refuses int8 without images, and images without int8.

    Args:
        calibration: As of `export_litert` and `export_onnx`.
        precision: Likewise.

    Raises:
        TypeError: If it is no sequence.
        ValueError: If it is empty where it is needed, or not empty elsewhere.
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
            "`calibration` must hold images for precision='int8', and for "
            f"it alone. Received: {len(calibration)} images, "
            f"precision={precision!r}"
        )


def warn_of_few(calibration: Sequence[Source]) -> None:
    """Warns of so few images that the ranges are those of single ones.

    Args:
        calibration: As of `check_calibration`.
    """
    if 0 < len(calibration) < _FEW:
        warn(
            "`calibration`: int8 takes its ranges from the images, some dozens "
            "of the kind that will be seen. Received: "
            f"{len(calibration)} images"
        )


def calibration_images(
    model: keras.Model,
    calibration: Sequence[Source],
    size: tuple[int, int] | None,
    values: ImageRange | None = None,
) -> Iterator[np.ndarray]:
    """Reads images one at a time, as the network sees them.

    Args:
        model: What they are for.
        calibration: Paths, bytes or arrays.
        size: (height, width) into which they are fitted; None shrinks long
            ones only.
        values: Gets to know the images.

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
