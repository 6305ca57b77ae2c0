"""Cross-entropy of all pixels, or of the hard ones only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.losses.pixel_loss import PixelLoss, Pixels
from keras_pspnet.utils import check_integer, check_number, check_rule
from keras_pspnet.utils.types import Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class SegmentationLoss(PixelLoss):
    """Cross-entropy summed over valid pixels, divided by their number.

    The divisor counts the valid pixels of the GLOBAL batch: under
    `tf.distribute` the replicas add up their counts first, so one replica and
    many take the same step, however unevenly ignored pixels are spread. A
    batch without a valid pixel has loss 0.

    Sample weights and class weights multiply the loss of each pixel. They do
    not change the divisor, as with Keras's `ignore_class`.

    Args:
        ignore_label: Label that adds neither loss nor gradient.
        name: Name of the loss.
        label_smoothing: Share of the target to spread over all classes, in
            0..1 (Szegedy et al., 2016, section 7).
        class_weight: A factor of at least 0 for each class, by class id; None
            weights all classes equally. `fit(class_weight=)` multiplies it.
        **kwargs: Passed to `keras.losses.Loss`.

    Call arguments:
        y_true: Masks (B, H, W) or (B, H, W, 1) of integers or whole floats;
            0..C-1 or the ignore label. Any other label is an error on
            TensorFlow. On other backends and under `jit_compile`, where
            compiled code cannot raise, it makes the loss NaN.
        y_pred: Logits (B, H, W, C).
        sample_weight: None, or a tensor that broadcasts to the masks: (B,),
            (B, H, W) or (B, H, W, 1).

    Call returns:
        Scalar float32 (float64 for float64 logits). Its SUM over replicas is
        the loss of the global batch, since gradients are summed too.

    Raises:
        ValueError: If an argument is out of range; when called, if the number
            of class weights is not the number of classes in the logits.

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
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(ignore_label, name, **kwargs)
        self.label_smoothing = check_number(
            "label_smoothing", label_smoothing, most=1.0
        )
        if class_weight is not None:
            class_weight = [
                check_number("class_weight", each) for each in class_weight
            ]
            check_rule(
                "class_weight",
                class_weight,
                "have a factor above 0",
                any(class_weight),
            )
        self.class_weight = class_weight

    def loss_of(self, pixels: Pixels) -> Tensor:
        losses = pixels.cross_entropy
        if self.label_smoothing:
            # The cross-entropy against a uniform target.
            logits = pixels.logits
            spread = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
            spread = ops.where(pixels.valid > 0, spread, 0.0)
            share = self.label_smoothing
            losses = (1 - share) * losses + share * spread
        if self.class_weight is not None:
            factors = ops.convert_to_tensor(
                self.checked_weights(pixels), losses.dtype
            )
            losses = losses * ops.take(factors, pixels.labels)
        if pixels.weight is not None:
            losses = losses * pixels.weight
        return ops.sum(losses) / pixels.count(pixels.valid)

    def checked_weights(self, pixels: Pixels) -> list[float]:
        """Returns the class weights, one for each class of the logits."""
        classes = pixels.logits.shape[-1]
        weights = list(self.class_weight or [])
        check_rule(
            "class_weight",
            weights,
            f"have a factor for each of {classes} classes",
            len(weights) == classes,
        )
        return weights


@keras.saving.register_keras_serializable(package="keras_pspnet")
class Ohem(PixelLoss):
    """Mean cross-entropy of the hard pixels of each image.

    Online hard example mining as in mmsegmentation's `OHEMPixelSampler`. It
    treats each image by itself, so the split into replicas does not matter. A
    pixel is hard if the probability of its class is below `threshold`. If an
    image has fewer than `min_kept` hard pixels, its threshold rises until it
    has that many.

    Args:
        threshold: Probability in 0..1.
        min_kept: Least number of pixels to keep in each image.
        **kwargs: `ignore_label` and `name`, see `PixelLoss`.

    Call arguments: As for `SegmentationLoss`; sample weights change neither
        the choice of pixels nor the divisor.

    Call returns:
        As for `SegmentationLoss`.

    Examples:
        >>> loss = kp.losses.Ohem(min_kept=1)
        >>> logits = np.array([[[[9.0, 0.0], [0.0, 0.0]]]])
        >>> round(float(loss(np.array([[[0, 0]]]), logits)), 4)  # log 2
        0.6931
    """

    def __init__(
        self,
        threshold: float = 0.7,
        min_kept: int = 100_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.threshold = check_number("threshold", threshold, most=1.0)
        self.min_kept = check_integer("min_kept", min_kept, least=0)

    def loss_of(self, pixels: Pixels) -> Tensor:
        losses = pixels.cross_entropy
        kept = ops.cast(self.are_hard(pixels, losses), losses.dtype)
        losses = losses * kept
        if pixels.weight is not None:
            losses = losses * pixels.weight
        return ops.sum(losses) / pixels.count(kept)

    def are_hard(self, pixels: Pixels, losses: Tensor) -> Tensor:
        """Returns which pixels are hard: bool (B, H, W)."""
        valid = pixels.valid > 0
        # 2 is above any probability, so ignored pixels are sorted last.
        chances = ops.where(valid, ops.exp(-ops.stop_gradient(losses)), 2.0)
        batch = ops.shape(chances)[0]
        flat = ops.sort(ops.reshape(chances, (batch, -1)), axis=1)
        count = ops.sum(
            ops.reshape(ops.cast(valid, "int32"), (batch, -1)), axis=1
        )
        place = ops.maximum(ops.minimum(self.min_kept, count - 1), 0)
        least = ops.take_along_axis(flat, place[:, None], axis=1)
        threshold = ops.maximum(least, self.threshold)
        return valid & (chances < threshold[:, :, None])
