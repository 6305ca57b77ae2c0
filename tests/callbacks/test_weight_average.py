"""Tests of the moving average of the weights."""

import keras
import numpy as np
import pytest
from small import IMAGES, MASKS, batches, small
from support import numpy

from keras_pspnet import evaluate
from keras_pspnet.callbacks import ValidationScores, WeightAverage

DECAY = 0.7


class Weights(keras.callbacks.Callback):
    """Keeps the weights after each step, and at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.steps, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(all_weights(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(all_weights(self.model))


def all_weights(model):
    return [numpy(weight) for weight in model.weights]


def trained(*callbacks, **kwargs):
    model = small(eager=False, learning_rate=0.05, total_steps=8)
    model.fit(
        batches(), epochs=4, verbose=0, callbacks=list(callbacks), **kwargs
    )
    return model


def averages_of(start, steps):
    """After each step, in float64."""
    average, found = [each.astype("float64") for each in start], []
    for step, weights in enumerate(steps, 1):
        decay = min(DECAY, (1 + step) / (10 + step))
        average = [
            decay * a + (1 - decay) * w
            for a, w in zip(average, weights, strict=True)
        ]
        found.append(average)
    return found


@pytest.fixture(scope="module")
def plain():
    """Weights before and during a training without averages."""
    start = all_weights(small(eager=False))
    seen = Weights()
    trained(seen)
    return start, seen


def test_epochs_end_with_the_average_of_all_steps(plain):
    start, undisturbed = plain
    seen = Weights()
    model = trained(WeightAverage(DECAY), seen)
    # It trains on as without averages, bit for bit.
    for got, want in zip(seen.steps, undisturbed.steps, strict=True):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
    want = averages_of(start, seen.steps)
    assert len(want) == 8
    for got, average in zip(seen.epochs, want[1::2], strict=True):
        for a, b in zip(got, average, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)
    # And so does the fit.
    for a, b in zip(all_weights(model), seen.epochs[-1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_averages_are_scored():
    pairs = [(IMAGES[:4], MASKS[:4])]
    validation = ValidationScores(pairs)
    average = WeightAverage(DECAY)
    model = trained(average, validation, validation_data=pairs[0])
    want = evaluate(model, pairs)
    np.testing.assert_array_equal(validation.scores.confusion, want.confusion)
    logs = model.history.history["val_loss"][-1]
    assert logs == pytest.approx(
        model.evaluate(*pairs[0], verbose=0, return_dict=True)["loss"], rel=1e-6
    )
    # The weights themselves score otherwise.
    average.remove()
    assert model.evaluate(*pairs[0], verbose=0, return_dict=True)[
        "loss"
    ] != pytest.approx(logs, rel=1e-3)


def test_a_new_fit_begins_anew():
    average = WeightAverage(DECAY)
    model = trained(average)
    start = all_weights(model)
    seen = Weights()
    model.compile(learning_rate=0.05, total_steps=2)
    model.fit(batches(), verbose=0, callbacks=[average, seen])
    for a, b in zip(
        seen.epochs[0], averages_of(start, seen.steps)[-1], strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("decay", [-0.1, 1.5, "0.9", float("nan")])
def test_decays_out_of_range_are_refused(decay):
    with pytest.raises(ValueError, match="`decay` must be"):
        WeightAverage(decay)
