"""What is written of a mask: a PNG file and a row of the table."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pyarrow
from PIL.PngImagePlugin import PngImageFile, PngInfo

from keras_pspnet.labels import LabelSet
from keras_pspnet.visualization import Segmentation, index_image

# Before the class names in the table: a class may be called "path" as well.
FRACTION_PREFIX = "fraction_"
CONFIDENCE = "confidence"


def table_schema(labels: LabelSet, confidence: bool) -> pyarrow.Schema:
    """Returns the table's columns.

    Args:
        labels: The model's classes.
        confidence: Whether there is a column of the mean confidence.
    """
    fields = [
        ("path", pyarrow.string()),
        ("mask", pyarrow.string()),
        ("width", pyarrow.int32()),
        ("height", pyarrow.int32()),
    ]
    if confidence:
        fields.append((CONFIDENCE, pyarrow.float64()))
    fields += [
        (FRACTION_PREFIX + name, pyarrow.float64()) for name in labels.names
    ]
    fields += [
        ("image_sha256", pyarrow.string()),
        ("model_sha256", pyarrow.string()),
    ]
    return pyarrow.schema(fields)


def mean_confidence(result: Segmentation) -> float | None:
    """Returns the mean confidence, if it was computed."""
    if result.confidence is None:
        return None
    return float(result.confidence.mean(dtype=np.float64))


def encode_mask(
    mask: np.ndarray, labels: LabelSet, confidence: float | None
) -> bytes:
    """Encodes an index PNG, and in its metadata what the pixels do not tell.

    Args:
        mask: uint8 (H, W), class indices.
        labels: The classes, for the palette.
        confidence: The mean confidence, if it was computed.
    """
    notes = PngInfo()
    if confidence is not None:
        notes.add_text(CONFIDENCE, repr(confidence))
    stream = BytesIO()
    index_image(mask, labels).save(stream, "PNG", pnginfo=notes)
    return stream.getvalue()


def stored_confidence(data: bytes) -> float | None:
    """Reads the mean confidence from a file of `encode_mask`."""
    noted = PngImageFile(BytesIO(data)).text.get(CONFIDENCE)
    return None if noted is None else float(noted)


def class_fractions(mask: np.ndarray, labels: LabelSet) -> dict[str, float]:
    """Returns the share 0..1 of the pixels of each class, by its column.

    Args:
        mask: uint8 (H, W), class indices.
        labels: The classes.
    """
    counts = np.bincount(mask.reshape(-1), minlength=labels.num_classes)
    return {
        FRACTION_PREFIX + name: float(count / mask.size)
        for name, count in zip(labels.names, counts, strict=True)
    }
