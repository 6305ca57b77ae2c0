"""int8 for ONNX files, with ONNX Runtime's own quantization."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Linear operations: the tail of the network ends at anything else.
_LINEAR = {
    *("Add", "Concat", "Conv", "Gather", "Identity", "MatMul", "Mul", "Pad"),
    *("Reshape", "Resize", "Slice", "Squeeze", "Sub", "Transpose"),
    "Unsqueeze",
}
# Keeps quantize_static from recommending a preprocessing that is not needed:
# the graph is folded, and has all shapes that can be known.
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


def quantize(proto: Any, images: Iterable[np.ndarray]) -> Any:
    """Quantizes the convolutions of a model to 8 bits.

    Weights become int8 with a scale per channel, activations uint8 in the
    range that the images produce. The first convolution, the classifier, the
    resizing after it and sums of branches stay float32: as integers they cost
    accuracy and save no time.

    Args:
        proto: ONNX model with the input `images`.
        images: float32 (1, H, W, bands), read one at a time.

    Returns:
        The quantized ONNX model, without metadata.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {"images": image}

    prepared = onnx.ModelProto()
    prepared.CopyFrom(proto)
    entry = prepared.metadata_props.add()
    entry.key, entry.value = _PREPARED
    with _temporary_file() as path:
        quantize_static(
            prepared,
            path,
            Reader(),
            QuantFormat.QDQ,
            ["Conv"],
            per_channel=True,
            # x86 processors without VNNI add pairs of products in 16 bits,
            # and 8-bit weights would overflow them.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[
                _first(proto.graph).name,
                *(node.name for node in _tail(proto.graph)),
            ],
        )
        quantized = onnx.load(path)
    del quantized.metadata_props[:]
    return quantized


def _first(graph: Any) -> Any:
    """Returns the first convolution: it needs precision and costs little."""
    return next(node for node in graph.node if node.op_type == "Conv")


def _tail(graph: Any) -> Iterator[Any]:
    """Yields the nodes after the last activation: classifier, resizing."""
    producers = {name: node for node in graph.node for name in node.output}
    waiting = [each.name for each in graph.output]
    seen = set()
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.op_type not in _LINEAR or node.name in seen:
            continue
        seen.add(node.name)
        waiting += node.input
        yield node


@contextlib.contextmanager
def _temporary_file() -> Iterator[str]:
    # quantize_static needs a path, which a nameless file does not have.
    with tempfile.TemporaryDirectory(prefix="pspnet-int8-") as folder:
        yield str(Path(folder, "model.onnx"))
