"""The focal loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_pspnet.losses.pixel_loss import PixelLoss, Pixels
from keras_pspnet.utils import check_number
from keras_pspnet.utils.types import Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class Focal(PixelLoss):
    """Focal loss of each class against the rest, over the valid pixels.

    Lin et al. (2017), equations 4 and 5: the binary cross-entropy of the
    sigmoid of every class, times (1 - p_t) ** gamma, averaged over the classes
    and the valid pixels of the GLOBAL batch. Sample weights multiply the loss
    of each pixel and do not change the divisor.

    Args:
        gamma: Exponent of at least 0; the larger, the less easy pixels count.
        alpha: Factor in 0..1 of a pixel's own class; all other classes have
            1 - alpha. None gives every class the factor 1.
        **kwargs: `ignore_label` and `name`, see `PixelLoss`.

    Call arguments: As for `SegmentationLoss`.

    Call returns:
        As for `SegmentationLoss`.

    Examples:
        >>> loss = kp.losses.Focal(gamma=0.0)
        >>> mask = np.array([[[0, 255]]])
        >>> round(float(loss(mask, np.zeros((1, 1, 2, 2)))), 4)  # log 2
        0.6931
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gamma = check_number("gamma", gamma)
        if alpha is not None:
            alpha = check_number("alpha", alpha, most=1.0)
        self.alpha = alpha

    def loss_of(self, pixels: Pixels) -> Tensor:
        truth = pixels.one_hot
        # The logit of the right answer to "is it this class?".
        right = pixels.logits * (2 * truth - 1)
        losses = ops.softplus(-right)
        if self.gamma:
            # (1 - p_t) ** gamma, whose gradient stays finite at p_t = 1.
            losses = losses * ops.exp(-self.gamma * ops.softplus(right))
        if self.alpha is not None:
            others = 1 - self.alpha
            losses = losses * (self.alpha * truth + others * (1 - truth))
        each = ops.mean(losses, axis=-1)
        each = ops.where(pixels.valid > 0, each, ops.zeros_like(each))
        if pixels.weight is not None:
            each = each * pixels.weight
        return ops.sum(each) / pixels.count(pixels.valid)
