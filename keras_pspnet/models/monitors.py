"""The default metrics, and the names and modes that callbacks monitor."""

from __future__ import annotations

from typing import Any

import keras

from keras_pspnet.metrics import MeanIoU, PixelAccuracy
from keras_pspnet.models.compile_checks import LabelRule, ignored_by
from keras_pspnet.utils import keras_private
from keras_pspnet.utils.types import Logs

_MODES = {"up": "max", "down": "min"}


def default_metrics(
    num_classes: int, rule: LabelRule | None
) -> list[keras.metrics.Metric]:
    """Returns mean IoU and pixel accuracy with the loss's ignore label.

    Args:
        num_classes: Number of classes C.
        rule: The labels that the loss takes.
    """
    ignored = ignored_by(rule)
    return [MeanIoU(num_classes, ignored), PixelAccuracy(num_classes, ignored)]


def metric_modes(metrics: Any) -> dict[str, str]:
    """Returns name -> `"max"` or `"min"`, for metrics that define it.

    Args:
        metrics: As given to `compile`.
    """
    found = {}
    for metric in keras.tree.flatten(metrics):
        mode = _MODES.get(keras_private.direction_of(metric) or "")
        if mode is not None:
            found[metric.name] = mode
    return found


def choose_modes(callbacks: Any, modes: dict[str, str]) -> None:
    """Sets the mode of callbacks whose mode is "auto".

    Keras finds the mode only for the metrics of a single output.

    Args:
        callbacks: As given to `fit`.
        modes: From `metric_modes`.
    """
    listed = getattr(callbacks, "callbacks", callbacks)
    for callback in keras.tree.flatten(listed or []):
        monitor = getattr(callback, "monitor", None)
        if getattr(callback, "mode", None) != "auto" or monitor is None:
            continue
        name = _plain(monitor.removeprefix("val_"))
        if name.endswith("loss"):
            callback.mode = "min"
        elif name in modes:
            callback.mode = modes[name]


class PlainNames(keras.callbacks.Callback):
    """Adds `mean_iou` to the logs of two outputs, beside `main_mean_iou`."""

    # Otherwise Keras would wait for the device after every step.
    async_safe = True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        # Keras hands one dictionary to all callbacks in turn.
        logs = {} if logs is None else logs
        for name, value in list(logs.items()):
            kind = "val_" if name.startswith("val_") else ""
            plain = kind + _plain(name.removeprefix("val_"))
            logs.setdefault(plain, value)


def _plain(name: str) -> str:
    """Removes the name of the output whose metrics Keras reports."""
    return name.removeprefix("main_")
