"""Reads Paddle's `.pdparams` without Paddle and without running any of it.

A file is one pickle: a dict of NumPy arrays by name, and Paddle's own notes in
entries whose names end in `@@`.
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

# `paddle.save` supports protocols 2 to 4.
_START = re.compile(rb"\x80[\x02-\x04]")
# Six times the largest PSPNet: the whole file is read into memory.
_MAX_BYTES = 2**31
_NOTE = "@@"


def read_paddle_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a `state_dict()` that `paddle.save` wrote, without Paddle.

    Nothing that a file names is imported. The only functions called are our
    replacements of the NumPy functions that create an array.

    Args:
        path: The file, usually *.pdparams, of at most 2 GiB.

    Returns:
        Name -> read-only array of the shape and dtype it was saved with.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is another kind of file, is damaged, or calls
            something that arrays do not need.

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
    """Returns whether a file starts like those that `paddle.save` writes.

    So does every pickle, including PyTorch's older files. The name does not
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
    # A map can be closed only while nothing refers to it, as here.
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = data[:64]
        if not _START.match(head):
            raise other_file(head)
        # Protocol 2 stores bytes as text, which has to be copied.
        copied = MAX_COPIED + size
        machine = Machine(data, 0, size, PADDLE_CALLS, copied)
        root = machine.run()
        if machine.storages:
            raise RefusedError("it refers to storages, as PyTorch's files do")
        if machine.position < size:
            raise RefusedError("data follows its end")
    return _arrays(plain(root))


def _arrays(root: Any) -> dict[str, np.ndarray]:
    if not isinstance(root, dict):
        raise RefusedError("it does not hold a dict")
    arrays = {}
    for name, value in root.items():
        if not isinstance(name, str):
            raise RefusedError("a name in it is not a string")
        if name.endswith(_NOTE):
            continue
        if not isinstance(value, np.ndarray):
            raise RefusedError(f"{name[:80]!r} in it is not an array")
        arrays[name] = value
    return arrays
