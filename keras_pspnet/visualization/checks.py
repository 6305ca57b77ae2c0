"""Checks images, masks and confidence before they are drawn."""

from __future__ import annotations

import numpy as np

from keras_pspnet.labels import LabelSet


def check_image(image: np.ndarray) -> None:
    """Checks an image.

    Args:
        image: Must be uint8 of shape `(H, W, 3)`.

    Raises:
        TypeError: If it has another dtype.
        ValueError: If it has another shape.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(
            "`image` must have the shape (height, width, 3). Received: "
            f"image of shape {image.shape}"
        )
    if image.dtype != np.uint8:
        raise TypeError(
            f"`image` must be uint8. Received: image of dtype {image.dtype}"
        )


def check_mask(
    mask: np.ndarray, labels: LabelSet, argument: str = "mask"
) -> None:
    """Checks a mask.

    Args:
        mask: Must hold integers of shape `(H, W)`, classes of `labels` or
            its ignore label.
        labels: The classes.
        argument: Name of the caller's argument, for errors.

    Raises:
        TypeError: If it does not hold integers.
        ValueError: If it has another rank or holds another value.
    """
    if mask.ndim != 2 or 0 in mask.shape:
        raise ValueError(
            f"`{argument}` must have the shape (height, width). Received: "
            f"{argument} of shape {mask.shape}"
        )
    if not np.issubdtype(mask.dtype, np.integer):
        raise TypeError(
            f"`{argument}` must hold integers. Received: "
            f"{argument} of dtype {mask.dtype}"
        )
    wrong = (mask < 0) | (mask >= labels.num_classes)
    wrong &= mask != labels.ignore_label
    if wrong.any():
        raise ValueError(
            f"`{argument}` must hold classes within "
            f"0..{labels.num_classes - 1}, or {labels.ignore_label} to "
            f"ignore. Received: {argument} with {int(mask[wrong][0])}"
        )


def check_same_size(image: np.ndarray, mask: np.ndarray, argument: str) -> None:
    """Checks that a mask belongs to an image.

    Args:
        image: The image `(H, W, 3)`.
        mask: Must have the shape `(H, W)`.
        argument: Name of the caller's argument, for errors.

    Raises:
        ValueError: If it has another size.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"`{argument}` must have the size of its image. Received: "
            f"{argument} of shape {mask.shape} for an image of shape "
            f"{image.shape}"
        )


def check_confidence(confidence: np.ndarray) -> None:
    """Checks the confidence of a mask.

    Args:
        confidence: Must be within 0..1.

    Raises:
        ValueError: If it holds another value.
    """
    # NaN fails both comparisons.
    within = (confidence >= 0) & (confidence <= 1)
    if not within.all():
        raise ValueError(
            "`confidence` must be within 0..1. Received: "
            f"confidence with {confidence[~within][0]}"
        )
