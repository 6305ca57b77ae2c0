"""What all losses of masks and logits share."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import keras
from keras import ops

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.layers import num_replicas, replica_sum
from keras_pspnet.losses.masks import (
    are_bad,
    broadcast_weights,
    check_mask_shape,
    refuse_bad_labels,
    squeeze_masks,
    to_labels,
)
from keras_pspnet.utils import init_config
from keras_pspnet.utils.types import Tensor


@dataclasses.dataclass(frozen=True)
class Pixels:
    """A batch, checked.

    Args:
        labels: int32 (B, H, W), 0 where a pixel is ignored.
        logits: float32 or float64 (B, H, W, C).
        valid: Of the logits' dtype (B, H, W): 1, or 0 where a pixel is
            ignored.
        weight: Sample weights that broadcast to (B, H, W), or None.
    """

    labels: Tensor
    logits: Tensor
    valid: Tensor
    weight: Tensor | None

    @property
    def weighted(self) -> Tensor:
        """What each pixel counts for: (B, H, W), 0 where it is ignored."""
        return self.valid if self.weight is None else self.valid * self.weight

    @property
    def one_hot(self) -> Tensor:
        """(B, H, W, C) of the logits' dtype."""
        return ops.one_hot(
            self.labels, self.logits.shape[-1], dtype=self.logits.dtype
        )

    def count(self, flags: Tensor) -> Tensor:
        """Counts nonzero flags in the global batch: a scalar, at least 1."""
        # Floats have too few digits to count many pixels.
        found = replica_sum(ops.sum(ops.cast(flags > 0, "int32")))
        return ops.cast(ops.maximum(found, 1), self.logits.dtype)


class PixelLoss(keras.losses.Loss):
    """A loss of integer masks and logits that ignores a label.

    Subclasses implement `loss_of`, and keep their arguments as attributes.
    Its SUM over replicas is the loss of the global batch, as gradients are
    summed there.

    Args:
        ignore_label: Label that adds neither loss nor gradient.
        name: Name of the loss; None is the class's in lower case.
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
        Scalar float32 (float64 for float64 logits).
    """

    def __init__(
        self,
        ignore_label: int = IGNORE_LABEL,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        name = name or type(self).__name__.lower()
        super().__init__(name=name, reduction="sum", **kwargs)
        self.ignore_label = ignore_label

    def __call__(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        logits = ops.convert_to_tensor(y_pred)
        # Half precision has too few digits for a loss.
        if keras.backend.standardize_dtype(logits.dtype) != "float64":
            logits = ops.cast(logits, "float32")
        masks = squeeze_masks(y_true)
        check_mask_shape(masks, logits)
        masks = to_labels(masks)
        num_classes = logits.shape[-1]
        valid = masks != self.ignore_label
        bad = are_bad(masks, num_classes, self.ignore_label)
        labels = ops.where(valid & ~bad, masks, 0)
        labels = refuse_bad_labels(
            labels, masks, num_classes, self.ignore_label
        )
        if sample_weight is not None:
            sample_weight = broadcast_weights(sample_weight, logits.dtype)
        loss = self.loss_of(
            Pixels(labels, logits, ops.cast(valid, logits.dtype), sample_weight)
        )
        # XLA drops assertions, on TensorFlow too: NaN is what it leaves to see.
        return ops.where(ops.any(bad), float("nan"), loss)

    def loss_of(self, pixels: Pixels) -> Tensor:
        """Computes this replica's part of the loss.

        Args:
            pixels: The batch.

        Returns:
            Scalar of the logits' dtype.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        # Recipes, and what tells two runs apart, show losses so.
        parameters = inspect.signature(type(self)).parameters
        defaults = {name: each.default for name, each in parameters.items()}
        given = [
            f"{name}={getattr(self, name)!r}"
            for name in self.get_config()
            if name in ({"ignore_label": None} | defaults)
            and name != "name"
            and getattr(self, name) != defaults.get(name, IGNORE_LABEL)
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("reduction", None)
        config["ignore_label"] = self.ignore_label
        return {**config, **init_config(self, type(self))}


def shared_by_replicas(loss: Tensor) -> Tensor:
    """Divides a loss that all replicas have computed of the global batch."""
    return loss / num_replicas()
