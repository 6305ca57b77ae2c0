"""Losses of overlap: Dice and Tversky."""

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
    """One minus the Tversky index of the classes, over the global batch.

    The index of a class is TP / (TP + alpha FP + beta FN), of the softmax's
    probabilities (Salehi et al., 2017). Sums are those of all valid pixels of
    the GLOBAL batch, over all replicas. A class without ground truth there
    adds 0. Sample weights multiply what a pixel adds to the sums.

    Args:
        alpha: Factor of false positives, at least 0.
        beta: Factor of false negatives, at least 0; the larger, the fewer
            pixels of rare classes are missed.
        gamma: The mean over the classes is raised to this power, above 0.
        smooth: Added to both parts of each fraction, at least 0.
        **kwargs: `ignore_label` and `name`, see `PixelLoss`.

    Call arguments: As of `SegmentationLoss`.

    Call returns:
        As of `SegmentationLoss`, in 0..1.

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
        # Of every class, over all replicas.
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
            # A root of 0 has no finite gradient.
            power = ops.maximum(loss, tiny) ** self.gamma
            loss = ops.where(loss > tiny, power, ops.zeros_like(loss))
        return shared_by_replicas(loss)


@keras.saving.register_keras_serializable(package="keras_pspnet")
class Dice(PixelLoss):
    """One minus the Dice coefficient of the classes, over the global batch.

    It is `Tversky` with alpha = beta = 0.5 (Milletari et al., 2016, without
    squares): TP / (TP + FP / 2 + FN / 2).

    Args:
        smooth: Added to both parts of each fraction, at least 0.
        **kwargs: `ignore_label` and `name`, see `PixelLoss`.

    Call arguments: As of `SegmentationLoss`.

    Call returns:
        As of `SegmentationLoss`, in 0..1.

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
