"""Metrics from one confusion matrix over all batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np
from keras import ops

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.losses import (
    broadcast_weights,
    check_mask_shape,
    refuse_bad_labels,
    squeeze_masks,
    to_labels,
)
from keras_pspnet.utils import as_integer, check_integer, check_rule
from keras_pspnet.utils.types import Tensor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Each count is two int32 words: by default JAX has no 64-bit integers, and a
# large validation set has more pixels than 32 bits can count.
_WORD = 1 << 24


def confusion_matrix(
    masks: Tensor | ArrayLike,
    predictions: Tensor | ArrayLike,
    num_classes: int,
    ignore_label: int = IGNORE_LABEL,
) -> Tensor:
    """Counts the pixels of each (true class, predicted class).

    Args:
        masks: Integer masks of any shape. Pixels with a label outside 0..C-1
            are skipped.
        predictions: Integer class ids, 0..C-1, of the same shape. Any other
            value on a counted pixel is an error on TensorFlow on a CPU;
            compiled code, which cannot raise, skips the pixel.
        num_classes: C.
        ignore_label: Label to skip, even if it is below C.

    Returns:
        int32 tensor (C, C), rows are true classes: exact for up to 2**31 - 1
        pixels, more than any batch has.

    Examples:
        >>> from keras_pspnet.metrics import confusion_matrix
        >>> matrix = confusion_matrix([0, 1, 255], [0, 0, 1], num_classes=2)
        >>> keras.ops.convert_to_numpy(matrix)
        array([[1, 0],
               [1, 0]], dtype=int32)
    """
    labels = ops.cast(masks, "int32")
    found = ops.cast(predictions, "int32")
    valid = (labels != ignore_label) & (labels >= 0) & (labels < num_classes)
    cells = num_classes * num_classes
    # A prediction that is no class must not count in the next class's row.
    known = (found >= 0) & (found < num_classes)
    index = ops.where(known, labels * num_classes + found, cells)
    counts = ops.segment_sum(
        ops.reshape(ops.cast(valid, "int32"), (-1,)),
        ops.reshape(ops.where(valid, index, 0), (-1,)),
        num_segments=cells,
    )
    return ops.reshape(counts, (num_classes, num_classes))


class _ConfusionMetric(keras.metrics.Metric):
    """Accumulates a confusion matrix exactly, up to 2**55 pixels a cell.

    The results during training are float32, since the graph computes them;
    `keras_pspnet.Scores` computes in float64.

    Args:
        num_classes: Number of classes C.
        ignore_label: Label that is never counted.
        name: Name of the metric.
        **kwargs: Passed to `keras.metrics.Metric`.
    """

    default_name: str

    def __init__(
        self,
        num_classes: int,
        ignore_label: int = IGNORE_LABEL,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name or self.default_name, **kwargs)
        # Tells Keras's callbacks that more is better.
        self._direction = "up"
        self.num_classes = check_integer("num_classes", num_classes)
        # Negative too: some masks hold -1 where they have no class.
        ignored = as_integer(ignore_label, least=-(1 << 31))
        rule = "be an integer"
        check_rule("ignore_label", ignore_label, rule, ignored is not None)
        self.ignore_label = cast(int, ignored)
        self._low, self._high = (
            self.add_weight(
                shape=(num_classes, num_classes),
                initializer="zeros",
                dtype="int32",
                name=f"{word}_counts",
            )
            for word in ("low", "high")
        )

    def update_state(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
    ) -> None:
        """Adds a batch.

        Args:
            y_true: Masks (B, H, W) or (B, H, W, 1) of integers or whole
                floats, or one-hot masks (B, H, W, C), in which pixels without
                a class are skipped. Any label outside 0..C-1 but the ignore
                label is an error on TensorFlow; compiled code, which cannot
                raise, skips the pixel.
            y_pred: Logits (B, H, W, C), or class ids shaped like the masks.
            sample_weight: A pixel of weight 0 is skipped, any other counts
                once. Must broadcast to the masks.
        """
        masks = to_labels(self._without_one_hot(y_true))
        predictions = ops.convert_to_tensor(y_pred)
        if len(predictions.shape) == 4 and predictions.shape[-1] != 1:
            check_mask_shape(masks, predictions)
            predictions = ops.argmax(predictions, axis=-1)
        else:
            predictions = squeeze_masks(predictions)
        if sample_weight is not None:
            weight = broadcast_weights(sample_weight, "float32")
            masks = ops.where(weight != 0, masks, self.ignore_label)
        masks = refuse_bad_labels(
            masks, masks, self.num_classes, self.ignore_label
        )
        low = self._low + confusion_matrix(
            masks, predictions, self.num_classes, self.ignore_label
        )
        carry = low // _WORD
        self._low.assign(low - carry * _WORD)
        self._high.assign(self._high + carry)

    def _without_one_hot(self, masks: Tensor) -> Tensor:
        masks = ops.convert_to_tensor(masks)
        if len(masks.shape) != 4 or masks.shape[-1] != self.num_classes > 1:
            return masks
        labels = ops.cast(ops.argmax(masks, axis=-1), "int32")
        return ops.where(ops.any(masks > 0, axis=-1), labels, self.ignore_label)

    def confusion_matrix(self) -> np.ndarray:
        """Returns the counts so far: int64 (C, C), rows are true classes."""
        low = ops.convert_to_numpy(self._low).astype("int64")
        high = ops.convert_to_numpy(self._high).astype("int64")
        return high * _WORD + low

    def _counts(self) -> Tensor:
        """Returns the counts as floats, for results inside a graph."""
        return ops.cast(self._high, "float32") * _WORD + ops.cast(
            self._low, "float32"
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
        }


@keras.saving.register_keras_serializable(package="keras_pspnet")
class MeanIoU(_ConfusionMetric):
    """Mean intersection over union, over all batches together.

    Intersections and unions are summed over all pixels and divided once. The
    mean skips classes that occur in neither the ground truth nor the
    predictions; without any pixel it is 0.

    Args:
        num_classes: Number of classes C.
        ignore_label: Label that is never counted.
        name: Name of the metric.
        **kwargs: Passed to `keras.metrics.Metric`.

    Examples:
        >>> metric = kp.MeanIoU(num_classes=2)
        >>> logits = np.array([[[[9.0, 0], [0, 9], [9, 0]]]])  # classes 0, 1, 0
        >>> metric.update_state(np.array([[[0, 1, 255]]]), logits)
        >>> float(metric.result())
        1.0
    """

    default_name = "mean_iou"

    def result(self) -> Tensor:
        counts = self._counts()
        intersection = ops.diagonal(counts)
        union = ops.sum(counts, 0) + ops.sum(counts, 1) - intersection
        present = ops.cast(union > 0, "float32")
        iou = intersection / ops.maximum(union, 1.0)
        return ops.sum(iou) / ops.maximum(ops.sum(present), 1.0)


@keras.saving.register_keras_serializable(package="keras_pspnet")
class PixelAccuracy(_ConfusionMetric):
    """Share of valid pixels with the right class, over all batches together.

    Args:
        num_classes: Number of classes C.
        ignore_label: Label that is never counted.
        name: Name of the metric.
        **kwargs: Passed to `keras.metrics.Metric`.

    Examples:
        >>> metric = kp.PixelAccuracy(num_classes=2)
        >>> logits = np.array([[[[9.0, 0], [9, 0], [9, 0]]]])  # class 0
        >>> metric.update_state(np.array([[[0, 1, 255]]]), logits)
        >>> float(metric.result())
        0.5
    """

    default_name = "pixel_accuracy"

    def result(self) -> Tensor:
        counts = self._counts()
        total = ops.maximum(ops.sum(counts), 1.0)
        return ops.sum(ops.diagonal(counts)) / total
