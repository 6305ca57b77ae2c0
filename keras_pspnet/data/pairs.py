"""An image with its mask."""

from __future__ import annotations

import os

import numpy as np

from keras_pspnet.data.images import MAX_PIXELS, RGB, named, read_image
from keras_pspnet.data.sources.listing import GroundTruth

Pair = tuple[np.ndarray, np.ndarray]


def read_pair(
    image: str | os.PathLike[str] | bytes,
    mask: str | os.PathLike[str] | bytes,
    ground_truth: GroundTruth,
    max_pixels: int = MAX_PIXELS,
    bands: int = RGB,
) -> Pair:
    """Reads an image and its mask, and checks that their sizes match.

    Args:
        image: Path of the image, or the bytes of the file.
        mask: Path of the mask, likewise.
        ground_truth: Reads the mask, such as an `Encoding`.
        max_pixels: Larger files are refused.
        bands: Number of bands of the image.

    Returns:
        The image, as in `read_image`, and its mask of classes and 255, uint8
        `(H, W)`.

    Raises:
        OSError: If a file cannot be opened.
        ValueError: If a file cannot be decoded, the sizes differ, or the mask
            holds a value without a class.
    """
    pixels = read_image(image, max_pixels, bands)
    classes = ground_truth.read(mask, max_pixels)
    issue = size_issue(pixels, classes, named(image), named(mask))
    if issue:
        raise ValueError(issue)
    return pixels, classes


def size_issue(
    pixels: np.ndarray, classes: np.ndarray, image: str, mask: str
) -> str:
    """Describes how the sizes of an image and its mask differ.

    Args:
        pixels: The image, `(H, W, bands)`.
        classes: The mask, `(H, W)`.
        image: Name of the image in errors.
        mask: Name of the mask in errors.

    Returns:
        An error message, or "" if the sizes match.
    """
    (height, width), (rows, columns) = pixels.shape[:2], classes.shape
    if (height, width) == (rows, columns):
        return ""
    hint = ""
    if (height, width) == (columns, rows):
        # Cameras store their orientation; images are read upright.
        hint = "; was the mask drawn before the image was turned upright?"
    return (
        "`mask` must have the size of its image. Received: "
        f"mask={mask} of {columns}x{rows}, image={image} of "
        f"{width}x{height}{hint}"
    )
