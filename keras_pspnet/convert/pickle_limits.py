"""What a pickle may make its reader do.

A large checkpoint, with the state of its optimiser, stays far below each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_MAX_COPIED = 2**26  # bytes, by opcodes that can copy many
_MAX_ELEMENTS = 2**48  # so that sizes in bytes fit into 64 bits
_MAX_DIMENSIONS = 32
# Bytes that stand for a call and for an item of a set.
ITEM_COST = 2**6


class RefusedError(ValueError):
    """Tells what is wrong with a file, for the reader's own error."""


class Budget:
    """What is left of the bytes that one pickle may copy."""

    def __init__(self) -> None:
        self._copied = 0

    def charge(self, count: int) -> None:
        """Counts bytes copied: one opcode may copy all that there is.

        So does what a short opcode makes that takes much more memory.
        """
        self._copied += count
        if self._copied > _MAX_COPIED:
            raise RefusedError("it makes too many copies of what it holds")


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
