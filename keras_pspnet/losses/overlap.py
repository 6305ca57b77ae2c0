"""Overlap losses: Dice and Tversky."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_pspnet.layers import replica_sum
from keras_pspnet.losses.pixel_loss import (
    PixelLoss,
    Pixels,
    shared_by_replicas,
)
from keras_pspnet.utils import check_number
from keras_pspnet.utils.types import Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class Tversky(PixelLoss):
    """One minus the Tversky index, averaged over the classes.

    The index of a class is TP / (TP + alpha FP + beta FN), computed from
    softmax probabilities (Salehi et al., 2017). The sums run over all valid
    pixels of the GLOBAL batch, on all replicas. A class without ground truth
    in the batch adds 0. Sample weights multiply what each pixel adds.

    Args:
        alpha: Factor of false positives, at least 0.
        beta: Factor of false negatives, at least 0; the larger, the fewer
            pixels of rare classes are missed.
        gamma: Exponent of the mean over the classes, above 0.
        smooth: Added to numerator and denominator, at least 0.
        **kwargs: `ignore_label` and `name`, see `PixelLoss`.

    Call arguments: As for `SegmentationLoss`.

    Call returns:
        As for `SegmentationLoss`, in 0..1.

    Examples:
        >>> loss = kp.losses.Tversky(alpha=0.3, beta=0.7)
        >>> mask = np.array([[[0, 1, 255]]])
        >>> round(float(loss(mask, np.zeros((1, 1, 3, 2)))), 4)
        0.5
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        smooth: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha = check_number("alpha", alpha)
        self.beta = check_number("beta", beta)
        self.gamma = check_number("gamma", gamma, above=True)
        self.smooth = check_number("smooth", smooth)

    def loss_of(self, pixels: Pixels) -> Tensor:
        weight = pixels.weighted[..., None]
        chances = ops.softmax(pixels.logits) * weight
        truth = pixels.one_hot
        # Sums for each class, over all replicas.
        hit, predicted, true = (
            replica_sum(ops.sum(each, axis=(0, 1, 2)))
            for each in (chances * truth, chances, truth * weight)
        )
        missed = self.alpha * (predicted - hit) + self.beta * (true - hit)
        tiny = keras.config.epsilon()
        index = (hit + self.smooth) / ops.maximum(
            hit + missed + self.smooth, tiny
        )
        losses = ops.where(true > 0, 1 - index, ops.zeros_like(index))
        loss = ops.mean(losses)
        if self.gamma != 1:
            # The gradient of a root is infinite at 0.
            power = ops.maximum(loss, tiny) ** self.gamma
            loss = ops.where(loss > tiny, power, ops.zeros_like(loss))
        return shared_by_replicas(loss)


@keras.saving.register_keras_serializable(package="keras_pspnet")
class Dice(PixelLoss):
    """One minus the Dice coefficient, averaged over the classes.

    The coefficient is TP / (TP + FP / 2 + FN / 2) over the global batch:
    `Tversky` with alpha = beta = 0.5, or Milletari et al. (2016) without the
    squares.

    Args:
        smooth: Added to numerator and denominator, at least 0.
        **kwargs: `ignore_label` and `name`, see `PixelLoss`.

    Call arguments: As for `SegmentationLoss`.

    Call returns:
        As for `SegmentationLoss`, in 0..1.

    Examples:
        >>> loss = kp.losses.Dice()
        >>> mask = np.array([[[0, 1, 255]]])
        >>> round(float(loss(mask, np.zeros((1, 1, 3, 2)))), 4)
        0.5
    """

    def __init__(
        self,
        smooth: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.smooth = check_number("smooth", smooth)
        self._tversky = Tversky(0.5, 0.5, smooth=self.smooth)

    def loss_of(self, pixels: Pixels) -> Tensor:
        return self._tversky.loss_of(pixels)
