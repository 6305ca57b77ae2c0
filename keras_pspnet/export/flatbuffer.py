"""Changes of a converted LiteRT network: the FlatBuffer that the file is."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

# What `schema.fbs` demands of the data of buffers.
_ALIGNMENT = 16


def unpack(data: bytes) -> Any:
    """Reads a network, a `schema.ModelT`.

    Args:
        data: What the converter made.
    """
    return schema.ModelT.InitFromPackedBuf(data)


def pack(model: Any, size: int) -> bytes:
    """Writes a network.

    Args:
        model: Of `unpack`, perhaps changed.
        size: About how many bytes it has.

    Returns:
        What `unpack` reads.
    """
    # With room for what is new: out of it, the builder doubles itself.
    builder = _Builder(size + 2**16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def take_pixels(data: bytes) -> bytes:
    """Lets a network of integers take the bytes of an image as they are.

    Its input has the scale that calibration saw, such as 254.3 / 255: an
    application would have to quantise by it. With the scale 1, the first
    operation, from bytes to signed ones, does that.

    Args:
        data: A network whose only input is uint8.

    Returns:
        The same, with an input of the scale 1 and the zero point 0.
    """
    model = unpack(data)
    (graph,) = model.subgraphs
    (index,) = graph.inputs
    quantization = graph.tensors[index].quantization
    quantization.scale = np.ones(1, "float32")
    quantization.zeroPoint = np.zeros(1, "int64")
    return pack(model, len(data))


def widen_strided_kernels(data: bytes) -> bytes:
    """Gives strided 1x1 convolutions of 8 bits a kernel of 2x2.

    The GPU accelerator of LiteRT 2.3 takes a 1x1 kernel of 8 bits with a
    stride, and computes as if it had none, without a word. All that is new
    in the kernel is zero, and so the numbers stay.

    Args:
        data: What the converter made.

    Returns:
        The same, but for these kernels.
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
        # What is padded is at the end, under zeros.
        options.padding = schema.Padding.SAME
    return pack(model, len(data) + 2**20)


class _Builder(flatbuffers.Builder):
    """Aligns bytes, which the generated code packs wherever they fall."""

    def StartVector(self, size: int, count: int, alignment: int) -> int:
        if size == 1:
            alignment = _ALIGNMENT
        return super().StartVector(size, count, alignment)
