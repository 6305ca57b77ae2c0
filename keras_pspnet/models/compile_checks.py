"""Checks that losses and metrics take labels and logits."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.losses import PixelLoss
from keras_pspnet.utils import check_number

# Losses that take only probabilities: they have no `from_logits`.
_PROBABILITIES = (
    keras.losses.CategoricalGeneralizedCrossEntropy,
    keras.losses.Dice,
    keras.losses.KLDivergence,
    keras.losses.Poisson,
    keras.losses.Tversky,
)
# Keras's functions of the regression losses, which would broadcast labels to
# the logits.
_REGRESSIONS = (
    keras.losses.mean_squared_error,
    keras.losses.mean_absolute_error,
    keras.losses.mean_absolute_percentage_error,
    keras.losses.mean_squared_logarithmic_error,
    keras.losses.huber,
    keras.losses.log_cosh,
    keras.losses.hinge,
    keras.losses.squared_hinge,
    keras.losses.poisson,
)
# Metrics that count every label, ignored pixels included.
_COUNTING_CLASSES = (
    keras.metrics.Accuracy,
    keras.metrics.SparseCategoricalAccuracy,
    keras.metrics.SparseTopKCategoricalAccuracy,
)
_COUNTING_ALL = (
    "accuracy",
    "acc",
    keras.metrics.sparse_categorical_accuracy,
    keras.metrics.sparse_top_k_categorical_accuracy,
)


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """The labels that a loss takes: the classes, and one that it ignores.

    Args:
        ignore_label: The label that the loss ignores, or None.
    """

    ignore_label: int | None


def label_rule(loss: Any) -> LabelRule | None:
    """Returns which labels a loss takes.

    Args:
        loss: As given to `compile`; of a dictionary, the loss of `main`.

    Returns:
        The rule, or None if the loss is not known to take labels.
    """
    if isinstance(loss, Mapping):
        loss = loss.get("main", next(iter(loss.values()), None))
    if isinstance(loss, PixelLoss):
        return LabelRule(loss.ignore_label)
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return LabelRule(loss.ignore_class)
    return None


def ignored_by(rule: LabelRule | None) -> int:
    """Returns the label that a loss ignores, or 255.

    Args:
        rule: The labels that the loss takes.
    """
    if rule is None or rule.ignore_label is None:
        return IGNORE_LABEL
    return rule.ignore_label


def check_losses(losses: Any) -> None:
    """Refuses losses that do not take labels and logits.

    Args:
        losses: As given to `compile`.

    Raises:
        ValueError: If a loss takes probabilities or regression targets.
    """
    for given in keras.tree.flatten(losses):
        loss = keras.losses.get(given) if isinstance(given, str) else given
        if getattr(loss, "fn", loss) in _REGRESSIONS:
            raise ValueError(
                "`loss` must take labels or one-hot masks: use "
                "keras_pspnet.SegmentationLoss(). "
                f"Received: loss={_name(given)}"
            )
        if isinstance(loss, _PROBABILITIES) or _from_logits(loss) is False:
            raise ValueError(
                "`loss` must take logits, which the network returns: "
                "use keras_pspnet.SegmentationLoss(), or the loss's "
                f"from_logits=True. Received: loss={_name(given)}"
            )


def check_loss_weights(loss_weights: Any) -> None:
    """Refuses loss weights that are negative or not finite.

    Args:
        loss_weights: As given to `compile`.

    Raises:
        ValueError: If there is such a weight.
    """
    for weight in keras.tree.flatten(loss_weights):
        if weight is not None:
            check_number("loss_weights", weight)


def check_metrics(metrics: Any, rule: LabelRule | None) -> None:
    """Refuses metrics that misread logits or count ignored pixels.

    Args:
        metrics: As given to `compile`.
        rule: The labels that the loss takes.

    Raises:
        ValueError: If there is such a metric.
    """
    for given in keras.tree.flatten(metrics):
        # For "accuracy", Keras chooses a metric by the shape of the masks.
        is_named = isinstance(given, str) and given not in _COUNTING_ALL
        metric = keras.metrics.get(given) if is_named else given
        counts_all = metric in _COUNTING_ALL or isinstance(
            metric, _COUNTING_CLASSES
        )
        if counts_all and rule is not None and rule.ignore_label is not None:
            raise ValueError(
                "`metrics` must skip pixels that the loss ignores: use "
                "keras_pspnet.metrics.PixelAccuracy(num_classes). "
                f"Received: metrics with {_name(given)}"
            )
        if getattr(metric, "sparse_y_pred", False):
            remedy = "use keras_pspnet.MeanIoU, or sparse_y_pred=False"
        elif _from_logits(metric) is False:
            remedy = "use the metric's from_logits=True"
        else:
            continue
        raise ValueError(
            "`metrics` must take logits, which the network returns: "
            f"{remedy}. Received: metrics with {_name(given)}"
        )


def _from_logits(function: Any) -> Any:
    """Returns whether a loss takes logits, None if it does not say."""
    found = getattr(function, "from_logits", None)
    if found is not None or not inspect.isfunction(function):
        return found
    parameter = inspect.signature(function).parameters.get("from_logits")
    return None if parameter is None else parameter.default


def _name(given: Any) -> str:
    if isinstance(given, str):
        return repr(given)
    return getattr(given, "__name__", type(given).__name__)
