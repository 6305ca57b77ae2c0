"""Tests of what version 0.1.0 wrote, with Keras's schedule and other names.

`fixtures/*-0.1.0.keras` are ResNet-18s of width 1/64 without dropout, saved by
that version: after 2 steps of 6; compiled and not trained; and under
`mixed_float16` after 4 steps of 6, of which 2 were skipped.
"""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_pspnet.optimizers import SGD, PolynomialDecay

FIXTURES = Path(__file__).parents[1] / "fixtures"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 33, 41, 3)).astype("uint8")
MASKS = RNG.integers(0, 3, (4, 33, 41)).astype("uint8")

# Name -> steps, those the optimizer took, and the decay's length; the steps
# of the decay after 4 more; the losses that version 0.1.0 went on with.
SAVED = {
    "trained": (2, 2, 6, 6, [1.53795325756073, 1.537880301475525]),
    "untrained": (0, 0, None, 4, [1.538070559501648, 1.5379467010498047]),
    "loss-scaled": (4, 2, 6, 6, [1.5379530191421509, 1.5378801822662354]),
}


def load(name):
    return keras.saving.load_model(FIXTURES / f"{name}-0.1.0.keras")


@pytest.mark.parametrize("name", SAVED)
def test_a_model_of_0_1_0_goes_on(name):
    steps, iterations, total, later, losses = SAVED[name]
    model = load(name)
    model.run_eagerly = True
    assert model.global_step == steps
    assert int(model.optimizer.iterations) == iterations
    assert model.total_steps == total
    history = model.fit(
        IMAGES, MASKS, batch_size=2, epochs=2, shuffle=False, verbose=0
    ).history
    tolerance = 1e-4 if name == "loss-scaled" else 2e-6
    assert history["loss"] == pytest.approx(losses, rel=tolerance)
    assert (model.global_step, model.total_steps) == (steps + 4, later)
    assert float(model.optimizer.learning_rate) == 0.0
    with pytest.raises(ValueError, match=f"total_steps={later}, steps taken="):
        model.fit(IMAGES, MASKS, batch_size=2, verbose=0)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("trained", marks=pytest.mark.slow),
        "untrained",
        "loss-scaled",
    ],
)
def test_it_is_saved_as_today(name, tmp_path):
    model = load(name)
    model.save(tmp_path / "again.keras")
    config = model.get_compile_config()
    again = keras.saving.load_model(tmp_path / "again.keras")
    assert again.get_compile_config() == config
    optimizer = getattr(again.optimizer, "inner_optimizer", again.optimizer)
    assert type(optimizer) is SGD
    factors = {} if name == "untrained" else {"^(head|aux)_": 10.0}
    assert optimizer.lr_multipliers == factors
    schedule = optimizer.get_config()["learning_rate"]
    assert schedule["registered_name"] == "keras_pspnet>PolynomialDecay"
    assert again.total_steps == SAVED[name][2]


def test_a_decay_of_open_length_is_saved_open(tmp_path):
    model = load("untrained")
    model.compile(learning_rate=0.5)
    model.fit(IMAGES, MASKS, batch_size=2, epochs=0, verbose=0)
    model.save(tmp_path / "open.keras")
    loaded = keras.saving.load_model(tmp_path / "open.keras")
    assert loaded.total_steps is None
    assert loaded.optimizer.get_config()["learning_rate"]["config"] == {
        "initial_learning_rate": 0.5,
        "total_steps": None,
        "power": 0.9,
    }


def test_weights_files_keep_the_count_of_skipped_steps(tmp_path):
    model = load("loss-scaled")
    model.save_weights(tmp_path / "a.weights.h5")
    keras.config.set_dtype_policy("mixed_float16")
    other = type(model).from_config(model.get_config())
    other.compile(total_steps=6)
    other.load_weights(tmp_path / "a.weights.h5")
    assert (other.global_step, int(other.optimizer.iterations)) == (4, 2)
    # Files of version 0.1.0 have none.
    shutil.copy(FIXTURES / "loss-scaled-0.1.0.keras", tmp_path / "b.keras")
    other.global_step = 0
    other.load_weights(tmp_path / "b.keras")
    assert (other.global_step, int(other.optimizer.iterations)) == (0, 2)


def test_a_user_s_schedule_is_left_alone(tmp_path):
    model = load("trained")
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 2)
    model.compile(SGD(schedule))
    model.save(tmp_path / "own.keras")
    loaded = keras.saving.load_model(tmp_path / "own.keras")
    assert loaded.total_steps is None
    assert not isinstance(loaded.optimizer._learning_rate, PolynomialDecay)
