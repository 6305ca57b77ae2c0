"""Contents of a checkpoint's pickle: tensors, names and plain values."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

# Limits on what a file may make the reader do. A large checkpoint, with the
# state of its optimizer, stays far below each.
_MAX_DEPTH = 200  # of containers in containers
_MAX_VALUES = 2**24  # in the result, counting repeated ones
MAX_COPIED = 2**26  # bytes copied by opcodes
_MAX_ELEMENTS = 2**48  # so that sizes in bytes fit into 64 bits
_MAX_DIMENSIONS = 32
# Bytes charged for a call, and for an item of a set.
ITEM_COST = 2**6

_BFLOAT16 = "torch.BFloat16Storage"
STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    _BFLOAT16: "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
    "torch.storage.UntypedStorage": "u1",
}


class RefusedError(ValueError):
    """Says what is wrong with a file; the reader's error quotes it."""


@contextlib.contextmanager
def refusing(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turns any error of reading a file into one ValueError.

    Args:
        path: The file.
        what: The kind of file that it must be.

    Yields:
        Nothing; the block reads the opened file.

    Raises:
        ValueError: If the block fails.
    """
    try:
        yield
    # With damaged files, the parsing modules can raise anything.
    except Exception as error:
        # The error may quote the whole file.
        why = " ".join(str(error)[:300].split()) or type(error).__name__
        if not isinstance(error, RefusedError):
            why = f"it is damaged: {why}"
        raise ValueError(
            f"`path` must be {what} ({why}). Received: path={os.fspath(path)!r}"
        ) from error


def other_file(head: bytes) -> RefusedError:
    """Returns the error for a file that starts like another kind."""
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return RefusedError("it is a web page")
    return RefusedError("it does not begin like one")


class Budget:
    """The number of bytes that one pickle may copy."""

    def __init__(self, most: int = MAX_COPIED) -> None:
        self._most = most
        self._copied = 0

    def charge(self, count: int) -> None:
        """Counts copied bytes, and bytes of large objects of short opcodes.

        A single opcode may copy everything there is.
        """
        self._copied += count
        if self._copied > self._most:
            raise RefusedError("it makes too many copies of what it holds")


@dataclasses.dataclass(frozen=True)
class Placeholder:
    """Stands for a class or function that a file names, or for an object.

    The name is never looked up, and the content of an object is dropped.

    Attributes:
        module: The module as the file spells it, such as `"mmcv.utils"`.
        name: The class or function, such as `"ConfigDict"`.
    """

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Storage:
    """The elements that tensors are views of."""

    def __init__(self, key: str, kind: str, count: int) -> None:
        self.key = key
        self.kind = kind
        self.count = count
        self.nbytes = count * np.dtype(STORAGES[kind]).itemsize
        self.array = np.empty(0)

    def fill(self, content: np.ndarray) -> None:
        """Sets the elements from their bytes, uint8."""
        if len(content) != self.nbytes:
            raise RefusedError(
                f"storage {self.key} must have {self.nbytes} bytes, "
                f"has {len(content)}"
            )
        self.array = content.view(STORAGES[self.kind])
        if self.kind == _BFLOAT16:
            # bfloat16 is the upper half of a float32.
            bits = self.array.astype("<u4") << 16
            self.array = bits.view("<f4")
            self.array.flags.writeable = False


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage. Offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @functools.cached_property
    def plain(self) -> np.ndarray:
        elements = self.storage.array
        if 0 in self.shape:
            empty = np.empty(self.shape, elements.dtype)
            empty.flags.writeable = False
            return empty
        strides = (
            # The stride of a single element is unused and may be anything.
            elements.itemsize * (stride if length > 1 else 1)
            for stride, length in zip(self.strides, self.shape, strict=True)
        )
        # Unlike as_strided, this checks the bounds of the buffer again.
        return np.ndarray(
            self.shape,
            elements.dtype,
            elements,
            elements.itemsize * self.offset,
            tuple(strides),
        )


class Part(Tensor):
    """Contiguous elements of a storage, from which tensors are made."""


class NumpyDtype:
    """A dtype. NumPy creates it first and sets its byte order later."""

    def __init__(self, name: str) -> None:
        self.dtype = np.dtype(name)

    def build(self, state: Any) -> None:
        order, *fields = state[1:5]
        if order not in ("<", ">", "=", "|") or fields != [None] * 3:
            raise RefusedError("a NumPy dtype in it is not a plain one")
        self.dtype = self.dtype.newbyteorder(order)

    @property
    def plain(self) -> str:
        return self.dtype.name


class NumpyArray:
    """An array. NumPy creates it empty and fills it later."""

    def __init__(self) -> None:
        self.plain = np.empty(0)

    def build(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        check_shape(shape)
        expected = math.prod(shape) * kind.dtype.itemsize
        if not isinstance(content, bytes) or len(content) != expected:
            raise RefusedError("a NumPy array in it does not have its size")
        array = np.frombuffer(content, kind.dtype)
        self.plain = array.reshape(shape, order="F" if fortran else "C")


_RECORDS = (Tensor, NumpyDtype, NumpyArray)


def plain(root: Any) -> Any:
    """Replaces records by arrays, at any depth."""
    # By id: the old value (kept, so that no other object can get its id), the
    # new one, its depth, and the number of values in it.
    done: dict[int, tuple[Any, Any, int, int]] = {}
    entered: set[int] = set()

    def finish(value: Any, levels: int) -> tuple[Any, int, int]:
        if isinstance(value, _RECORDS):
            return value.plain, 0, 1
        if not isinstance(value, dict | list | tuple):
            return value, 0, 1
        if id(value) in done:
            return done[id(value)][1:]
        if id(value) in entered:
            raise RefusedError("something in it holds itself")
        entered.add(id(value))
        items = value.values() if isinstance(value, dict) else value
        # Python's recursion is limited, and a file can choose any depth.
        found = [finish(item, levels - 1) for item in items] if levels else []
        new = [each for each, _, _ in found]
        depth = 1 + max((deep for _, deep, _ in found), default=0)
        total = 1 + sum(count for _, _, count in found)
        if depth > _MAX_DEPTH or not levels:
            raise RefusedError(f"it is nested over {_MAX_DEPTH} deep")
        if total > _MAX_VALUES:
            raise RefusedError(f"it unfolds to over {_MAX_VALUES} values")
        made = tuple(new) if isinstance(value, tuple) else value
        if isinstance(value, dict):
            value.update(zip(value, new, strict=True))
        elif isinstance(value, list):
            value[:] = new
        done[id(value)] = value, made, depth, total
        return made, depth, total

    return finish(root, _MAX_DEPTH)[0]


def check_sizes(sizes: Sequence[Any]) -> None:
    """Checks that offsets, lengths or strides are integers within limits."""
    for size in sizes:
        if type(size) is not int or not 0 <= size <= _MAX_ELEMENTS:
            raise RefusedError("a size in it is not an integer from 0 to 2**48")


def check_shape(shape: Sequence[Any]) -> None:
    """Checks that NumPy could hold an array of this shape."""
    if len(shape) > _MAX_DIMENSIONS:
        raise RefusedError(
            f"an array in it has over {_MAX_DIMENSIONS} dimensions"
        )
    check_sizes(shape)
    # NumPy must be able to hold the shape of an empty array, too.
    check_sizes((math.prod(length or 1 for length in shape),))
