"""What a pickle of a checkpoint is made of: tensors, names, plain values."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

# What a file may make the reader do. A large checkpoint, with the state of
# its optimizer, stays far below each.
_MAX_DEPTH = 200  # of containers in containers
_MAX_VALUES = 2**24  # in the result, each as often as it is held
MAX_COPIED = 2**26  # bytes, by opcodes that can copy many
_MAX_ELEMENTS = 2**48  # so that sizes in bytes fit into 64 bits
_MAX_DIMENSIONS = 32
# Bytes that stand for a call and for an item of a set.
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
    """Says what is wrong with a file, for the reader's own error."""


@contextlib.contextmanager
def refusing(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turns whatever a file does to its reader into one ValueError.

    Args:
        path: The file.
        what: What it must be.

    Yields:
        Nothing; the block reads the opened file.

    Raises:
        ValueError: If the block fails.
    """
    try:
        yield
    # Damage can make the modules that take a file apart fail anywhere.
    except Exception as error:
        # A quote from the file may be as long as the file.
        why = " ".join(str(error)[:300].split()) or type(error).__name__
        if not isinstance(error, RefusedError):
            why = f"it is damaged: {why}"
        raise ValueError(
            f"`path` must be {what} ({why}). Received: path={os.fspath(path)!r}"
        ) from error


def other_file(head: bytes) -> RefusedError:
    """Returns the error for a file that begins unlike those it should."""
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return RefusedError("it is a web page")
    return RefusedError("it does not begin like one")


class Budget:
    """What is left of the bytes that one pickle may copy."""

    def __init__(self, most: int = MAX_COPIED) -> None:
        self._most = most
        self._copied = 0

    def charge(self, count: int) -> None:
        """Counts bytes copied: one opcode may copy all that there is.

        So does what a short opcode makes that takes much more memory.
        """
        self._copied += count
        if self._copied > self._most:
            raise RefusedError("it makes too many copies of what it holds")


@dataclasses.dataclass(frozen=True)
class Placeholder:
    """Stands for something that a file names, or for an object of it.

    What it names has not been looked up, and of an object nothing is kept.

    Attributes:
        module: The module as the file spells it, such as `"mmcv.utils"`.
        name: The class or function in it, such as `"ConfigDict"`.
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
        """Takes the bytes of the elements, uint8."""
        if len(content) != self.nbytes:
            raise RefusedError(
                f"storage {self.key} must have {self.nbytes} bytes, "
                f"has {len(content)}"
            )
        self.array = content.view(STORAGES[self.kind])
        if self.kind == _BFLOAT16:
            # It is the upper half of a float32.
            bits = self.array.astype("<u4") << 16
            self.array = bits.view("<f4")
            self.array.flags.writeable = False


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides count elements."""

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
            # The stride of a single element leads nowhere and may be anything.
            elements.itemsize * (stride if length > 1 else 1)
            for stride, length in zip(self.strides, self.shape, strict=True)
        )
        # Unlike as_strided, it checks once more that all is in the buffer.
        return np.ndarray(
            self.shape,
            elements.dtype,
            elements,
            elements.itemsize * self.offset,
            tuple(strides),
        )


class Part(Tensor):
    """Elements of a storage in a row, of which tensors are made."""


class NumpyDtype:
    """NumPy makes a dtype first and tells its byte order later."""

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
    """NumPy makes an empty array first and fills it later."""

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
    """Puts arrays into the place of records, however deep they are."""
    # By identity: the old value, kept so that no other gets its identity, the
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
        # Python could not follow a depth that a file chooses.
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
    """Checks offsets, lengths or strides, whose sums must stay numbers."""
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
    # An array without elements must have a shape that NumPy can hold, too.
    check_sizes((math.prod(length or 1 for length in shape),))
