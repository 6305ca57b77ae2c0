"""Checks of losses and metrics: the labels and the predictions they take."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_pspnet.losses import SegmentationLoss

# Of probabilities alone: they have no `from_logits`.
_PROBABILITIES = (
    keras.losses.CategoricalGeneralizedCrossEntropy,
    keras.losses.Dice,
    keras.losses.KLDivergence,
    keras.losses.Poisson,
    keras.losses.Tversky,
)


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """The labels that a loss takes: classes, and one that it ignores.

    Args:
        ignore_label: The label without loss, None if there is none.
    """

    ignore_label: int | None


def label_rule(loss: Any) -> LabelRule | None:
    """Finds out which labels a loss takes.

    Args:
        loss: As given to `compile`; by output, that of `main` counts.

    Returns:
        The rule, or None where it takes something else than labels or
        nobody knows.
    """
    if isinstance(loss, Mapping):
        loss = loss.get("main", next(iter(loss.values()), None))
    if isinstance(loss, SegmentationLoss):
        return LabelRule(loss.ignore_label)
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return LabelRule(loss.ignore_class)
    return None


def check_losses(losses: Any) -> None:
    """Refuses losses that would take the network's logits for probabilities.

    Args:
        losses: As given to `compile`.

    Raises:
        ValueError: If there is one.
    """
    for given in keras.tree.flatten(losses):
        loss = keras.losses.get(given) if isinstance(given, str) else given
        if isinstance(loss, _PROBABILITIES) or _from_logits(loss) is False:
            raise ValueError(
                "`loss` must take logits, which is what the network gives: "
                "use keras_pspnet.SegmentationLoss(), or the loss's "
                f"from_logits=True. Received: loss={_name(given)}"
            )


def check_metrics(metrics: Any) -> None:
    """Refuses metrics that would take logits for something else.

    Args:
        metrics: As given to `compile`.

    Raises:
        ValueError: If there is one.
    """
    for given in keras.tree.flatten(metrics):
        metric = keras.metrics.get(given) if isinstance(given, str) else given
        if getattr(metric, "sparse_y_pred", False):
            remedy = "use keras_pspnet.MeanIoU, or sparse_y_pred=False"
        elif _from_logits(metric) is False:
            remedy = "use the metric's from_logits=True"
        else:
            continue
        raise ValueError(
            "`metrics` must take logits, which is what the network gives: "
            f"{remedy}. Received: metrics with {_name(given)}"
        )


def _from_logits(function: Any) -> Any:
    """Returns whether a loss takes logits, None where it does not say."""
    told = getattr(function, "from_logits", None)
    if told is not None or not inspect.isfunction(function):
        return told
    parameter = inspect.signature(function).parameters.get("from_logits")
    return None if parameter is None else parameter.default


def _name(given: Any) -> str:
    if isinstance(given, str):
        return repr(given)
    return getattr(given, "__name__", type(given).__name__)
