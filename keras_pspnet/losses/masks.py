"""Checks and conversion of the masks and weights of losses and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
from keras import ops

from keras_pspnet.utils.plausibility import FRACTIONS
from keras_pspnet.utils.types import Tensor

if TYPE_CHECKING:
    import tensorflow as tf

# Stands for a label that is no class where compiled code cannot raise.
_NO_LABEL = -1_000_000


def squeeze_masks(masks: Tensor) -> Tensor:
    """Returns masks as (B, H, W), without a last axis of size 1."""
    masks = ops.convert_to_tensor(masks)
    if len(masks.shape) == 4 and masks.shape[-1] in (None, 1):
        masks = ops.squeeze(masks, axis=-1)
    return masks


def to_labels(masks: Tensor) -> Tensor:
    """Returns masks as int32 labels (B, H, W), and refuses fractions.

    Args:
        masks: (B, H, W) or (B, H, W, 1), of integers or whole floats. A
            fraction, or a number beyond 32 bits, is an error on TensorFlow;
            where compiled code cannot raise, it becomes a label that every
            loss rejects.
    """
    masks = squeeze_masks(masks)
    labels = ops.cast(masks, "int32")
    dtype = keras.backend.standardize_dtype(masks.dtype)
    is_float = "float" in dtype
    if not is_float and dtype not in ("int64", "uint32", "uint64"):
        return labels
    whole = ops.equal(ops.cast(labels, masks.dtype), masks)
    labels = ops.where(whole, labels, _NO_LABEL)
    if keras.backend.backend() != "tensorflow":
        return labels
    import tensorflow as tf

    wrong = tf.boolean_mask(masks, tf.logical_not(whole))
    return _after_check(
        labels,
        tf.equal(tf.size(wrong), 0),
        FRACTIONS if is_float else "labels must be class ids",
        wrong[:1],
    )


def shape_hint(shape: tuple[int | None, ...], num_classes: int | None) -> str:
    """Returns the remedy for masks that have channels, else ""."""
    if len(shape) != 4 or shape[-1] in (None, 1):
        return ""
    if shape[-1] == num_classes:
        return "; turn one-hot masks into labels with argmax(axis=-1)"
    if shape[-1] in (3, 4):
        return "; map the colors of RGB masks to labels, as kp.data.load does"
    return ""


def check_mask_shape(masks: Tensor, logits: Tensor) -> None:
    """Raises ValueError if known sizes of masks and logits differ."""
    shape = tuple(masks.shape)
    if len(shape) != 3:
        raise ValueError(
            "masks must have shape (B, H, W) or (B, H, W, 1)"
            f"{shape_hint(shape, logits.shape[-1])}. Received: shape={shape}"
        )
    for mask_side, side in zip(masks.shape, logits.shape[:3], strict=True):
        if None not in (mask_side, side) and mask_side != side:
            raise ValueError(
                "masks must have the size of their images. Received: "
                f"masks of shape {tuple(masks.shape)} for "
                f"logits of shape {tuple(logits.shape)}"
            )


def broadcast_weights(sample_weight: Tensor, dtype: str) -> Tensor:
    """Shapes sample weights so that they broadcast to masks (B, H, W).

    Args:
        sample_weight: Tensor (B,), (B, H, W) or (B, H, W, 1).
        dtype: Dtype of the result.

    Returns:
        Tensor of rank 3.

    Raises:
        ValueError: If it has shape (B, H), which would broadcast to square
            images only, and wrongly.
    """
    weight = ops.cast(squeeze_masks(sample_weight), dtype)
    if len(weight.shape) == 2 and weight.shape[1] not in (None, 1):
        raise ValueError(
            "`sample_weight` must have shape (B,), (B, H, W) or (B, H, W, 1). "
            f"Received: sample_weight of shape {tuple(weight.shape)}"
        )
    while len(weight.shape) < 3:
        weight = ops.expand_dims(weight, axis=-1)
    return weight


def refuse_bad_labels(
    value: Tensor, masks: Tensor, num_classes: int, ignore_label: int
) -> Tensor:
    """Raises an error for labels outside the classes, on TensorFlow only.

    Args:
        value: Tensor to return. In a graph it depends on the check.
        masks: int32 masks (B, H, W).
        num_classes: Number of classes C.
        ignore_label: Label that is allowed beside the classes.

    Returns:
        The tensor `value`.

    Raises:
        ValueError: If there is such a label; the message names it.
    """
    if keras.backend.backend() != "tensorflow":
        return value
    import tensorflow as tf

    bad = are_bad(masks, num_classes, ignore_label)
    message = f"labels must be 0..{num_classes - 1} or the ignore label"
    found = tf.where(bad, masks, tf.zeros_like(masks))
    lowest, worst = tf.reduce_min(found), tf.reduce_max(found)
    return _after_check(
        value,
        tf.logical_not(tf.reduce_any(bad)),
        f"{message} {ignore_label}",
        tf.where(lowest < 0, lowest, worst),
    )


def are_bad(masks: Tensor, num_classes: int, ignore_label: int) -> Tensor:
    """Returns where labels are neither a class nor the ignore label.

    Args:
        masks: int32 masks (B, H, W).
        num_classes: Number of classes C.
        ignore_label: Label that is allowed beside the classes.

    Returns:
        bool (B, H, W).
    """
    known = (masks >= 0) & (masks < num_classes)
    return (masks != ignore_label) & ~known


def _after_check(
    value: Tensor, condition: Tensor, rule: str, label: tf.Tensor
) -> Tensor:
    """Makes a TensorFlow tensor depend on an assertion about labels."""
    import tensorflow as tf

    message = f"{rule}. Received: label ="
    if tf.executing_eagerly():
        if not condition:
            raise ValueError(f"{message} {label.numpy().item():g}")
        return value
    check = tf.debugging.Assert(condition, [message, label])
    with tf.control_dependencies([check]):
        return tf.identity(value)
