"""Averages the weights over the steps of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_pspnet.models import RestoredCallback
from keras_pspnet.utils import check_number
from keras_pspnet.utils.types import Logs


class WeightAverage(RestoredCallback):
    """Keeps the exponential moving average (EMA) of all weights.

    After each step: average = d * average + (1 - d) * weights, where d is
    `decay`, or (1 + step) / (10 + step) while that is less, so that the first
    weights are soon forgotten. Statistics of batch normalization are averaged
    as well.

    The network computes with the averages wherever it is scored: in the
    validation of `fit`, in the callbacks that follow in the list at the end of
    an epoch, and after the fit. Training goes on with the weights
    themselves, bit for bit. On several replicas the average is that of one.

    A new `fit` begins a new average. `keras-pspnet train` keeps it in its
    checkpoints.

    Args:
        decay: Factor in 0..1 of the average; 0.999 remembers 1000 steps.

    Raises:
        ValueError: If `decay` is out of range.

    Examples:
        >>> average = kp.callbacks.WeightAverage(0.99)
        >>> validation = kp.callbacks.ValidationScores(pairs)
        >>> callbacks = [average, validation]  # for fit, in this order
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = check_number("decay", decay, most=1.0)
        self.averages: list[Any] = []
        self._weights: list[Any] = []
        self._update: Any = None
        self._has_begun = False
        self._is_applied = False

    def begin(self, model: keras.Model) -> None:
        """Starts from the weights of a model, which the next fit goes on with.

        Args:
            model: A model that is built.
        """
        self._weights = [
            weight
            for weight in model.weights
            if keras.backend.is_float_dtype(weight.dtype)
        ]
        # Half precision has too few digits for small shares.
        self.averages = [
            keras.Variable(
                ops.convert_to_numpy(ops.cast(weight, _dtype(weight))),
                dtype=_dtype(weight),
                trainable=False,
                name=weight.path.replace("/", "_"),
            )
            for weight in self._weights
        ]
        self._update = _compiled(self._add)
        self._has_begun, self._is_applied = True, False

    def on_fit_restored(self, epoch: int) -> None:
        if not self._has_begun:
            self.begin(self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self.remove()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        step = self.model.global_step
        decay = min(self.decay, (1 + step) / (10 + step))
        self._update(ops.convert_to_tensor(decay, "float32"))

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._has_begun = False

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self.apply()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self.remove()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.apply()

    def apply(self) -> None:
        """Gives the model the averages, and keeps its weights."""
        if not self._is_applied:
            self._swap()

    def remove(self) -> None:
        """Gives the model its weights back."""
        if self._is_applied:
            self._swap()

    @contextlib.contextmanager
    def removed(self) -> Iterator[None]:
        """Gives the model its weights back for a while."""
        was_applied = self._is_applied
        self.remove()
        try:
            yield
        finally:
            if was_applied:
                self.apply()

    def _swap(self) -> None:
        for weight, average in zip(self._weights, self.averages, strict=True):
            # Copies: a difference that is added would change last bits.
            own = ops.convert_to_numpy(weight)
            weight.assign(ops.cast(average, weight.dtype))
            average.assign(ops.cast(own, average.dtype))
        self._is_applied = not self._is_applied

    def _add(self, decay: Any) -> None:
        for weight, average in zip(self._weights, self.averages, strict=True):
            share = ops.cast(decay, average.dtype)
            weight = ops.cast(weight, average.dtype)
            average.assign(share * average + (1 - share) * weight)


def _dtype(weight: Any) -> str:
    return "float64" if weight.dtype == "float64" else "float32"


def _compiled(function: Any) -> Any:
    """Makes one graph of the update of all weights, on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False)
