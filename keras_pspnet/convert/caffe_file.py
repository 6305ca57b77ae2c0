"""Reads the parameters in Caffe's .caffemodel files without Caffe.

A file is one protocol buffer, a `NetParameter` of caffe.proto. This module
declares the few fields that lead to values; the runtime skips the rest.
"""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np
from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
)

# Message -> field -> number and type, with [] if it repeats. Gradients (`diff`)
# are left out, so they are not decoded. Names are bytes, since the runtime
# would report bad UTF-8 only on access. The older `layers` and shapes are left
# out because no PSPNet has them.
_MESSAGES = {
    "NetParameter": {"layer": (100, "LayerParameter[]")},
    "LayerParameter": {"name": (1, "bytes"), "blobs": (7, "BlobProto[]")},
    "BlobProto": {
        "data": (5, "float[]"),
        "shape": (7, "BlobShape"),
        "double_data": (8, "double[]"),
    },
    "BlobShape": {"dim": (1, "int64[]")},
}
# Limit of Caffe and of NumPy 1.
_MAX_DIMENSIONS = 32
# A protocol buffer is shorter than 2 GiB.
_MAX_BYTES = 2**31 - 1
# The name and inputs of a network, which precede its layers, are shorter.
_HEAD_BYTES = 1 << 16
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\f\r"))


def read_caffe_file(
    path: str | os.PathLike[str],
) -> dict[str, list[np.ndarray]]:
    """Reads the parameters of a network that Caffe saved.

    Nothing marks the end of such a file. If it is truncated between two layers,
    the later ones are missing and the file is accepted.

    Args:
        path: A .caffemodel file of less than 2 GiB.

    Returns:
        Layer name -> blobs, for each layer with parameters, in the order of
        the file. Blobs are float32, or float64 if stored as such.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a Caffe model, or is damaged.
    """
    try:
        return _read(path)
    except ValueError as error:
        raise ValueError(
            f"`path` must be a Caffe model ({error}). "
            f"Received: path={os.fspath(path)!r}"
        ) from error


def _read(path: str | os.PathLike[str]) -> dict[str, list[np.ndarray]]:
    size = os.path.getsize(path)
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size} bytes, the limit is 2 GiB")
    with open(path, "rb") as stream:
        data = stream.read()
    head = data[:_HEAD_BYTES]
    try:
        network = _network_class().FromString(data)
    except message.DecodeError as error:
        why = _other_format(head) or "it is truncated or damaged"
        raise ValueError(why) from error
    # The message has a copy: without this, the peak would be higher.
    del data
    arrays: dict[str, list[np.ndarray]] = {}
    for layer in network.layer:
        if not layer.blobs:
            continue
        name = layer.name.decode()
        if name in arrays:
            raise ValueError(f"two layers are named {name!r}")
        arrays[name] = [
            _to_array(blob, f"blob {index} of layer {name!r}")
            for index, blob in enumerate(layer.blobs)
        ]
    if not arrays:
        why = _other_format(head) or "none of its layers has parameters"
        raise ValueError(why)
    return arrays


@functools.cache
def _network_class() -> Any:
    """Creates the message class `NetParameter`, in a pool of its own."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="caffe_values.proto", package="caffe", syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        entry = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            field = entry.field.add(name=field_name, number=number)
            field.label = field_type.LABEL_OPTIONAL
            if kind.endswith("[]"):
                field.label = field_type.LABEL_REPEATED
            kind = kind.removesuffix("[]")
            if kind in _MESSAGES:
                field.type = field_type.TYPE_MESSAGE
                field.type_name = f".caffe.{kind}"
            else:
                field.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("caffe.NetParameter")
    )


def _to_array(blob: Any, label: str) -> np.ndarray:
    """Copies the values of a blob; `label` names it in errors."""
    shape = tuple(blob.shape.dim)
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"{label} has {len(shape)} dimensions")
    dtype = "float64" if blob.double_data else "float32"
    values = blob.double_data or blob.data
    if min(shape, default=1) < 1 or math.prod(shape) != len(values):
        raise ValueError(
            f"{label} has {len(values)} values for the shape {shape}"
        )
    # One value at a time: with runtimes older than 7, `np.array` would first
    # make a list of all values, eight times their size.
    return np.fromiter(values, dtype, len(values)).reshape(shape)


def _other_format(head: bytes) -> str | None:
    """Says what kind of file this is, if it obviously is no Caffe model."""
    if not head:
        return "it is empty"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return (
            "it is an HDF5 file, Caffe's other format: let the solver write "
            "snapshot_format: BINARYPROTO"
        )
    if len(head.translate(None, _CONTROL_BYTES)) < len(head):
        return None
    return (
        "it is text: the values are in the .caffemodel, not in the network's "
        ".prototxt"
    )
