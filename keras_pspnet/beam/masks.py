"""The two forms of a mask: a PNG file, and a row of the table."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pyarrow
from PIL.PngImagePlugin import PngImageFile, PngInfo

from keras_pspnet.data import read_mask
from keras_pspnet.labels import LabelSet
from keras_pspnet.visualization import Segmentation, index_image

# Prefix of class names in the table, since a class may be called "path".
FRACTION_PREFIX = "fraction_"
CONFIDENCE = "confidence"


def table_schema(labels: LabelSet, confidence: bool) -> pyarrow.Schema:
    """Returns the table's columns.

    Args:
        labels: The model's classes.
        confidence: Whether to add a column for the mean confidence.
    """
    columns = {"path": "string", "mask": "string"}
    columns |= {"width": "int32", "height": "int32"}
    if confidence:
        columns[CONFIDENCE] = "float64"
    columns |= {FRACTION_PREFIX + name: "float64" for name in labels.names}
    columns |= {"image_sha256": "string", "model_sha256": "string"}
    return pyarrow.schema(columns)


def encode_mask(result: Segmentation) -> tuple[bytes, float | None]:
    """Encodes an index PNG, with the mean confidence in its metadata.

    Args:
        result: The mask, with or without confidence.

    Returns:
        The file, and the mean confidence if there is one.
    """
    notes, confidence = PngInfo(), None
    if result.confidence is not None:
        confidence = float(result.confidence.mean(dtype=np.float64))
        notes.add_text(CONFIDENCE, repr(confidence))
    stream = BytesIO()
    image = index_image(result.mask, result.labels)
    image.save(stream, "PNG", pnginfo=notes)
    return stream.getvalue(), confidence


def decode_mask(
    data: bytes, max_pixels: int
) -> tuple[np.ndarray, float | None]:
    """Reads the mask and the mean confidence from a file of `encode_mask`.

    Args:
        data: The file.
        max_pixels: Larger masks are refused.

    Raises:
        ValueError: If the file is corrupt, or the mask is larger.
    """
    mask = read_mask(data, max_pixels)
    noted = PngImageFile(BytesIO(data)).text.get(CONFIDENCE)
    return mask, None if noted is None else float(noted)


def class_fractions(mask: np.ndarray, labels: LabelSet) -> dict[str, float]:
    """Returns the share of pixels 0..1 of each class, by column name.

    Args:
        mask: uint8 (H, W), class indices.
        labels: The classes.
    """
    counts = np.bincount(mask.reshape(-1), minlength=labels.num_classes)
    return {
        FRACTION_PREFIX + name: float(count / mask.size)
        for name, count in zip(labels.names, counts, strict=True)
    }
