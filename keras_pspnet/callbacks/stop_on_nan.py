"""Stops a run whose loss or weights become NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_pspnet.utils.types import Logs


class NonFiniteError(ArithmeticError):
    """A loss or a weight has become NaN or infinite.

    Args:
        message: The problem, the step, and what to check.
        step: The step of the run, from 1.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class StopOnNaN(keras.callbacks.Callback):
    """Stops at the step that makes the loss or a weight NaN or infinite.

    After every step it reads the loss and the weights of the first
    convolution: on a CPU, a ReLU may turn NaN into 0 and keep the loss
    finite, but the gradients still reach those weights. Reading after every
    step identifies the batch. The cost, as for every callback that reads
    batch results, is that Python waits for the device before it prepares the
    next step. At the end of an epoch it reads all weights.

    Gradients that overflow under `mixed_float16` do not stop the run: the
    optimizer skips the step and lowers the loss scale, and loss and weights
    stay finite. With `steps_per_execution` above 1, the error names the last
    of the steps that ran together.

    Args:
        batch: Function that maps a step, counted from 0, to a description of
            its batch for the error.

    Raises:
        NonFiniteError: From `fit`. Checkpoints stay as they were.

    Examples:
        >>> stop = kp.callbacks.StopOnNaN()
        >>> history = net.fit(images, masks, callbacks=[stop], verbose=0)
    """

    def __init__(self, batch: Callable[[int], str] | None = None) -> None:
        super().__init__()
        self._batch = batch
        self._first: list[Any] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        model = self.model
        # The first convolution, and the statistics of the next layer.
        self._first = [
            *model.trainable_weights[:1],
            *model.non_trainable_weights[:1],
        ]

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise _non_finite(
                self.model,
                f"the loss must be finite. Received: loss={loss} at",
                self._batch,
            )
        check_weights_finite(self.model, self._first, self._batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        check_weights_finite(self.model, self.model.weights, self._batch)


def check_weights_finite(
    model: Any,
    weights: Sequence[Any],
    batch: Callable[[int], str] | None = None,
) -> None:
    """Raises `NonFiniteError` if a weight is NaN or infinite.

    Args:
        model: The model, for the step and the advice in the message.
        weights: The variables to check.
        batch: As in `StopOnNaN`.
    """
    for variable in weights:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise _non_finite(
                model,
                "the weights must be finite. Received: NaN or infinity in "
                f"{variable.path} after",
                batch,
            )


def _non_finite(
    model: Any, what: str, batch: Callable[[int], str] | None
) -> NonFiniteError:
    step = model.global_step
    where = f"step {step} of the run"
    if batch is not None:
        where += f", whose batch holds {batch(step - 1)}"
    advice = "Check the images and masks of this batch, and the learning rate"
    if model.dtype_policy.name == "mixed_float16":
        advice += "; mixed_bfloat16 has the range of float32"
    return NonFiniteError(
        f"{what} {where}. {advice}. Nothing of this step was saved", step
    )
