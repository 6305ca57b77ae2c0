"""Paddle's `.pdparams`, read without Paddle and without running what it says.

Such a file is one pickle: a dict of NumPy arrays by name, and beside them, in
entries whose names end in `@@`, what Paddle notes for itself.
"""

from __future__ import annotations

import mmap
import os
import re
from typing import Any, BinaryIO

import numpy as np

from keras_pspnet.convert.pickle_calls import PADDLE_CALLS
from keras_pspnet.convert.pickle_machine import Machine
from keras_pspnet.convert.pickle_values import (
    MAX_COPIED,
    RefusedError,
    other_file,
    plain,
    refusing,
)

# Protocols 2 to 4 are those that `paddle.save` has.
_START = re.compile(rb"\x80[\x02-\x04]")
# The largest PSPNet takes a sixth of it; all of a file is read into memory.
_MAX_BYTES = 2**31
_NOTE = "@@"


def read_paddle_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a `state_dict()` that `paddle.save` wrote, without Paddle.

    Nothing that a file names is imported, and nothing is called but what
    stands in for NumPy's functions that make an array.

    Args:
        path: The file, usually *.pdparams, of at most 2 GiB.

    Returns:
        Name -> read-only array of the shape and dtype it was saved with.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is no such file, is damaged, or calls something
            that arrays have no need of.

    Examples:
        >>> from keras_pspnet.convert.paddle_file import read_paddle_file
        >>> state = read_paddle_file("model.pdparams")
        >>> state["head.conv.bias"].shape
        (21,)
    """
    what = "a state_dict() that paddle.save wrote"
    with open(path, "rb") as stream, refusing(path, what):
        return _read(stream)


def is_paddle_file(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file begins as those of `read_paddle_file` do.

    So does every pickle, PyTorch's older files among them. The name does not
    matter, and the rest of the file may be damaged.

    Args:
        path: Any regular file.

    Raises:
        OSError: If the file cannot be opened.
    """
    with open(path, "rb") as stream:
        return bool(_START.match(stream.read(2)))


def _read(stream: BinaryIO) -> dict[str, np.ndarray]:
    size = os.fstat(stream.fileno()).st_size
    if size == 0:
        raise RefusedError("it is empty")
    if size > _MAX_BYTES:
        raise RefusedError(f"it has {size} bytes, over {_MAX_BYTES}")
    # Maps cannot be closed while something refers to them; nothing does.
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = data[:64]
        if not _START.match(head):
            raise other_file(head)
        # Protocol 2 writes bytes as text, which is copied once for each.
        copied = MAX_COPIED + size
        machine = Machine(data, 0, size, PADDLE_CALLS, copied)
        root = machine.run()
        if machine.storages:
            raise RefusedError("it refers to storages, as PyTorch's files do")
        if machine.position < size:
            raise RefusedError("something follows its end")
    return _arrays(plain(root))


def _arrays(root: Any) -> dict[str, np.ndarray]:
    if not isinstance(root, dict):
        raise RefusedError("it holds no dict")
    arrays = {}
    for name, value in root.items():
        if not isinstance(name, str):
            raise RefusedError("a name in it is no text")
        if name.endswith(_NOTE):
            continue
        if not isinstance(value, np.ndarray):
            raise RefusedError(f"{name[:80]!r} in it is no array")
        arrays[name] = value
    return arrays
