"""Class weights: a factor on the loss of every pixel, by its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_pspnet.losses import IGNORE_LABEL, broadcast_weights, squeeze_masks


def class_weight_table(
    class_weight: Mapping[int, float] | None, num_classes: int
) -> np.ndarray | None:
    """Writes class weights as a table over all labels.

    Args:
        class_weight: Class id -> factor of at least 0, or None.
        num_classes: Number of classes C.

    Returns:
        float32 array (256,), 1 where nothing is given; None for None.

    Raises:
        ValueError: If an id is not a class, or a factor is negative.
    """
    if class_weight is None:
        return None
    table = np.ones(256, dtype="float32")
    for label, weight in class_weight.items():
        if not 0 <= int(label) < num_classes or weight < 0:
            raise ValueError(
                "`class_weight` must map class ids below "
                f"{num_classes} to factors of at least 0. "
                f"Received: class_weight={dict(class_weight)!r}"
            )
        table[int(label)] = weight
    return table


def weigh_classes(table: np.ndarray, masks: Any, sample_weight: Any) -> Any:
    """Multiplies sample weights with the weight of every pixel's class.

    Args:
        table: From `class_weight_table`.
        masks: Integer masks (B, H, W) or (B, H, W, 1).
        sample_weight: None, or a tensor that broadcasts to the masks.

    Returns:
        float32 tensor (B, H, W).
    """
    masks = ops.cast(squeeze_masks(masks), "int32")
    weights = ops.take(
        ops.convert_to_tensor(table), ops.clip(masks, 0, IGNORE_LABEL)
    )
    if sample_weight is None:
        return weights
    return weights * broadcast_weights(sample_weight, "float32")


def weigh_outputs(
    table: np.ndarray | None, masks: Any, sample_weight: Any
) -> Any:
    """Multiplies sample weights with class weights, for every output.

    Args:
        table: From `class_weight_table`.
        masks: As for `weigh_classes`, plain or by output.
        sample_weight: Likewise.

    Returns:
        float32 tensors (B, H, W), plain or by output as the masks are; the
        sample weights as they are where the table is None.
    """
    if table is None:
        return sample_weight
    if not isinstance(masks, Mapping):
        return weigh_classes(table, masks, sample_weight)
    given = sample_weight or {}
    return {
        name: weigh_classes(table, mask, given.get(name))
        for name, mask in masks.items()
    }
