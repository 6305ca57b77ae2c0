"""Edits the FlatBuffer of a converted LiteRT network."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

# Alignment that `schema.fbs` requires of buffers.
_ALIGNMENT = 16


def unpack(data: bytes) -> Any:
    """Reads a network as a `schema.ModelT`.

    Args:
        data: The converter's output.
    """
    return schema.ModelT.InitFromPackedBuf(data)


def pack(model: Any, size: int) -> bytes:
    """Writes a network.

    Args:
        model: A network that `unpack` read.
        size: Approximate number of bytes.

    Returns:
        The file.
    """
    # Leaves room for additions: a full builder doubles its size.
    builder = _Builder(size + 2**16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def take_pixels(data: bytes) -> bytes:
    """Makes an integer network take the bytes of an image as they are.

    The converter gives the input the scale of the calibration images, such as
    254.3 / 255, by which applications would have to quantize. With scale 1,
    the first operation, which converts uint8 to int8, does that.

    Args:
        data: A network whose only input is uint8.

    Returns:
        The same network, with an input of scale 1 and zero point 0.
    """
    model = unpack(data)
    (graph,) = model.subgraphs
    (index,) = graph.inputs
    quantization = graph.tensors[index].quantization
    quantization.scale = np.ones(1, "float32")
    quantization.zeroPoint = np.zeros(1, "int64")
    return pack(model, len(data))


def widen_strided_kernels(data: bytes) -> bytes:
    """Replaces the kernels of strided 8-bit 1x1 convolutions by 2x2 ones.

    The GPU accelerator of LiteRT 2.3 silently ignores the stride of an 8-bit
    1x1 convolution. The added values are zeros, so the result is the same.

    Args:
        data: The converter's output.

    Returns:
        The network with these kernels replaced.
    """
    model = unpack(data)
    (graph,) = model.subgraphs
    for operator in graph.operators:
        options = operator.builtinOptions
        if not isinstance(options, schema.Conv2DOptionsT):
            continue
        kernel = graph.tensors[operator.inputs[1]]
        filters, height, width, channels = kernel.shape
        is_strided = max(options.strideH, options.strideW) > 1
        is_bytes = kernel.type == schema.TensorType.INT8
        if not (is_bytes and is_strided and height == width == 1):
            continue
        wide = np.zeros((filters, 2, 2, channels), "uint8")
        narrow = model.buffers[kernel.buffer].data
        wide[:, 0, 0] = narrow.reshape(filters, channels)
        kernel.shape = np.array(wide.shape, "int32")
        kernel.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = wide.ravel()
        # Pads at the end, where the kernel is zero.
        options.padding = schema.Padding.SAME
    return pack(model, len(data) + 2**20)


class _Builder(flatbuffers.Builder):
    """Aligns byte vectors, which the generated code leaves unaligned."""

    def StartVector(self, size: int, count: int, alignment: int) -> int:
        if size == 1:
            alignment = _ALIGNMENT
        return super().StartVector(size, count, alignment)
