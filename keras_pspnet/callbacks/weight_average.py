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

    After each step, average = d * average + (1 - d) * weights. Here d is
    `decay`, or (1 + step) / (10 + step) while that is less, so that the
    average soon forgets the first weights. It includes the statistics of
    batch normalization.

    The model has the averages whenever it is scored: in the validation of
    `fit`, in callbacks later in the list at the end of an epoch, and after the
    fit. Training continues with the weights themselves, bit for bit. The
    average is the same on one replica and on many.

    A new `fit` starts a new average. `keras-pspnet train` saves it in its
    checkpoints.

    Args:
        decay: Factor in 0..1 of the average; 0.999 averages about 1000 steps.

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
        """Starts the average from the weights of a model.

        The next fit continues it instead of starting a new one.

        Args:
            model: A built model.
        """
        self._weights = [
            weight
            for weight in model.weights
            if keras.backend.is_float_dtype(weight.dtype)
        ]
        # Half precision is too coarse for small updates.
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
        """Puts the averages into the model, and stores its weights."""
        if not self._is_applied:
            self._swap()

    def remove(self) -> None:
        """Puts its own weights back into the model."""
        if self._is_applied:
            self._swap()

    @contextlib.contextmanager
    def removed(self) -> Iterator[None]:
        """Puts its own weights back into the model within a `with` block."""
        was_applied = self._is_applied
        self.remove()
        try:
            yield
        finally:
            if was_applied:
                self.apply()

    def _swap(self) -> None:
        for weight, average in zip(self._weights, self.averages, strict=True):
            # Copies: adding a difference would change the last bits.
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
    """Compiles the update of all weights into one graph, on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False)
