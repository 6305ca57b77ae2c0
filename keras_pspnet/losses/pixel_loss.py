"""The base class of the losses: checks, ignored pixels, replicas."""

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
    """A checked batch, as `PixelLoss.loss_of` receives it.

    Args:
        labels: int32 (B, H, W), 0 where a pixel is ignored.
        logits: float32 or float64 (B, H, W, C).
        valid: (B, H, W) of the logits' dtype: 1, or 0 where a pixel is
            ignored.
        weight: Sample weights that broadcast to (B, H, W), or None.
    """

    labels: Tensor
    logits: Tensor
    valid: Tensor
    weight: Tensor | None

    @property
    def weighted(self) -> Tensor:
        """The weight of each pixel, 0 where it is ignored: (B, H, W)."""
        return self.valid if self.weight is None else self.valid * self.weight

    @property
    def one_hot(self) -> Tensor:
        """The labels as one-hot vectors of the logits' dtype: (B, H, W, C)."""
        return ops.one_hot(
            self.labels, self.logits.shape[-1], dtype=self.logits.dtype
        )

    @property
    def cross_entropy(self) -> Tensor:
        """The cross-entropy of each pixel, 0 where it is ignored: (B, H, W)."""
        losses = ops.sparse_categorical_crossentropy(
            self.labels, self.logits, from_logits=True
        )
        return ops.where(self.valid > 0, losses, ops.zeros_like(losses))

    def count(self, flags: Tensor) -> Tensor:
        """Counts nonzero flags in the global batch.

        Args:
            flags: Tensor of any shape, such as `valid`.

        Returns:
            Scalar of the logits' dtype, at least 1: a divisor.
        """
        # Floats have too few digits to count many pixels.
        found = replica_sum(ops.sum(ops.cast(flags > 0, "int32")))
        return ops.cast(ops.maximum(found, 1), self.logits.dtype)


class PixelLoss(keras.losses.Loss):
    """Base class of losses of integer masks and logits.

    A subclass implements `loss_of`, passes `**kwargs` on, and keeps each
    argument of its own as an attribute of the same name, from which
    `get_config` reads it. The page "Add a loss" has an example.

    Args:
        ignore_label: Label that adds neither loss nor gradient.
        name: Name of the loss; None is the name of the class in lower case.
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
        # Half precision is too coarse for a loss.
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
        # XLA drops assertions, on TensorFlow too; a NaN survives.
        return ops.where(ops.any(bad), float("nan"), loss)

    def loss_of(self, pixels: Pixels) -> Tensor:
        """Computes this replica's part of the loss.

        The parts of all replicas must add up to the loss of the global batch:
        divide sums by `pixels.count(...)`, which counts over all replicas, or
        pass a value that every replica computes alike to
        `shared_by_replicas`.

        Args:
            pixels: This replica's part of the batch.

        Returns:
            Scalar of the logits' dtype.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        # `Recipe.identity` tells losses apart by it.
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
    """Divides a loss of the global batch by the number of replicas.

    For a loss that every replica computes in full, as `Dice` does after
    `replica_sum`: the parts then add up to it.
    """
    return loss / num_replicas()
