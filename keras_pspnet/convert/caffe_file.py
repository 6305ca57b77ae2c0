"""Caffe's .caffemodel: the values of every layer, read without Caffe.

Such a file is one protocol buffer, a `NetParameter` of caffe.proto. The few
of its fields that lead to values are named here; the runtime skips the rest.
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

# Message -> field -> its number and type, with [] if it repeats. Gradients
# (`diff`) are not named and so not decoded; names are bytes because the
# runtime would complain about bad UTF-8 only when a name is looked at.
_MESSAGES = {
    "NetParameter": {
        "layers": (2, "V1LayerParameter[]"),
        "layer": (100, "LayerParameter[]"),
    },
    "LayerParameter": {
        "name": (1, "bytes"),
        "blobs": (7, "BlobProto[]"),
    },
    "V1LayerParameter": {
        "layer": (1, "bytes"),
        "name": (4, "bytes"),
        "blobs": (6, "BlobProto[]"),
    },
    "BlobProto": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, "float[]"),
        "shape": (7, "BlobShape"),
        "double_data": (8, "double[]"),
    },
    "BlobShape": {"dim": (1, "int64[]")},
}
_LEGACY_SHAPE = ("num", "channels", "height", "width")
# Of Caffe, and of NumPy 1.
_MAX_DIMENSIONS = 32
# A protocol buffer is shorter than 2 GiB.
_MAX_BYTES = 2**31 - 1
# A network's name and inputs, all that may precede its layers, are shorter.
_HEAD_BYTES = 1 << 16
# Keys of the wire format: eight times the field's number plus the wire type.
_VARINT, _LENGTH = 0, 2
_NAME_KEY = 1 << 3 | _LENGTH
_LAYER_KEYS = {2 << 3 | _LENGTH, 100 << 3 | _LENGTH}
# What precedes the layers, but for the name: inputs, state and switches.
_PRELUDE_KEYS = {number << 3 | _LENGTH for number in (3, 6, 8)} | {
    number << 3 | _VARINT for number in (4, 5, 7)
}
# A layer, old or new, starts with a text field: name, type, bottom or top.
_LAYER_START_KEYS = {number << 3 | _LENGTH for number in (1, 2, 3, 4)}
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\f\r"))


def read_caffe_file(
    path: str | os.PathLike[str],
) -> dict[str, list[np.ndarray]]:
    """Reads the parameters of a network that Caffe saved.

    Networks of `layer` and of the older `layers` are read. Nothing marks the
    end of such a file: one that was cut between two layers lacks the later
    ones, and is not refused.

    Args:
        path: A .caffemodel file, of less than 2 GiB.

    Returns:
        Name of each layer that has parameters, in the order of the file -> its
        blobs in the order of Caffe, each in its own shape: four dimensions
        in older files. They are float32, or float64 where stored so.

    Raises:
        OSError: A subclass that fits: there is no such file, it is a folder,
            or it cannot be read.
        ValueError: If it is no Caffe model, a damaged one, or one of the
            oldest format (`V0LayerParameter`).
    """
    _check_file(path)
    size = os.path.getsize(path)
    if size > _MAX_BYTES:
        raise _not_a_model(path, f"it has {size} bytes, the limit is 2 GiB")
    with open(path, "rb") as stream:
        data = stream.read()
    head = data[:_HEAD_BYTES]
    try:
        network = _network_class().FromString(data)
    except message.DecodeError as error:
        why = _other_format(head) or "it is truncated or damaged"
        raise _not_a_model(path, why) from error
    # The message has its own copy: the peak stays at twice the file.
    del data
    layers = network.layer
    if not any(layer.blobs for layer in layers):
        layers = network.layers
        if any(layer.HasField("layer") for layer in layers):
            raise _not_a_model(
                path,
                "its layers are of the format V0LayerParameter, which Caffe's "
                "upgrade_net_proto_binary converts",
            )
    arrays: dict[str, list[np.ndarray]] = {}
    for layer in layers:
        if not layer.blobs:
            continue
        try:
            name = layer.name.decode()
        except UnicodeDecodeError as error:
            why = f"the layer name {layer.name!r} is not UTF-8"
            raise _not_a_model(path, why) from error
        if name in arrays:
            raise _not_a_model(path, f"two layers are named {name!r}")
        arrays[name] = [
            _to_array(blob, path, f"blob {index} of layer {name!r}")
            for index, blob in enumerate(layer.blobs)
        ]
    if not arrays:
        why = _other_format(head) or "none of its layers has parameters"
        raise _not_a_model(path, why)
    return arrays


def is_caffe_file(path: str | os.PathLike[str]) -> bool:
    """Tells from its first bytes whether a file is a Caffe model.

    The name does not matter, and the rest of the file may be damaged.

    Args:
        path: The file.

    Returns:
        Whether `read_caffe_file` is the function to read it with; False for
        a folder.

    Raises:
        OSError: A subclass that fits: there is nothing of this name, or it
            cannot be read.
    """
    try:
        _check_file(path)
    except IsADirectoryError:
        return False
    with open(path, "rb") as stream:
        head = stream.read(_HEAD_BYTES)
    try:
        return _starts_with_a_layer(head)
    except IndexError:
        return False


def _check_file(path: str | os.PathLike[str]) -> None:
    received = f"Received: path={os.fspath(path)!r}"
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"`path` must be a file, not a folder. {received}"
        )
    if not os.path.exists(path):
        raise FileNotFoundError(f"`path` must be an existing file. {received}")
    # Reading a pipe or a device might never end.
    if not os.path.isfile(path):
        raise OSError(f"`path` must be a regular file. {received}")


@functools.cache
def _network_class() -> Any:
    """Makes the message class `NetParameter`, in a pool of its own."""
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


def _to_array(
    blob: Any, path: str | os.PathLike[str], label: str
) -> np.ndarray:
    """Copies a blob's values; errors name it by its file and label."""
    shape = tuple(blob.shape.dim)
    # Caffe, too, prefers the legacy shape where a file has both.
    if any(blob.HasField(name) for name in _LEGACY_SHAPE):
        shape = tuple(getattr(blob, name) for name in _LEGACY_SHAPE)
    if len(shape) > _MAX_DIMENSIONS:
        raise _not_a_model(path, f"{label} has {len(shape)} dimensions")
    dtype = "float64" if blob.double_data else "float32"
    values = blob.double_data or blob.data
    if min(shape, default=1) < 1 or math.prod(shape) != len(values):
        raise _not_a_model(
            path, f"{label} has {len(values)} values for the shape {shape}"
        )
    # One value at a time: `np.array` would first make a list of all of them,
    # eight times their size, where the runtime is older than 7.
    return np.fromiter(values, dtype, len(values)).reshape(shape)


