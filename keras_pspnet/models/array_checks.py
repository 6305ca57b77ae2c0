"""Checks of arrays of images and masks, before a step is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.losses import shape_hint
from keras_pspnet.models.compile_checks import LabelRule
from keras_pspnet.utils.plausibility import (
    FRACTIONS,
    BinaryMasks,
    ImageRange,
    first_fraction,
    is_array,
    pieces,
)

_DEFAULT_RULE = LabelRule(IGNORE_LABEL)


def as_array(name: str, value: Any) -> Any:
    """Stacks a list of images or masks; everything else comes back itself.

    Args:
        name: What errors call it.
        value: What the user gave.

    Returns:
        An array for a list or tuple of arrays of one shape.

    Raises:
        ValueError: If their shapes differ.
    """
    if not isinstance(value, list | tuple) or not value:
        return value
    if not all(hasattr(each, "__array__") for each in value):
        return value
    arrays = [np.asarray(each) for each in value]
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        raise ValueError(
            f"{name} must hold arrays of one shape: resize or crop them, or "
            "train on a data set of batches of one image. Received: shapes "
            f"{shapes[0]} and {shapes[1]}"
        )
    return np.stack(arrays)


def check_arrays(
    x: Any,
    y: Any,
    num_classes: int,
    rule: LabelRule | None = _DEFAULT_RULE,
    names: tuple[str, str] = ("`x`", "`y`"),
    binary: Literal["refuse", "warn", "skip"] = "refuse",
) -> None:
    """Refuses images and masks that do not fit; data sets are left alone.

    Args:
        x: What `fit` was given: arrays are checked.
        y: Likewise; masks by output as well.
        num_classes: Number of classes C.
        rule: The labels that the loss takes; None where it takes something
            else, which is then not checked.
        names: What errors call the images and the masks.
        binary: What to do where two classes are given as 0 and 255 and no
            mask shows class 1. In a single batch that may be right.

    Raises:
        ValueError: If a shape, a size or a label does not fit, or two classes
            are given as 0 and 255.

    Warns:
        DataWarning: If images seem scaled to 0..1 or objects marked 255.
    """
    if is_array(x):
        _check_images(x, names[0])
        if y is None:
            raise ValueError(
                f"{names[1]} must be the masks of the images. "
                f"Received: no masks for images of shape {tuple(x.shape)}"
            )
    masks = y.values() if isinstance(y, Mapping) else [y]
    for mask in masks:
        if is_array(mask) and rule is not None:
            _check_shape(x, mask, num_classes, names)
            _check_labels(mask, num_classes, rule, names[1], binary)


def _check_images(x: Any, name: str) -> None:
    shape = tuple(x.shape)
    if len(shape) != 4 or shape[-1] != 3:
        raise ValueError(
            f"{name} must be RGB images of shape (N, H, W, 3). "
            f"Received: x of shape {shape}"
        )
    seen = ImageRange()
    for _, images in pieces(x):
        seen.add(images)
        if seen.beyond:
            break
    seen.warn(name)


def _check_shape(
    x: Any, mask: Any, num_classes: int, names: tuple[str, str]
) -> None:
    shape = tuple(mask.shape)
    sides = shape[:-1] if len(shape) == 4 else shape
    if len(sides) != 3 or (len(shape) == 4 and shape[-1] != 1):
        raise ValueError(
            f"{names[1]} must be masks of shape (N, H, W) or (N, H, W, 1)"
            f"{shape_hint(shape, num_classes)}. Received: y of shape {shape}"
        )
    if is_array(x) and sides != tuple(x.shape[:3]):
        raise ValueError(
            f"{names[1]} must have the size of the images. Received: y of "
            f"shape {shape} for x of shape {tuple(x.shape)}"
        )


def _check_labels(
    mask: Any, num_classes: int, rule: LabelRule, name: str, binary: str
) -> None:
    counts = BinaryMasks()
    ignored = rule.ignore_label
    of_two = num_classes == 2 and ignored == IGNORE_LABEL
    for start, labels in pieces(mask):
        labels = labels.reshape(labels.shape[:3])
        fraction = first_fraction(labels)
        if fraction is not None:
            raise ValueError(
                f"{name}: {FRACTIONS}. Received: label {fraction:g}"
            )
        bad = (labels < 0) | (labels >= num_classes)
        if ignored is not None:
            bad &= labels != ignored
        if bad.any():
            also = "" if ignored is None else f" or the ignore label {ignored}"
            raise ValueError(
                f"{name} must hold labels 0..{num_classes - 1}{also}. "
                f"Received: label {labels[bad][0]} in "
                f"mask {start + int(np.argwhere(bad)[0][0])}"
            )
        if of_two:
            counts.add(labels)
    if binary == "refuse":
        counts.check(name)
    elif binary == "warn":
        counts.warn(name)
