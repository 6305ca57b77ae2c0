"""The pixel loss: cross-entropy over the valid pixels of the global batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_pspnet.labels import IGNORE_LABEL as IGNORE_LABEL
from keras_pspnet.layers import replica_sum
from keras_pspnet.utils.plausibility import FRACTIONS

# What labels outside the classes become where compiled code cannot raise.
_NO_LABEL = -1_000_000


def squeeze_masks(masks: Any) -> Any:
    """Returns masks as (B, H, W), whether or not they had a last axis of 1."""
    masks = ops.convert_to_tensor(masks)
    if len(masks.shape) == 4 and masks.shape[-1] in (None, 1):
        masks = ops.squeeze(masks, axis=-1)
    return masks


def to_labels(masks: Any) -> Any:
    """Returns masks as int32 labels (B, H, W); fractions are refused.

    Args:
        masks: (B, H, W) or (B, H, W, 1), of integers or whole floats. A
            fraction stops TensorFlow with an error; where compiled code
            cannot raise it becomes a label that no loss takes.
    """
    masks = squeeze_masks(masks)
    labels = ops.cast(masks, "int32")
    if "float" not in keras.backend.standardize_dtype(masks.dtype):
        return labels
    whole = ops.equal(ops.cast(labels, masks.dtype), masks)
    labels = ops.where(whole, labels, _NO_LABEL)
    if keras.backend.backend() != "tensorflow":
        return labels
    import tensorflow as tf

    wrong = tf.boolean_mask(masks, tf.logical_not(whole))
    return _after_check(
        labels, tf.equal(tf.size(wrong), 0), FRACTIONS, wrong[:1]
    )


def shape_hint(shape: tuple[int | None, ...], num_classes: int | None) -> str:
    """Returns what to do about masks that have channels, or nothing."""
    if len(shape) != 4 or shape[-1] in (None, 1):
        return ""
    if shape[-1] == num_classes:
        return "; turn one-hot masks into labels with argmax(axis=-1)"
    if shape[-1] in (3, 4):
        return "; map the colors of RGB masks to labels, as kp.data.load does"
    return ""


def check_mask_shape(masks: Any, logits: Any) -> None:
    """Raises ValueError where known sizes of masks and logits disagree."""
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


def broadcast_weights(sample_weight: Any, dtype: Any) -> Any:
    """Shapes sample weights so that they broadcast to masks (B, H, W).

    Args:
        sample_weight: Tensor (B,), (B, H, W) or (B, H, W, 1).
        dtype: Dtype of the result.

    Returns:
        Tensor of rank 3.
    """
    weight = ops.cast(squeeze_masks(sample_weight), dtype)
    while len(weight.shape) < 3:
        weight = ops.expand_dims(weight, axis=-1)
    return weight


@keras.saving.register_keras_serializable(package="keras_pspnet")
class SegmentationLoss(keras.losses.Loss):
    """Cross-entropy summed over valid pixels, over their number.

    The number is that of the GLOBAL batch: under `tf.distribute` the replicas
    add their counts up first, so that one replica and many take the same
    step however unequally ignored pixels are spread. A batch without a valid
    pixel has loss 0.

    Sample weights multiply the pixels' losses and leave the divisor, the
    count of valid pixels, as it is (Keras's own meaning of `ignore_class`).

    Args:
        ignore_label: Label that adds neither loss nor gradient.
        name: Name of the loss.
        **kwargs: Passed to `keras.losses.Loss`.

    Call arguments:
        y_true: Masks (B, H, W) or (B, H, W, 1) of integers or whole floats;
            0..C-1 or the ignore label. Any other label stops TensorFlow with
            an error, and makes the loss NaN on other backends and under
            `jit_compile`, where compiled code cannot raise.
        y_pred: Logits (B, H, W, C).
        sample_weight: None, or a tensor that broadcasts to the masks: (B,),
            (B, H, W) or (B, H, W, 1).

    Call returns:
        Scalar float32 (float64 for float64 logits). Its SUM over replicas is
        the loss of the global batch, as gradients are summed there.

    Examples:
        >>> loss = kp.SegmentationLoss()
        >>> mask = np.array([[[0, 255]]])  # the second pixel is ignored
        >>> round(float(loss(mask, np.zeros((1, 1, 2, 4)))), 4)  # log 4
        1.3863
    """

    def __init__(
        self,
        ignore_label: int = IGNORE_LABEL,
        name: str = "segmentation_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction="sum", **kwargs)
        self.ignore_label = ignore_label

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        logits = ops.convert_to_tensor(y_pred)
        # Half precision has too few digits for a loss.
        if keras.backend.standardize_dtype(logits.dtype) != "float64":
            logits = ops.cast(logits, "float32")
        masks = squeeze_masks(y_true)
        check_mask_shape(masks, logits)
        masks = to_labels(masks)
        losses = self.call(masks, logits)
        if sample_weight is not None:
            losses = losses * broadcast_weights(sample_weight, losses.dtype)
        valid = ops.cast(masks != self.ignore_label, "int32")
        count = replica_sum(ops.sum(valid))
        total = ops.sum(losses)
        return total / ops.cast(ops.maximum(count, 1), total.dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Computes the loss of every pixel, 0 where it is ignored.

        Args:
            y_true: int32 masks (B, H, W).
            y_pred: Logits (B, H, W, C).

        Returns:
            Tensor (B, H, W).
        """
        num_classes = y_pred.shape[-1]
        valid = y_true != self.ignore_label
        known = (y_true >= 0) & (y_true < num_classes)
        bad = valid & ~known
        labels = ops.where(valid & known, y_true, 0)
        losses = ops.sparse_categorical_crossentropy(
            labels, y_pred, from_logits=True
        )
        losses = ops.where(valid, losses, ops.zeros_like(losses))
        return _refuse_bad_labels(
            losses, y_true, bad, num_classes, self.ignore_label
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("reduction", None)
        return {**config, "ignore_label": self.ignore_label}


def _refuse_bad_labels(
    losses: Any, masks: Any, bad: Any, num_classes: int, ignore_label: int
) -> Any:
    """Stops at labels outside the classes, with the value where possible."""
    # XLA drops assertions, on TensorFlow too: NaN is what it leaves to see.
    losses = ops.where(bad, float("nan"), losses)
    if keras.backend.backend() != "tensorflow":
        return losses
    import tensorflow as tf

    message = f"labels must be 0..{num_classes - 1} or the ignore label"
    found = tf.where(bad, masks, tf.zeros_like(masks))
    lowest, worst = tf.reduce_min(found), tf.reduce_max(found)
    return _after_check(
        losses,
        tf.logical_not(tf.reduce_any(bad)),
        f"{message} {ignore_label}",
        tf.where(lowest < 0, lowest, worst),
    )


def _after_check(value: Any, condition: Any, rule: str, label: Any) -> Any:
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
