"""The weighted sum of several losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_pspnet.losses.pixel_loss import PixelLoss, Pixels
from keras_pspnet.utils import check_number
from keras_pspnet.utils.types import Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class WeightedSum(PixelLoss):
    """Sum of losses, each times a factor.

    Args:
        losses: Pairs of a factor of at least 0 and a loss of this package.
        name: Name of the loss.
        **kwargs: Passed to `keras.losses.Loss`.

    Call arguments: As for `SegmentationLoss`.

    Call returns:
        As for `SegmentationLoss`.

    Raises:
        ValueError: If `losses` is empty, a factor is negative, or the losses
            ignore different labels.
        TypeError: If a loss is not a `PixelLoss`.

    Examples:
        >>> loss = kp.losses.WeightedSum(
        ...     [(1.0, kp.SegmentationLoss()), (0.5, kp.losses.Dice())]
        ... )
        >>> mask = np.array([[[0, 1]]])
        >>> round(float(loss(mask, np.zeros((1, 1, 2, 2)))), 4)
        0.9431
    """

    def __init__(
        self,
        losses: Sequence[tuple[float, PixelLoss]],
        name: str = "weighted_sum",
        **kwargs: Any,
    ) -> None:
        weighted = [
            (check_number("losses", factor), _as_loss(loss))
            for factor, loss in losses
        ]
        labels = {loss.ignore_label for _, loss in weighted}
        if len(labels) != 1:
            raise ValueError(
                "`losses` must hold at least one loss, and all must ignore the "
                f"same label. Received: losses that ignore {sorted(labels)}"
            )
        super().__init__(labels.pop(), name, **kwargs)
        self.losses = weighted

    def loss_of(self, pixels: Pixels) -> Tensor:
        return sum(
            factor * loss.loss_of(pixels) for factor, loss in self.losses
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["ignore_label"]
        losses = [
            (factor, keras.saving.serialize_keras_object(loss))
            for factor, loss in self.losses
        ]
        return {**config, "losses": losses}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightedSum:
        losses = [
            (factor, keras.saving.deserialize_keras_object(loss))
            for factor, loss in config["losses"]
        ]
        return cls(**{**config, "losses": losses})


def _as_loss(loss: object) -> PixelLoss:
    if not isinstance(loss, PixelLoss):
        raise TypeError(
            "`losses` must be losses of keras_pspnet. "
            f"Received: losses with {loss!r}"
        )
    return loss
