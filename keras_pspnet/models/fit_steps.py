"""Counts the steps of a fit, and refuses those beyond the decay's end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_pspnet.models.arguments import is_loss_scaled
from keras_pspnet.optimizers import PolynomialDecay
from keras_pspnet.utils import keras_private
from keras_pspnet.utils.types import Logs


def with_inner(optimizer: Any) -> Iterator[Any]:
    """Yields an optimizer and those that it wraps, at any depth."""
    yield optimizer
    wrapped = [getattr(optimizer, "inner_optimizer", None)]
    for inner in [*wrapped, *getattr(optimizer, "optimizers", [])]:
        if inner is not None:
            yield from with_inner(inner)


def steps_taken(optimizer: Any) -> int:
    """Returns the current step of an optimizer's schedule."""
    return int(ops.convert_to_numpy(_step_variable(optimizer)))


def _step_variable(optimizer: Any) -> Any:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return keras_private.step_variable(inner)


def decays(optimizer: Any) -> list[tuple[Any, PolynomialDecay]]:
    """Returns every `PolynomialDecay`, each with its optimizer."""
    return [
        (each, schedule)
        for each in with_inner(optimizer)
        for schedule in [keras_private.learning_rate_of(each)]
        if isinstance(schedule, PolynomialDecay)
    ]


def check_decay(optimizer: Any, steps: int | None) -> None:
    """Refuses steps beyond the end of a decay.

    Args:
        optimizer: A Keras optimizer.
        steps: Number of steps to take, or None if unknown.

    Raises:
        ValueError: If the length of a decay is open, or too short for the
            steps.
    """
    wanted = 1 if steps is None else steps
    for owner, decay in decays(optimizer) if wanted > 0 else []:
        taken = steps_taken(owner)
        if decay.total_steps is None:
            raise ValueError(
                "`total_steps` must be passed to compile() before single "
                "steps are taken. Received: total_steps=None"
            )
        if taken + wanted > decay.total_steps:
            raise ValueError(
                "`total_steps` must cover the steps taken and those "
                "requested: at its end the learning rate is 0 and the model "
                "learns nothing. Request fewer epochs, pass `initial_epoch` "
                "to resume a fit, or call compile() again for a new run, "
                "with the `total_steps` of all its fits. "
                f"Received: total_steps={decay.total_steps}, steps "
                f"taken={taken}, steps requested={wanted}"
            )


def check_rate_callbacks(optimizer: Any, callbacks: Any) -> None:
    """Refuses callbacks that set the learning rate if it is a schedule.

    Args:
        optimizer: A Keras optimizer.
        callbacks: As given to `fit`.

    Raises:
        ValueError: If there is such a callback.
    """
    listed = getattr(callbacks, "callbacks", callbacks)
    setting = (
        keras.callbacks.ReduceLROnPlateau,
        keras.callbacks.LearningRateScheduler,
    )
    for callback in keras.tree.flatten(listed or []):
        if isinstance(callback, setting) and any(
            isinstance(
                keras_private.learning_rate_of(each),
                keras.optimizers.schedules.LearningRateSchedule,
            )
            for each in with_inner(optimizer)
        ):
            raise ValueError(
                "`callbacks` must not set the learning rate, which is a "
                "schedule: drop the callback, or compile with "
                "optimizer=keras_pspnet.SGD(0.01). "
                f"Received: {type(callback).__name__}"
            )


@contextlib.contextmanager
def decaying_over(
    model: keras.Model, steps: int | None, callbacks: Any
) -> Iterator[None]:
    """Gives decays of open length the length of a fit that takes a step.

    Args:
        model: A compiled model.
        steps: Steps of the fit, or None if unknown.
        callbacks: List of the fit's callbacks.

    Raises:
        ValueError: If a decay ends before the fit, or its length is open and
            the number of steps is unknown.
    """
    found = [
        (decay, owner, steps_taken(owner))
        for owner, decay in decays(model.optimizer)
    ]
    opened = [each for each in found if each[0].total_steps is None]
    first_step = model.global_step
    if opened and steps is None:
        raise ValueError(
            "`total_steps` must be passed to compile(), or `steps_per_epoch` "
            "to fit(), for data of unknown length. Received: data without "
            "a length"
        )
    if opened:
        # The compiled step holds the length as a constant.
        model.train_function = None
    try:
        for decay, _, before in opened:
            # Keras compiles the step even if there is no batch.
            decay.total_steps = before + (steps or 1)
        # BackupAndRestore may load another step; StepCounter checks then.
        if not any(
            isinstance(each, keras.callbacks.BackupAndRestore)
            for each in callbacks
        ):
            check_decay(model.optimizer, steps)
        yield
    finally:
        if model.global_step == first_step:
            # A graph may count a step before it reads and checks the batch.
            for _, owner, before in found:
                if 0 < steps_taken(owner) - before <= model.steps_per_execution:
                    _step_variable(owner).assign(before)
        for decay, owner, before in opened:
            if steps_taken(owner) == before:
                decay.total_steps = None


class RestoredCallback(keras.callbacks.Callback):
    """A callback that begins once all others have restored their state.

    `keras.callbacks.BackupAndRestore` does so in `on_train_begin`, wherever
    it stands in the list.
    """

    _begun = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if not self._begun:
            self.on_fit_restored(epoch)
        self._begun = True

    def on_fit_restored(self, epoch: int) -> None:
        """Called once per fit, before its first epoch."""


class StepCounter(RestoredCallback):
    """Counts the batches of `fit`; an optimizer may skip steps."""

    # Otherwise Keras would wait for the device after every step. By the end
    # of an epoch, Keras has made all calls.
    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._before = 0
        self._taken: list[tuple[Any, int]] = []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        # On JAX, `self.model` would copy the state of the last step into the
        # variables, in the callbacks' thread, while the next step donates it.
        self._counted: Any = model

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._before = self.model.global_step
        self._taken = [
            (each, steps_taken(each))
            for each in with_inner(self.model.optimizer)
        ]

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        done = self.model.global_step - self._before
        for optimizer, before in self._taken:
            # A graph counts a step before it reaches the end of the data.
            if steps_taken(optimizer) > before + done:
                _step_variable(optimizer).assign(before + done)

    def on_fit_restored(self, epoch: int) -> None:
        taken = steps_taken(self.model.optimizer)
        if is_loss_scaled(self.model.optimizer):
            taken = max(taken, self.model.global_step)
        self.model.global_step = taken
        steps = self.params.get("steps")
        if steps is not None:
            steps *= self.params.get("epochs", epoch + 1) - epoch
        check_decay(self.model.optimizer, steps)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        # Keras counts an execution of several steps whole, even if the epoch
        # ends within.
        done = min(batch + 1, self.params.get("steps") or batch + 1)
        with self._lock:
            self._counted.global_step = max(
                self._counted.global_step, self._before + done
            )
