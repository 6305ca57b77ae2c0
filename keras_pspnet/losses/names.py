"""Losses by name, for recipes and the command line."""

from __future__ import annotations

from collections.abc import Mapping

from keras_pspnet.losses.cross_entropy import Ohem, SegmentationLoss
from keras_pspnet.losses.focal import Focal
from keras_pspnet.losses.lovasz import Lovasz
from keras_pspnet.losses.overlap import Dice, Tversky
from keras_pspnet.losses.pixel_loss import PixelLoss
from keras_pspnet.losses.weighted_sum import WeightedSum
from keras_pspnet.utils import did_you_mean

NAMES: dict[str, type[PixelLoss]] = {
    "cross_entropy": SegmentationLoss,
    "dice": Dice,
    "focal": Focal,
    "lovasz": Lovasz,
    "ohem": Ohem,
    "tversky": Tversky,
}


def named_losses(factors: Mapping[str, float]) -> PixelLoss:
    """Builds a loss from names and factors.

    Args:
        factors: Name of a loss -> factor of at least 0: `"cross_entropy"`,
            `"dice"`, `"focal"`, `"lovasz"`, `"ohem"` or `"tversky"`, each
            with its default arguments.

    Returns:
        The `WeightedSum` of the losses; for a single name with factor 1, the
        loss itself.

    Raises:
        ValueError: If a name is unknown or a factor is negative.

    Examples:
        >>> kp.losses.named_losses({"cross_entropy": 1.0, "dice": 0.5})
        WeightedSum(losses=[(1.0, SegmentationLoss()), (0.5, Dice())])
    """
    for name in factors:
        if name not in NAMES:
            raise ValueError(
                f"`loss` must name losses among {', '.join(NAMES)}"
                f"{did_you_mean(name, NAMES)}. Received: loss={dict(factors)!r}"
            )
    losses = [(factor, NAMES[name]()) for name, factor in factors.items()]
    if len(losses) == 1 and losses[0][0] == 1:
        return losses[0][1]
    return WeightedSum(losses)
