"""Exact pixel counts over a whole set."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.utils import check_integer

# Labels and predictions fit into bytes, since there are at most 255 classes.
_BYTES = 256


class Confusion:
    """Counts the pixels of each (true class, predicted class).

    The counts are 64-bit integers, so they are exact and do not depend on the
    order of the images. Processes that share a set count their parts, and `+`
    adds the results.

    Args:
        num_classes: Number of classes C, 1..255.
        ignore_label: Label 0..255 that is never counted. If it is a class,
            the pixels of that class are skipped.

    Raises:
        ValueError: If an argument is not an integer in its range.

    Attributes:
        counts: int64 (C, C), rows are true classes.
        images: Number of images added.

    Examples:
        >>> from keras_pspnet.evaluation import Confusion
        >>> confusion = Confusion(num_classes=2)
        >>> confusion.add(np.array([[0, 1, 255]]), np.array([[0, 0, 1]]))
        >>> confusion.counts
        array([[1, 0],
               [1, 0]])
    """

    def __init__(
        self, num_classes: int, ignore_label: int = IGNORE_LABEL
    ) -> None:
        self.num_classes = check_integer("num_classes", num_classes, 255)
        self.ignore_label = check_integer("ignore_label", ignore_label, 255, 0)
        self.counts = np.zeros((self.num_classes,) * 2, np.int64)
        self.images = 0

    def add(self, mask: np.ndarray, prediction: np.ndarray) -> None:
        """Counts one image.

        A call that raises counts nothing.

        Args:
            mask: Integers (H, W): true classes 0..C-1, or the ignore label.
            prediction: Integers of the same shape: classes 0..C-1, on
                ignored pixels too.

        Raises:
            TypeError: If an array does not hold integers.
            ValueError: If the shapes are not the same (H, W), or an array
                holds any other value; the message names it.
        """
        mask, prediction = np.asarray(mask), np.asarray(prediction)
        if mask.shape != prediction.shape or mask.ndim != 2:
            raise ValueError(
                "`mask` and `prediction` must have one shape, (H, W). "
                f"Received: mask of shape {mask.shape}, "
                f"prediction of shape {prediction.shape}"
            )
        rule = f"classes within 0..{self.num_classes - 1}"
        mask_rule = f"{rule}, or {self.ignore_label} to ignore"
        mask = _as_bytes("mask", mask, mask_rule)
        prediction = _as_bytes("prediction", prediction, rule)
        # Count all pairs of bytes: then only a small table must be searched
        # for bad and ignored labels, not every pixel.
        index = mask.astype(np.uint16)
        index <<= 8
        index |= prediction
        table = np.bincount(index.ravel(order="K"), minlength=_BYTES * _BYTES)
        table = table.reshape(_BYTES, _BYTES)
        labels = np.flatnonzero(table.any(axis=1))
        wrong = labels[
            (labels >= self.num_classes) & (labels != self.ignore_label)
        ]
        if wrong.size:
            raise _no_class("mask", mask_rule, wrong[0])
        wrong = np.flatnonzero(table[:, self.num_classes :].any(axis=0))
        if wrong.size:
            raise _no_class("prediction", rule, self.num_classes + wrong[0])
        table[self.ignore_label] = 0
        self.counts += table[: self.num_classes, : self.num_classes]
        self.images += 1

    def __add__(self, other: Confusion) -> Confusion:
        if not isinstance(other, Confusion):
            return NotImplemented
        for name in ("num_classes", "ignore_label"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(
                    f"counts to add must have the same `{name}`. "
                    f"Received: {name}={mine} and {name}={theirs}"
                )
        total = Confusion(self.num_classes, self.ignore_label)
        total.counts += self.counts + other.counts
        total.images = self.images + other.images
        return total


def check_counts(confusion: Any, num_classes: int) -> None:
    """Checks that an array holds the pixel counts of a confusion matrix.

    Args:
        confusion: The array to check.
        num_classes: Number of classes C.

    Raises:
        TypeError: If it is not an array of integers.
        ValueError: If its shape is not (C, C), or a count is negative.
    """
    if not isinstance(confusion, np.ndarray) or not np.issubdtype(
        confusion.dtype, np.integer
    ):
        kind = getattr(confusion, "dtype", type(confusion).__name__)
        raise TypeError(
            "`confusion` must be an array of integers. "
            f"Received: confusion of {kind}"
        )
    shape, least = confusion.shape, confusion.min(initial=0)
    if shape != (num_classes, num_classes) or least < 0:
        raise ValueError(
            "`confusion` must have a row and a column for each of the "
            f"{num_classes} labels, with counts of at least 0. "
            f"Received: confusion of shape {shape} with {least}"
        )


def _as_bytes(argument: str, array: np.ndarray, rule: str) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"`{argument}` must hold integers. Received: "
            f"{argument} of dtype {array.dtype}"
        )
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8, copy=False)
    for value in (array.min(), array.max()):
        if not 0 <= value < _BYTES:
            raise _no_class(argument, rule, value)
    return array.astype(np.uint8)


def _no_class(argument: str, rule: str, value: Any) -> ValueError:
    return ValueError(
        f"`{argument}` must hold {rule}. Received: {argument} with {int(value)}"
    )
