"""Checks of arrays of images and masks, before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    warn_of_one_class,
)

_DEFAULT_RULE = LabelRule(IGNORE_LABEL)


def as_array(name: str, value: Any) -> Any:
    """Stacks a list of images or masks.

    Args:
        name: Name of the value in errors.
        value: As given to `fit`; images may be in a dictionary
            `{"image": ...}`, by the name of the network's input.

    Returns:
        An array for a list or tuple of arrays; any other value unchanged.

    Raises:
        ValueError: If the arrays have different shapes.
    """
    if isinstance(value, Mapping) and list(value) == ["image"]:
        value = value["image"]
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
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    whole: bool = True,
) -> None:
    """Refuses arrays of images and masks that do not fit the model.

    Args:
        x: Images as given to `fit`; only arrays are checked.
        y: Masks as given to `fit`, also by output; only arrays are checked.
        num_classes: Number of classes C.
        rule: The labels that the loss takes; None if it takes something else,
            in which case masks are not checked.
        names: Names of images and masks in errors.
        binary: What to do if masks of two classes hold 0 and 255 but no 1,
            which may be right in a single batch.
        whole: Whether this is all the data, and not a single batch, which may
            well show one class only.
        mean: The model's mean of each band.

    Raises:
        ValueError: If a shape, a size or a label does not fit, if masks of
            two classes hold 0 and 255, or if an image holds NaN or infinity.

    Warns:
        DataWarning: If images seem scaled to 0..1, objects seem to be marked
            255, or all ground truth is of one class.
    """
    if is_array(x):
        _check_images(x, names[0], mean)
        if y is None:
            raise ValueError(
                f"{names[1]} must be the masks of the images. "
                f"Received: no masks for images of shape {tuple(x.shape)}"
            )
    masks = y.values() if isinstance(y, Mapping) else [y]
    for mask in masks:
        if is_array(mask) and rule is not None:
            _check_shape(x, mask, num_classes, names)
            _check_labels(mask, num_classes, rule, names[1], binary, whole)


def check_weights(x: Any, weights: Any) -> None:
    """Refuses sample weights that do not fit arrays of images.

    Args:
        x: Images as given to `fit`; nothing is checked for a data set.
        weights: `sample_weight` of `fit`, for all outputs or by output.

    Raises:
        ValueError: If a shape does not fit, or a weight is negative or not
            finite.
    """
    if not is_array(x):
        return
    for given in (
        weights.values() if isinstance(weights, Mapping) else [weights]
    ):
        if not is_array(given):
            continue
        shape, sides = tuple(given.shape), tuple(x.shape[:3])
        of_pixels = shape[:3] if shape[3:] in ((), (1,)) else ()
        if shape not in (sides[:1], (sides[0], 1), (*sides[:1], 1, 1)) and (
            of_pixels != sides
        ):
            raise ValueError(
                "`sample_weight` must have shape (N,), (N, H, W) or "
                f"(N, H, W, 1). Received: sample_weight of shape {shape} for "
                f"x of shape {tuple(x.shape)}"
            )
        for _, part in pieces(given):
            bad = ~((part >= 0) & (part < np.inf))
            if bad.any():
                raise ValueError(
                    "`sample_weight` must hold finite numbers of at least 0. "
                    f"Received: weight {part[bad][0]:g}"
                )


def _check_images(x: Any, name: str, mean: Sequence[float]) -> None:
    shape, bands = tuple(x.shape), len(mean)
    if len(shape) != 4 or shape[-1] != bands:
        kind = "RGB images" if bands == 3 else "images"
        raise ValueError(
            f"{name} must be {kind} of shape (N, H, W, {bands}). "
            f"Received: x of shape {shape}"
        )
    seen = ImageRange(mean)
    for _, images in pieces(x):
        seen.add(images)
        if images.dtype == np.uint8:
            # All images are uint8, in which every value is valid.
            break
        seen.refuse_broken(name)
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
    mask: Any,
    num_classes: int,
    rule: LabelRule,
    name: str,
    binary: str,
    whole: bool,
) -> None:
    counts = BinaryMasks()
    shown: set[int] = set()
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
        if whole and len(shown) < 2:
            valid = labels if ignored is None else labels[labels != ignored]
            # Two different classes are enough.
            shown |= (
                {int(valid.min()), int(valid.max())} if valid.size else set()
            )
    if binary == "refuse":
        warned = counts.check(name)
    else:
        warned = binary == "warn" and counts.warn(name)
    if whole and not warned:
        warn_of_one_class(name, shown, int(mask.shape[0]))
