"""The weights of a model folder: safetensors, one array at a time."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from keras_pspnet.utils import writing_atomically

DTYPE_CODES = {"float32": "F32", "float16": "F16"}


class StoredWeights(Mapping[str, np.ndarray]):
    """The arrays of a safetensors file, read on access.

    Each access opens the file again. Pages that were read through an open file
    stay mapped, so in the end the whole file would be in memory beside the
    model.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as stored:
            self._names = tuple(stored.keys())

    def _open(self) -> Any:
        return safetensors.safe_open(self._path, framework="np")

    def describe(self) -> tuple[int, str]:
        """Returns the number and type of the weights, without reading them."""
        with self._open() as stored:
            slices = [stored.get_slice(name) for name in self._names]
            count = sum(math.prod(each.get_shape()) for each in slices)
            codes = sorted({each.get_dtype() for each in slices})
        names = {code: name for name, code in DTYPE_CODES.items()}
        return count, ", ".join(names.get(code, code) for code in codes)

    def __getitem__(self, name: str) -> np.ndarray:
        with self._open() as stored:
            return stored.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def write_weights(path: Path, weights: Mapping[str, Any], dtype: str) -> str:
    """Writes weights one at a time.

    The library's own writer would hold all of them in memory, twice.

    Args:
        path: The file.
        weights: Variable path -> variable or array.
        dtype: Type to store them as, a key of `DTYPE_CODES`.

    Returns:
        SHA-256 of the file.

    Raises:
        OSError: If the file cannot be written; an existing file is kept.
        ValueError: If a weight is not finite in `dtype`.
    """
    import keras

    stored = np.dtype(dtype)
    header: dict[str, Any] = {}
    end = 0
    for name, weight in weights.items():
        start, end = end, end + stored.itemsize * math.prod(weight.shape)
        header[name] = {
            "dtype": DTYPE_CODES[dtype],
            "shape": list(weight.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with writing_atomically(path) as stream:

        def write(data: Any) -> None:
            digest.update(data)
            stream.write(data)

        write(struct.pack("<Q", len(text)) + text)
        for name, weight in weights.items():
            values = keras.ops.convert_to_numpy(weight)
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray(values, stored)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"`model` must have finite {dtype} weights. "
                    f"Received: NaN or infinity in {name}"
                )
            write(values.data)
    return digest.hexdigest()
