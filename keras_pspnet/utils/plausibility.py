"""Finds data that cannot mean what it says, such as images in 0..1."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_pspnet.labels import IGNORE_LABEL

# Arrays are checked in pieces of this size, without a second copy.
_PIECE_BYTES = 4 << 20

FRACTIONS = (
    "labels must be whole numbers: read masks without scaling them (not "
    "divided by 255, as matplotlib reads them) and resize them with the "
    "nearest neighbor"
)
SMALL_IMAGES = (
    "images must be in 0..255, since the model normalizes them itself. "
    "Received: {count} whose values are all within -1..1; multiply them by "
    "255, or leave out the rescaling"
)
NORMALIZED_IMAGES = (
    "images must be in 0..255, since the model normalizes them itself. "
    "Received: {count} with values that are below 0 or beyond 255; leave out "
    "the normalization, or scale images of more bits to 0..255"
)
OTHER_UNITS = (
    "images must be in the units of the model's mean, which is {mean}, since "
    "the model normalizes them itself. Received: {count} whose values are all "
    "within -1..1"
)
LARGE_IMAGES = (
    "images must be in the units of the model's mean, which is {mean}, since "
    "the model normalizes them itself. Received: {count} with values as in "
    "0..255; divide them by 255, or give PSPNet `mean` and `std` in 0..255"
)
NOT_FINITE = (
    "{what}: images must hold finite numbers. Received: {count} of {of} with "
    "NaN or infinity"
)
OBJECT_AS_255 = (
    "two classes must be 0 and 1, but 255, which means ignore, is where "
    "class 1 is expected. Received: {only_ignored} of {masks} masks that hold "
    "0 and 255 without 1, and {with_object} that hold 1. If 255 marks the "
    "object, {remedy}"
)
ONE_CLASS = (
    "masks must show at least two classes: with one, a network that always "
    "predicts it would be perfect. Received: {masks} masks in which only "
    "class {label} has ground truth; pixels of another class must not hold "
    "the ignore label"
)
MAP_ARRAYS = (
    "map it: masks = (masks == 255).astype('uint8'). If there are pixels to "
    "ignore as well, give them another value and set it as the ignore label"
)
MAP_FILES = (
    "write the lines '{0} 0' and '{1} 255' into labels.txt, without others "
    "(in Python: labels={{'{0}': 0, '{1}': 255}}). Pixels to ignore need "
    "another value, in a line such as 'ignore 128'"
)


class DataWarning(UserWarning):
    """Data that may not mean what it says.

    Examples:
        >>> import warnings
        >>> warnings.simplefilter("error", kp.DataWarning)
    """


@dataclasses.dataclass
class BinaryMasks:
    """Counts masks of two classes in which 255 seems to mark the object.

    Args:
        masks: Number of masks.
        with_object: Number of masks with class 1.
        only_ignored: Number of masks with 0 and 255, without class 1.
        remedy: What to do if 255 marks the object.
    """

    masks: int = 0
    with_object: int = 0
    only_ignored: int = 0
    remedy: str = MAP_ARRAYS

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

    def check(self, what: str = "`y`") -> bool:
        """Raises or warns if 255 seems to mark the object.

        Args:
            what: Name of the masks, for the message.

        Returns:
            Whether it warned.

        Raises:
            ValueError: If no mask has class 1, and some have 0 and 255.
        """
        if self.only_ignored and not self.with_object:
            raise ValueError(f"{what}: {self.message()}")
        return self.warn(what)

    def warn(self, what: str) -> bool:
        """Warns if most of the objects seem to be 255.

        Args:
            what: Name of the masks, for the message.

        Returns:
            Whether it warned.
        """
        seems_wrong = self.only_ignored > self.with_object
        if seems_wrong:
            warn(f"{what}: {self.message()}")
        return seems_wrong


# Limits that allow for the overshoot of cubic resizing: images in 0..1 stay
# below the first, standardized ones below the second, and images in 0..255
# within the last two.
_SMALL, _STANDARD, _LOWEST, _HIGHEST = 2, 16, -100, 400


def image_kinds(lowest: Any, highest: Any, is_float: bool) -> dict[str, Any]:
    """Classifies images by their values; an image of zeros is of no kind.

    Args:
        lowest: Array or tensor (B,), the least value of each image.
        highest: Likewise, the greatest value.
        is_float: Whether the images hold floating-point numbers.

    Returns:
        Kind -> boolean (B,). `broken`: not finite; `small`: like 0..1 or
        -1..1; `signed`: like standardized images; `wide`: beyond 0..255;
        `usual`: neither `small` nor `signed`; `bright`: above the values of
        standardized images.
    """
    span = highest - lowest
    finite = (span >= 0) & (span < float("inf"))
    filled = finite & ((lowest != 0) | (highest != 0))
    if is_float:
        small = filled & (highest < _SMALL) & (lowest > -_SMALL)
        wide = finite & ((lowest < _LOWEST) | (highest > _HIGHEST))
        signed = filled & (lowest < 0) & (highest < _STANDARD)
        signed = signed & (lowest > -_STANDARD) & ~small
    else:
        small = filled & (highest == 1)
        wide = filled & ((lowest < 0) | (highest > 255))
        signed = filled & False
    return {
        "broken": ~finite,
        "small": small,
        "signed": signed,
        "wide": wide,
        "usual": filled & ~small & ~signed,
        "bright": filled & (highest > _STANDARD),
    }


class ImageRange:
    """Checks whether images are in the units that a model takes.

    Args:
        mean: The mean of each band that the model expects. RGB is in 0..255;
            other bands may have other units, and small values.
    """

    KINDS = ("broken", "small", "signed", "wide", "usual", "bright")

    def __init__(self, mean: Sequence[float] = (0.0, 0.0, 0.0)) -> None:
        self.mean = tuple(mean)
        self.counts = dict.fromkeys(self.KINDS, 0)
        self.images = 0

    def add(self, images: np.ndarray) -> None:
        """Counts images (H, W, C) or (B, H, W, C)."""
        images = images.reshape(-1, *images.shape[-3:])
        self.images += len(images)
        if images.dtype == np.uint8:
            # uint8 needs no check.
            self.counts["usual"] += len(images)
            self.counts["bright"] += len(images)
            return
        lowest, highest = (
            each(axis=(1, 2, 3)).astype("float64")
            for each in (images.min, images.max)
        )
        is_float = np.issubdtype(images.dtype, np.floating)
        with np.errstate(invalid="ignore"):
            found = image_kinds(lowest, highest, is_float)
        for kind, flags in found.items():
            self.counts[kind] += int(np.count_nonzero(flags))

    def refuse_broken(self, what: str) -> None:
        """Raises ValueError if an image holds NaN or infinity.

        Args:
            what: Name of the images, for the message.
        """
        if self.counts["broken"]:
            raise ValueError(self._not_finite(what))

    def warn(self, what: str) -> None:
        """Warns if the images seem to be in other units.

        Args:
            what: Name of the images, for the message.
        """
        if self.counts["broken"]:
            warn(self._not_finite(what))
        text, count = self._verdict()
        if count:
            images = "1 image" if count == 1 else f"{count} images"
            warn(f"{what}: {text.format(count=images, mean=self.mean)}")

    def _not_finite(self, what: str) -> str:
        count = self.counts["broken"]
        return NOT_FINITE.format(what=what, count=count, of=self.images)

    def _verdict(self) -> tuple[str, int]:
        """Returns the message and the number of images; "" and 0 for none."""
        small, signed, usual = (
            self.counts[kind] for kind in ("small", "signed", "usual")
        )
        rgb, highest = len(self.mean) == 3, max(map(abs, self.mean))
        if rgb and 0 < highest <= 1:
            return LARGE_IMAGES, self._if_most("bright")
        if small and not usual and not signed:
            applies = rgb or max(self.mean) > 1
            return SMALL_IMAGES if rgb else OTHER_UNITS, small * applies
        # A mean of 0, or beyond 0..255, does not show the units.
        if not rgb or not highest or min(self.mean) < 0 or highest > 255:
            return "", 0
        if signed and not usual:
            return NORMALIZED_IMAGES, small + signed
        return NORMALIZED_IMAGES, self._if_most("wide")

    def _if_most(self, kind: str) -> int:
        """Returns the number of images of a kind; 0 unless most are."""
        count = self.counts[kind]
        return count if 2 * count > self.images else 0


def warn_of_one_class(what: str, classes: Iterable[int], masks: int) -> None:
    """Warns if several masks show only one class.

    Args:
        what: Name of the masks, for the message.
        classes: The classes that they show.
        masks: Number of masks. A single mask may well have one class.
    """
    shown = set(classes)
    if masks > 1 and len(shown) == 1:
        warn(f"{what}: {ONE_CLASS.format(masks=masks, label=shown.pop())}")


def warn(message: str) -> None:
    """Issues a `DataWarning`."""
    warnings.warn(message, DataWarning, stacklevel=3)


def is_array(value: Any) -> bool:
    """Returns whether a value is an array or tensor, not a data set."""
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
    """Returns the first label that is not a whole number; None if all are."""
    if not np.issubdtype(labels.dtype, np.floating):
        return None
    # NaN differs from its floor, but infinity does not.
    wrong = ~np.isfinite(labels) | (labels != np.floor(labels))
    return float(labels[wrong][0]) if wrong.any() else None
