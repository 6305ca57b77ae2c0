"""The training loop: the same for one device, many, and many machines.

Keras's `fit` fails under `MultiWorkerMirroredStrategy`, and can resume only at
the start of an epoch. This loop takes the same steps (`train_step`), shows the
same progress, and calls the same callbacks at the same points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_pspnet.models import PSPNet
from keras_pspnet.models.fit_checks import plain_errors


def run(
    model: PSPNet,
    batches: Callable[[tf.distribute.InputContext], tf.data.Dataset],
    epochs: int,
    steps_per_epoch: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 1,
) -> None:
    """Trains from `model.global_step` to the end of the last epoch.

    Args:
        model: A model compiled and built for training (`build_training`) in
            the scope of its strategy. In the middle of an epoch its metrics
            must hold the state of that epoch so far.
        batches: Function that maps an input context to the batches of its
            pipeline, from step `model.global_step` on: one batch for each
            replica of the pipeline in turn.
        epochs: Epochs of the whole run.
        steps_per_epoch: Steps of an epoch.
        callbacks: Keras callbacks, called as in `fit`.
        verbose: Verbosity, as in Keras's `fit`.

    Raises:
        OSError: If a file of the data cannot be read.
        ValueError: If a batch is invalid, or the strategy cannot train this
            model, see `PSPNet.check_replicas`.
    """
    model.check_replicas()
    strategy = model.distribute_strategy
    together = keras.callbacks.CallbackList(
        list(callbacks),
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=epochs,
        steps=steps_per_epoch,
        model=model,
    )

    @tf.function(autograph=False)
    def step(batch: Any) -> dict[str, Any]:
        strategy.run(model.train_step, (batch,))
        return model.get_metrics_result()

    iterator = iter(strategy.distribute_datasets_from_function(batches))
    first_epoch, first_batch = divmod(model.global_step, steps_per_epoch)
    model.stop_training = False
    together.on_train_begin()
    logs: dict[str, Any] = {}
    for epoch in range(first_epoch, epochs):
        if not first_batch:
            model.reset_metrics()
        together.on_epoch_begin(epoch)
        for batch in range(first_batch, steps_per_epoch):
            together.on_train_batch_begin(batch)
            with plain_errors():
                results = step(next(iterator))
            logs = {name: float(value) for name, value in results.items()}
            model.global_step += 1
            together.on_train_batch_end(batch, logs)
        first_batch = 0
        together.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    together.on_train_end(logs)