def _starts_with_a_layer(head: bytes) -> bool:
    """Follows the wire format up to the start of the first layer.

    Raises:
        IndexError: If `head` ends before.
    """
    position = 0
    named = False
    while True:
        key, position = _read_varint(head, position)
        if key == _NAME_KEY:
            # It comes once, unlike the first field of most other messages.
            if named:
                return False
            named = True
        elif key not in _PRELUDE_KEYS | _LAYER_KEYS:
            return False
        value, position = _read_varint(head, position)
        if key in _LAYER_KEYS:
            return _read_varint(head, position)[0] in _LAYER_START_KEYS
        if key & 7 == _LENGTH:
            position += value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads seven bits a byte, lowest first; returns also the next position."""
    value = 0
    # Ten bytes hold 64 bits; more would be no varint.
    for index in range(10):
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            break
    return value, position + index + 1


def _other_format(head: bytes) -> str | None:
    """Says what a file is that is no Caffe model, where that is plain."""
    if not head:
        return "it is empty"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return (
            "it is an HDF5 file, Caffe's other format: let the solver write "
            "snapshot_format: BINARYPROTO"
        )
    if head.startswith(b"PK\x03\x04"):
        return "it is a ZIP archive"
    if len(head.translate(None, _CONTROL_BYTES)) < len(head):
        return None
    if head.lstrip().startswith(b"<"):
        return "it is an HTML or XML page"
    return (
        "it is text: the values are in the .caffemodel, not in the network's "
        ".prototxt"
    )


def _not_a_model(path: str | os.PathLike[str], why: str) -> ValueError:
    return ValueError(
        f"`path` must be a Caffe model ({why}). "
        f"Received: path={os.fspath(path)!r}"
    )
