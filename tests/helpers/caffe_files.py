"""Writes Caffe's .caffemodel bytes from the rules of the wire format."""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """Encodes seven bits per byte, lowest first; negatives take ten bytes."""
    value %= 1 << 64
    data = []
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def integer(number: int, value: int) -> bytes:
    return varint(number << 3 | VARINT) + varint(value)


def block(number: int, content: bytes) -> bytes:
    return varint(number << 3 | LENGTH) + varint(len(content)) + content


def packed(number: int, values: np.ndarray) -> bytes:
    return block(
        number, values.astype(values.dtype.newbyteorder("<")).tobytes()
    )


def unpacked(number: int, values: np.ndarray) -> bytes:
    wire, form = (FIXED32, "<f") if values.itemsize == 4 else (FIXED64, "<d")
    key = varint(number << 3 | wire)
    return b"".join(key + struct.pack(form, value) for value in values.flat)


def shape(dims: Sequence[int]) -> bytes:
    return block(7, block(1, b"".join(map(varint, dims))))


def blob(array: np.ndarray) -> bytes:
    """Encodes a BlobProto as Caffe does; float64 becomes double_data."""
    number = 8 if array.dtype == np.float64 else 5
    return packed(number, array) + shape(array.shape)


def layer(name: str, *blobs: bytes, kind: str = "Convolution") -> bytes:
    """Encodes a LayerParameter as an entry of its network."""
    content = block(1, name.encode()) + block(2, kind.encode())
    content += block(3, b"data") + block(4, name.encode())
    return block(100, content + b"".join(block(7, each) for each in blobs))


def caffe_model(layers: Mapping[str, Sequence[np.ndarray]]) -> bytes:
    """Encodes a whole .caffemodel from layer name -> blobs of the layer."""
    return block(1, b"net") + b"".join(
        layer(name, *map(blob, arrays)) for name, arrays in layers.items()
    )
