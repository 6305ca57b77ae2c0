"""Tests of the training loop: Keras's `fit` is the oracle."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import Small
from support import distance

from keras_pspnet.callbacks import NonFiniteError, StopOnNaN
from keras_pspnet.data.pipeline import training_dataset
from keras_pspnet.training import loop
from keras_pspnet.training.checkpoints import state

pytestmark = pytest.mark.long

EPOCHS, STEPS, BATCH = 3, 4, 4
SIZE = (33, 41)
RNG = np.random.default_rng(4)
PAIRS = [
    (
        RNG.integers(0, 256, (*SIZE, 3)).astype("uint8"),
        RNG.integers(0, 3, SIZE).astype("uint8"),
    )
    for _ in range(6)
]


def unchanged(image: Any, mask: Any, seed: Any) -> tuple[Any, Any]:
    return (
        tf.ensure_shape(tf.cast(image, "float32"), (*SIZE, 3)),
        tf.ensure_shape(mask, SIZE),
    )


def network(strategy: tf.distribute.Strategy | None = None) -> Small:
    # Its layers are numbered through the process.
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(3)
    with (strategy or tf.distribute.get_strategy()).scope():
        model = Small()
        model.compile(total_steps=EPOCHS * STEPS, learning_rate=0.05)
    model.build_training(*SIZE)
    return model


def batches(
    first_step: int = 0,
) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
    def made(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training_dataset(
            PAIRS,
            unchanged,
            BATCH,
            EPOCHS * STEPS,
            first_step=first_step,
            parts=context.num_replicas_in_sync,
            shard=(context.input_pipeline_id, context.num_input_pipelines),
        )

    return made


class Record(keras.callbacks.Callback):
    """Writes down what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any, dict[str, float]]] = []

    def _note(self, name: str, number: Any, logs: Any) -> None:
        numbers = {key: float(value) for key, value in (logs or {}).items()}
        self.calls.append((name, number, numbers))

    def on_train_begin(self, logs: Any = None) -> None:
        self._note("begin", None, None)

    def on_train_end(self, logs: Any = None) -> None:
        self._note("end", None, logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._note("epoch begins", epoch, None)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._note("epoch ends", epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._note("batch begins", batch, None)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._note("batch ends", batch, logs)


def assert_same_state(got: Small, wanted: Small) -> None:
    # A fit on a data set counts what it is given as well.
    values = state(wanted)
    for name, array in state(got).items():
        np.testing.assert_array_equal(array, values[name], err_msg=name)


def test_it_does_what_fit_does() -> None:
    by_fit, by_loop = network(), network()
    told, ours = Record(), Record()
    by_fit.fit(
        batches()(tf.distribute.InputContext()),
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        callbacks=[told],
        verbose=0,
    )
    loop.run(by_loop, batches(), EPOCHS, STEPS, [ours], verbose=0)
    assert by_loop.global_step == by_fit.global_step == EPOCHS * STEPS
    assert_same_state(by_loop, by_fit)
    assert [call[:2] for call in ours.calls] == [
        call[:2] for call in told.calls
    ]
    assert len(ours.calls) == 2 + EPOCHS * (2 + 2 * STEPS)
    for (name, number, got), (_, _, wanted) in zip(
        ours.calls, told.calls, strict=True
    ):
        # At the end of an epoch, `fit` has the main metrics' short names too.
        assert set(got) <= set(wanted), (name, number)
        assert set(wanted) - set(got) <= {"mean_iou", "pixel_accuracy"}
        for key, value in got.items():
            assert value == pytest.approx(wanted[key], rel=1e-6), (name, key)


def test_it_goes_on_in_the_middle_of_an_epoch() -> None:
    whole, part = network(), network()
    record = Record()
    loop.run(whole, batches(), EPOCHS, STEPS, [record], verbose=0)

    class Stopped(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.global_step == 6:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        loop.run(part, batches(), EPOCHS, STEPS, [Stopped()], verbose=0)
    rest = Record()
    loop.run(part, batches(6), EPOCHS, STEPS, [rest], verbose=0)
    assert_same_state(part, whole)
    assert rest.calls[:3] == [
        ("begin", None, {}),
        ("epoch begins", 1, {}),
        ("batch begins", 2, {}),
    ]
    # The epoch's numbers are those of the whole epoch.
    assert rest.calls[3:] == record.calls[-len(rest.calls) + 3 :]


def test_a_callback_may_end_the_run() -> None:
    model, record = network(), Record()

    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = True

    loop.run(model, batches(), EPOCHS, STEPS, [Enough(), record], verbose=0)
    assert model.global_step == STEPS
    assert [call[0] for call in record.calls][-2:] == ["epoch ends", "end"]


@pytest.mark.replicas
def test_two_replicas_take_the_steps_of_one(two_replicas) -> None:
    one, two = network(), network(two_replicas)
    alone, together = Record(), Record()
    loop.run(one, batches(), 1, 3, [alone], verbose=0)
    loop.run(two, batches(), 1, 3, [together], verbose=0)
    got = state(two)
    for name, wanted in state(one).items():
        assert distance(got[name], wanted) <= 2e-5, name
    for (_, _, ours), (_, _, wanted) in zip(
        together.calls, alone.calls, strict=True
    ):
        assert ours == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("replicas, machines", [(1, 1), (2, 1), (4, 1), (4, 2)])
def test_parts_of_all_machines_are_the_batch(
    replicas: int, machines: int
) -> None:
    whole = list(batches(2)(tf.distribute.InputContext()))
    assert len(whole) == EPOCHS * STEPS - 2
    parts: list[list[Any]] = [[] for _ in whole]
    for machine in range(machines):
        context = tf.distribute.InputContext(machines, machine, replicas)
        own = list(batches(2)(context))
        count = replicas // machines
        assert len(own) == count * len(whole)
        for step, taken in enumerate(parts):
            taken += own[step * count : (step + 1) * count]
    for (images, masks), taken in zip(whole, parts, strict=True):
        assert images.shape[0] == BATCH
        np.testing.assert_array_equal(
            np.concatenate([part[0] for part in taken]), images
        )
        np.testing.assert_array_equal(
            np.concatenate([part[1] for part in taken]), masks
        )


@pytest.mark.parametrize(
    "parts, shard, message",
    [
        (3, (0, 1), "`batch_size` must be a multiple of.*batch_size=4 for 3"),
        (0, (0, 1), "`batch_size` must be a multiple.*for 0 replicas"),
        (4, (2, 2), r"`shard` must be \(index, count\).*shard=\(2, 2\), par"),
        (2, (0, 4), r"`parts` a multiple of count.*shard=\(0, 4\), parts=2"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(
    parts: int, shard: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        training_dataset(
            PAIRS, unchanged, BATCH, STEPS, parts=parts, shard=shard
        )


def test_a_nan_stops_at_its_step() -> None:
    model = network()
    weight = model.trainable_variables[-1]

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.model.global_step == 2:
                weight.assign(np.full(weight.shape, np.nan))

    callbacks = [StopOnNaN(lambda step: f"step {step}"), Break()]
    with pytest.raises(NonFiniteError, match="whose batch holds step 2"):
        loop.run(model, batches(), EPOCHS, STEPS, callbacks, verbose=0)
    assert model.global_step == 3
