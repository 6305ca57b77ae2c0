"""Class weights, and the sample weights that they become."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from keras import ops

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.losses import broadcast_weights, squeeze_masks, to_labels
from keras_pspnet.models.types import ByOutput, ClassWeight, Masks
from keras_pspnet.utils.plausibility import pieces
from keras_pspnet.utils.types import Tensor

BALANCED = "balanced"
# Sums over the pixels of a batch stay far below the largest float32.
_MOST = 1e12


def class_weight_table(
    class_weight: ClassWeight | None,
    num_classes: int,
    masks: Masks | None = None,
) -> np.ndarray | None:
    """Converts class weights to a table over all labels.

    Args:
        class_weight: Class id -> factor, or a list or array with a factor for
            each class, or `"balanced"`, or None.
        num_classes: Number of classes C.
        masks: Array of masks whose pixels `"balanced"` counts.

    Returns:
        float32 array (256,), 1 for labels without a factor; None for None.

    Raises:
        ValueError: If an id is not a class, a factor is negative or above
            1e12, all factors are 0, their number is not C, or there are no
            masks to count.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        factors = _balanced(class_weight, num_classes, masks)
    elif isinstance(class_weight, Mapping):
        factors = dict(class_weight)
    else:
        values = np.asarray(class_weight)
        if values.shape != (num_classes,):
            raise ValueError(
                f"`class_weight` must have a factor for each of the "
                f"{num_classes} classes. Received: class_weight of shape "
                f"{values.shape}"
            )
        factors = dict(enumerate(values.tolist()))
    table = np.ones(256, dtype="float32")
    for label, weight in factors.items():
        if not _is_class(label, num_classes) or not _is_factor(weight):
            raise ValueError(
                "`class_weight` must map class ids below "
                f"{num_classes} to factors of at least 0, at most {_MOST:g}. "
                f"Received: class_weight={class_weight!r}"
            )
        table[operator.index(label)] = weight
    if not table[:num_classes].any():
        raise ValueError(
            "`class_weight` must have a factor above 0, or nothing is "
            f"learned. Received: class_weight={class_weight!r}"
        )
    return table


def _balanced(
    class_weight: str, num_classes: int, masks: Masks | None
) -> dict[int, float]:
    """Counts the pixels of masks for `balanced_factors`."""
    if class_weight != BALANCED:
        raise ValueError(
            "`class_weight` must be a dictionary, a list, an array or "
            f"{BALANCED!r}. Received: class_weight={class_weight!r}"
        )
    if isinstance(masks, Mapping):
        masks = masks.get("main", next(iter(masks.values())))
    if not hasattr(masks, "shape"):
        raise ValueError(
            f"`class_weight` must hold numbers unless the masks are an array: "
            f"{BALANCED!r} counts the pixels of `y`. "
            f"Received: class_weight={class_weight!r}"
        )
    counts = np.zeros(num_classes, np.int64)
    for _, labels in pieces(masks):
        for label in range(num_classes):
            counts[label] += np.count_nonzero(labels == label)
    return balanced_factors(counts)


def balanced_factors(counts: np.ndarray) -> dict[int, float]:
    """Returns factors that give each class the same share of the loss.

    Args:
        counts: Pixels of each class, (C,).

    Returns:
        Class id -> factor, for the classes that have pixels.
    """
    present = np.flatnonzero(counts)
    return {
        int(label): float(counts.sum() / (len(present) * counts[label]))
        for label in present
    }


def _is_class(label: Any, num_classes: int) -> bool:
    try:
        return 0 <= operator.index(label) < num_classes
    except TypeError:
        return False


def _is_factor(weight: Any) -> bool:
    try:
        return 0 <= float(weight) <= _MOST
    except (TypeError, ValueError):
        return False


def weigh_classes(
    table: np.ndarray, masks: ByOutput, sample_weight: ByOutput | None
) -> ByOutput:
    """Multiplies sample weights by the weight of each pixel's class.

    Args:
        table: From `class_weight_table`.
        masks: Masks (B, H, W) or (B, H, W, 1), or a dictionary by output.
        sample_weight: None, or a tensor that broadcasts to the masks, or a
            dictionary by output.

    Returns:
        float32 tensor (B, H, W); a dictionary by output if the masks are.
    """
    if isinstance(masks, Mapping):
        given: Any = sample_weight
        if not isinstance(given, Mapping):
            given = dict.fromkeys(masks, given)
        return {
            name: _weigh(table, mask, given.get(name))
            for name, mask in masks.items()
        }
    return _weigh(table, masks, cast("Tensor | None", sample_weight))


def _weigh(
    table: np.ndarray, masks: Tensor, sample_weight: Tensor | None
) -> Tensor:
    masks = squeeze_masks(masks)
    if len(masks.shape) != 3:
        raise ValueError(
            "`class_weight` requires masks of labels (B, H, W). "
            f"Received: masks of shape {tuple(masks.shape)}"
        )
    weights = ops.take(
        ops.convert_to_tensor(table),
        ops.clip(to_labels(masks), 0, IGNORE_LABEL),
    )
    if sample_weight is None:
        return weights
    return weights * broadcast_weights(sample_weight, "float32")
