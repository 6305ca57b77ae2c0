"""Metadata of a LiteRT file: what its tensors mean, and the class names.

Android's MetadataExtractor, ML Kit and MediaPipe read a FlatBuffer of the
schema `metadata_schema.fbs` from one of the model's buffers, and the files that
it names from a zip archive after the model.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from keras_pspnet.export.flatbuffer import pack, unpack
from keras_pspnet.version import __version__

LABELS_FILE = "labels.txt"
_ENTRY = "TFLITE_METADATA"
# Values of the schema's enumerations and unions.
_TENSOR_AXIS_LABELS = 2
_TENSOR_VALUE_LABELS = 3
# Color spaces by the number of bands.
_COLOR_SPACES = {1: 2, 3: 1}
_FEATURE_PROPERTIES = 1
_IMAGE_PROPERTIES = 2
_NORMALIZATION_OPTIONS = 1
# The first version of the schema has all that is written here.
_MIN_PARSER_VERSION = "1.0.0"


def add_metadata(
    data: bytes,
    names: Sequence[str],
    bands: int,
    files: Mapping[str, str],
    output: str = "logits",
) -> bytes:
    """Adds metadata and class names to a converted network.

    Args:
        data: A converted network with one input, images, and one output.
        names: The class names, in the order of the logits.
        bands: Number of bands of the images. The schema only knows RGB and
            gray images; others are described as features.
        files: Texts to zip beside `labels.txt`, by file name.
        output: `"logits"` or `"mask"`.

    Returns:
        The network with an entry `TFLITE_METADATA`, and the files zipped to
        its end.
    """
    stream = BytesIO(_embed(data, _metadata(len(names), bands, output)))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(LABELS_FILE, "\n".join(names) + "\n")
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


def _metadata(num_classes: int, bands: int, output: str) -> bytes:
    """Returns a ModelMetadata; tuples are tables, in the schema's order."""
    is_rgb = bands == 3
    content: tuple[Any, ...] = (_FEATURE_PROPERTIES, ())
    if bands in _COLOR_SPACES:
        content = (_IMAGE_PROPERTIES, (_COLOR_SPACES[bands],))
    images = (
        "images",
        "The image: red, green and blue in 0..255."
        if is_rgb
        else f"The image: the values of its {bands} bands.",
        None,  # dimension_names
        content,
        # The network itself normalizes images.
        [(_NORMALIZATION_OPTIONS, (_floats(0), _floats(1)))],
        (_floats(255), _floats(0)) if is_rgb else None,  # max, min
    )
    is_mask = output == "mask"
    labels = (
        LABELS_FILE,
        "Names of the classes, one a line, in the order of "
        + ("their ids." if is_mask else "the last axis."),
        _TENSOR_VALUE_LABELS if is_mask else _TENSOR_AXIS_LABELS,
    )
    scores = (
        output,
        "The id of the class of every pixel."
        if is_mask
        else "Scores of the classes, on the last axis, before softmax.",
        None,  # dimension_names
        (_FEATURE_PROPERTIES, ()),
        None,  # process_units
        None,  # stats
        [labels],
    )
    model = (
        "PSPNet",
        f"Semantic segmentation: every pixel scored for {num_classes} classes.",
        __version__,
        [(None, None, [images], [scores])],  # The one subgraph.
        None,  # author
        None,  # license
        None,  # associated_files
        _MIN_PARSER_VERSION,
    )
    builder = flatbuffers.Builder()
    builder.Finish(_write(builder, model), b"M001")
    return bytes(builder.Output())


def _floats(value: float) -> np.ndarray:
    """Returns a vector of one float, which applies to all channels."""
    return np.array([value], "float32")


def _write(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes a value, after the values that it contains.

    Args:
        builder: The builder to write to.
        value: A string, an array, a list of tables, or a table: a tuple of
            fields, in which None omits a field and an integer is a byte.

    Returns:
        The offset of the value.
    """
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        offsets = [_write(builder, each) for each in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    offsets = [
        0 if isinstance(field, int | None) else _write(builder, field)
        for field in value
    ]
    builder.StartObject(len(value))
    for slot, (field, offset) in enumerate(zip(value, offsets, strict=True)):
        if isinstance(field, int):
            builder.PrependUint8Slot(slot, field, 0)
        else:
            # The builder omits a field with offset 0.
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return builder.EndObject()


def _embed(data: bytes, metadata: bytes) -> bytes:
    """Adds a buffer with the metadata to a model, and an entry for it."""
    model = unpack(data)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _ENTRY, len(model.buffers)
    model.metadata.append(entry)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(metadata, "uint8")
    model.buffers.append(buffer)
    return pack(model, len(data) + len(metadata))
