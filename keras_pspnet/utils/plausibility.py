"""Data that cannot mean what it says: the rules, and a warning of its own."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_pspnet.labels import IGNORE_LABEL

# Arrays are read in pieces of this size, so that checks hold no second copy.
_PIECE_BYTES = 4 << 20

FRACTIONS = (
    "labels must be whole numbers: read masks without scaling them (not "
    "divided by 255, as matplotlib reads them) and resize them with the "
    "nearest neighbour"
)
SMALL_IMAGES = (
    "images must be in 0..255, since the model normalises them itself. "
    "Received: {count} whose values are all within -1..1; multiply them by "
    "255, or leave out the rescaling"
)
OBJECT_AS_255 = (
    "two classes must be 0 and 1, but 255, which means ignore, is where "
    "class 1 is expected. Received: {only_ignored} of {masks} masks that hold "
    "0 and 255 without 1, and {with_object} that hold 1. If 255 marks the "
    "object, map it: masks = (masks == 255).astype('uint8'). If pixels have "
    "to be ignored as well, give them another value and choose it as the "
    "ignore label"
)


class DataWarning(UserWarning):
    """Data that may not mean what it says.

    Examples:
        >>> import warnings
        >>> warnings.simplefilter("error", kp.DataWarning)
    """


@dataclasses.dataclass
class BinaryMasks:
    """Whether masks of two classes look as if 255 marked their object.

    Args:
        masks: How many there are.
        with_object: How many show class 1.
        only_ignored: How many show 0 and 255, and not class 1.
    """

    masks: int = 0
    with_object: int = 0
    only_ignored: int = 0

    def add(self, masks: np.ndarray) -> None:
        """Counts masks of whole numbers, (H, W) or (B, H, W)."""
        masks = masks.reshape(-1, *masks.shape[-2:])
        has_object = (masks == 1).any(axis=(1, 2))
        ignored = (masks == IGNORE_LABEL).any(axis=(1, 2))
        ignored &= (masks == 0).any(axis=(1, 2)) & ~has_object
        self.masks += len(masks)
        self.with_object += int(has_object.sum())
        self.only_ignored += int(ignored.sum())

    def message(self) -> str:
        """Returns what is wrong and what to do, in one line."""
        return OBJECT_AS_255.format(**dataclasses.asdict(self))

    def check(self, what: str = "`y`") -> None:
        """Raises, or warns, where 255 seems to mark the object.

        Args:
            what: Whose masks they are, for the message.

        Raises:
            ValueError: If no mask shows class 1, and some hold 0 and 255.
        """
        if self.only_ignored and not self.with_object:
            raise ValueError(f"{what}: {self.message()}")
        self.warn(what)

    def warn(self, what: str) -> None:
        """Warns where most of the objects seem to be 255.

        Args:
            what: Whose masks they are, for the message.
        """
        if self.only_ignored > self.with_object:
            warn(f"{what}: {self.message()}")


class ImageRange:
    """Whether floating-point images were scaled to 0..1 or -1..1.

    An image of zeros says nothing.
    """

    def __init__(self) -> None:
        self.small = 0
        self.beyond = 0

    def add(self, images: np.ndarray) -> None:
        """Counts images (H, W, C) or (B, H, W, C)."""
        if not np.issubdtype(images.dtype, np.floating) or self.beyond:
            # One image that is right is enough.
            self.beyond += 1
            return
        images = images.reshape(-1, *images.shape[-3:])
        highest = np.abs(images).max(axis=(1, 2, 3))
        self.beyond += int((highest > 1).sum())
        self.small += int(((highest > 0) & (highest <= 1)).sum())

    def warn(self, what: str) -> None:
        """Warns if all images are small.

        Args:
            what: Whose images they are, for the message.
        """
        if self.small and not self.beyond:
            count = "1 image" if self.small == 1 else f"{self.small} images"
            warn(f"{what}: {SMALL_IMAGES.format(count=count)}")


def warn(message: str) -> None:
    """Warns with a `DataWarning`."""
    warnings.warn(message, DataWarning, stacklevel=3)


def is_array(value: Any) -> bool:
    """Tells whether a value is an array or tensor, and no data set."""
    shape = getattr(value, "shape", None)
    return shape is not None and len(shape) > 0 and hasattr(value, "__array__")


def pieces(array: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Reads an array of images or masks in pieces.

    Args:
        array: NumPy array or tensor (N, ...).

    Yields:
        Index of the first item, and a NumPy array of a few items.
    """
    count = int(array.shape[0])
    if not count:
        return
    item = np.asarray(array[:1]).nbytes
    step = max(1, _PIECE_BYTES // max(item, 1))
    for start in range(0, count, step):
        yield start, np.asarray(array[start : start + step])


def first_fraction(labels: np.ndarray) -> float | None:
    """Returns the first label that is no whole number, None if all are."""
    if not np.issubdtype(labels.dtype, np.floating):
        return None
    # NaN equals nothing, infinity is its own floor.
    wrong = ~np.isfinite(labels) | (labels != np.floor(labels))
    return float(labels[wrong][0]) if wrong.any() else None
