"""Tests of the steps of a fit: the decay's length, its end, the count."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import (
    IMAGES,
    MASKS,
    Sequence,
    assert_same,
    batches,
    generator,
    small,
    values,
)

from keras_pspnet.callbacks import (
    BestModel,
    HistoryFile,
    ValidationScores,
    best_model,
    read_history,
)
from keras_pspnet.optimizers import SGD, PolynomialDecay

BEYOND = (
    r"`total_steps` must cover the steps taken and those requested.* is 0 "
    r"and.*compile\(\).*total_steps={}, steps taken={}, steps requested={}$"
)


class Rates(keras.callbacks.Callback):
    """Remembers the learning rate of every step."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


class Stop(keras.callbacks.Callback):
    """Interrupts a fit where it is told."""

    def __init__(self, method, number=None):
        super().__init__()
        setattr(self, method, lambda *given, **_: self._stop(number, given))

    def _stop(self, number, given):
        if number is None or given[0] == number:
            raise KeyboardInterrupt


# === Its length ===


@pytest.mark.parametrize(
    "fit, steps",
    [
        ({"x": IMAGES[:6], "y": MASKS[:6], "batch_size": 4, "epochs": 2}, 4),
        (
            {"x": IMAGES, "y": MASKS, "batch_size": 2}
            | {"validation_split": 0.3},
            3,
        ),
        ({"x": IMAGES[:4], "y": MASKS[:4], "steps_per_epoch": 1}, 1),
        ({"x": batches(4), "epochs": 2}, 4),
        ({"x": batches(6).repeat(), "steps_per_epoch": 1, "epochs": 2}, 2),
        ({"x": Sequence()}, 3),
        ({"x": generator(), "steps_per_epoch": 2}, 2),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_first_fit_sets_the_length(fit, steps):
    model = small()
    model.fit(**fit, verbose=0)
    assert model.total_steps == steps
    assert int(model.optimizer.iterations) == steps
    assert float(model.optimizer.learning_rate) == 0.0
    with pytest.raises(
        ValueError,
        match=f"(?s)learning rate is 0.*compile.*total_steps={steps}, steps "
        f"taken={steps}",
    ):
        model.fit(**fit, verbose=0)
    model.compile(run_eagerly=True)
    model.fit(IMAGES[:2], MASKS[:2], verbose=0)


def test_compile_sets_the_length_over_several_fits():
    model = small(total_steps=np.int64(4))
    for done in (1, 2):
        model.fit(IMAGES[:2], MASKS[:2], verbose=0)
        rate = 0.01 * (1 - done / 4) ** 0.9
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)
    assert model.total_steps == 4


@pytest.mark.parametrize(
    "data",
    [
        lambda: generator(),
        lambda: batches().repeat(),
        lambda: batches().filter(lambda x, y: True),
    ],
)
def test_unknown_length_is_refused(data):
    with pytest.raises(
        ValueError, match=r"`total_steps` must be passed to compile\(\), or"
    ):
        small().fit(data(), verbose=0)


def test_total_steps_tells_the_length():
    assert small(total_steps=40).total_steps == 40
    assert small(optimizer="sgd").total_steps is None


@pytest.mark.parametrize("of", ["epoch", "execution"])
def test_steps_per_execution_and_epochs_end_at_zero(of):
    rates = Rates()
    model = small(eager=False, steps_per_execution=2 if of != "epoch" else 1)
    model.fit(batches(6), epochs=2, callbacks=[rates], verbose=0)
    assert model.total_steps == 6
    steps = range(6) if of == "epoch" else (0, 2, 3, 5)
    wanted = [0.01 * (1 - step / 6) ** 0.9 for step in steps]
    np.testing.assert_allclose(rates.seen, wanted, rtol=1e-5)
    assert float(model.optimizer.learning_rate) == 0.0


@pytest.mark.parametrize(
    "make",
    [
        keras.optimizers.Adam,
        lambda decay: keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(decay), initial_scale=2.0
        ),
        lambda decay: keras.optimizers.SGD(
            decay, gradient_accumulation_steps=2
        ),
        lambda decay: keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(keras.optimizers.SGD(decay))
        ),
    ],
    ids=["adam", "scaled", "accumulating", "several"],
)
def test_a_decay_in_any_optimizer(make):
    decay = PolynomialDecay(0.01)
    model = small(optimizer=make(decay))
    assert model.total_steps is None
    model.fit(batches(4), epochs=2, verbose=0)
    assert model.total_steps == decay.total_steps == 4
    with pytest.raises(ValueError, match=BEYOND.format(4, 4, 2)):
        model.fit(batches(4), verbose=0)


# === Fits without a step ===


def bad_labels():
    return tf.data.Dataset.from_tensors((IMAGES[:2], MASKS[:2] * 0 + 77))


# Name -> what fit is given, and what it raises.
NO_STEP = {
    "no epoch": ({"epochs": 0}, None),
    "no epoch left": ({"epochs": 3, "initial_epoch": 3}, None),
    # Keras warns of it.
    "nothing": ({"x": IMAGES[:0], "y": MASKS[:0]}, UserWarning),
    "sizes": ({"y": MASKS[:2, 1:]}, ValueError),
    "labels": ({"x": bad_labels().repeat(9), "y": None}, ValueError),
    "callback": ({"callbacks": [Stop("on_train_begin")]}, KeyboardInterrupt),
    "batch": ({"callbacks": [Stop("on_train_batch_begin")]}, KeyboardInterrupt),
}


@pytest.fixture(scope="module")
def two_steps():
    """Weights after two steps of a model without an earlier fit."""
    model = small()
    model.fit(IMAGES[:2], MASKS[:2], epochs=2, verbose=0)
    return values(model)


@pytest.mark.parametrize(
    ("case", "eager"),
    [
        pytest.param(
            case,
            eager,
            # In a graph, these are before, at and within its first step.
            marks=()
            if (case in ("no epoch", "batch", "labels")) != eager
            else pytest.mark.slow,
        )
        for case in NO_STEP
        for eager in (True, False)
    ],
)
def test_a_fit_without_a_step_fixes_nothing(case, eager, two_steps):
    model, rates = small(eager=eager), Rates()
    data = {"x": IMAGES[:2], "y": MASKS[:2], "verbose": 0}
    given, error = NO_STEP[case]
    if error is None:
        model.fit(**data | given)
    else:
        with pytest.raises(error):
            model.fit(**data | given)
    assert model.total_steps is None
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    model.fit(**data, epochs=2, callbacks=[rates])
    wanted = [0.01 * (1 - step / 2) ** 0.9 for step in range(2)]
    np.testing.assert_allclose(rates.seen, wanted, rtol=1e-5)
    # What a graph has of an earlier length would show in the weights.
    assert_same(values(model), two_steps)


def scaled(scale, rate=0.01):
    """As `mixed_float16` wraps it; a scale that is too large skips steps."""
    sgd = SGD(PolynomialDecay(rate))
    return keras.optimizers.LossScaleOptimizer(sgd, initial_scale=scale)


def test_steps_that_were_skipped_fix_nothing():
    model = small(optimizer=scaled(np.inf))
    model.fit(batches(4), verbose=0)
    assert (model.global_step, model.total_steps) == (2, None)


@pytest.mark.parametrize("eager", [True, False])
def test_a_refused_batch_is_no_step(eager):
    model = small(eager=eager, total_steps=3)
    with pytest.raises(ValueError, match="label = 77"):
        model.fit(bad_labels(), verbose=0)
    model.fit(batches(6), verbose=0)
    assert int(model.optimizer.iterations) == model.global_step == 3


# Keras warns where such data ends.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_the_end_of_data_of_unknown_length_is_no_step():
    model = small(eager=False, total_steps=4)
    data = batches(4).filter(lambda x, y: True)
    model.fit(data, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == model.global_step == 4
    with pytest.raises(ValueError, match=BEYOND.format(4, 4, 1)):
        model.fit(data, verbose=0)


# === The end ===


def test_a_fit_beyond_the_end_is_refused_before_it_starts():
    model, rates = small(total_steps=5), Rates()
    model.fit(batches(6), verbose=0)
    before = values(model)
    with pytest.raises(ValueError, match=BEYOND.format(5, 3, 4)):
        model.fit(batches(8), callbacks=[rates], verbose=0)
    with pytest.raises(ValueError, match=BEYOND.format(5, 3, 6)):
        model.fit(batches(6), epochs=2, callbacks=[rates], verbose=0)
    # No callback has begun.
    assert not hasattr(rates, "seen")
    assert_same(values(model), before, 0)
    model.fit(batches(6), epochs=0, verbose=0)
    model.fit(batches(4), verbose=0)
    assert float(model.optimizer.learning_rate) == 0.0
    with pytest.raises(ValueError, match=BEYOND.format(5, 5, 1)):
        model.fit(generator(), steps_per_epoch=1, verbose=0)


def test_an_interrupted_fit_goes_on_from_its_epoch():
    model, rates = small(), Rates()
    fit = {"x": batches(4), "epochs": 3, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        model.fit(**fit, callbacks=[Stop("on_epoch_begin", 1)])
    assert model.total_steps == 6
    with pytest.raises(ValueError, match=BEYOND.format(6, 2, 6)):
        model.fit(**fit)
    model.fit(**fit, initial_epoch=1, callbacks=[rates])
    wanted = [0.01 * (1 - step / 6) ** 0.9 for step in range(2, 6)]
    np.testing.assert_allclose(rates.seen, wanted, rtol=1e-5)
    assert model.global_step == 6


@pytest.mark.replicas
def test_on_two_replicas(two_replicas):
    with two_replicas.scope():
        model = small(eager=False)
    with pytest.raises(KeyboardInterrupt):
        model.fit(batches(8, 4), callbacks=[Stop("on_train_batch_begin")])
    assert model.total_steps is None
    model.fit(batches(4, 4), epochs=2, verbose=0)
    assert model.total_steps == 2
    with pytest.raises(ValueError, match=BEYOND.format(2, 2, 1)):
        model.fit(batches(4, 4), verbose=0)


# === Restored by Keras ===


@pytest.mark.parametrize(
    ("same_process", "skips"),
    [
        (False, True),
        (True, False),
        pytest.param(False, False, marks=pytest.mark.slow),
        pytest.param(True, True, marks=pytest.mark.slow),
    ],
)
def test_backup_and_restore(skips, same_process, tmp_path, monkeypatch):
    # The model is none that can be saved.
    monkeypatch.setattr(
        best_model, "save_pretrained", lambda _, folder: folder.mkdir()
    )
    pairs = list(zip(IMAGES, MASKS, strict=True))

    def fit(model, *others):
        validation = ValidationScores(pairs)
        used = [
            *others,
            validation,
            BestModel(tmp_path / "best", validation),
            HistoryFile(tmp_path / "history.csv"),
            # Last: it has to be restored for those before it, too.
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        ]
        model.fit(batches(4), epochs=4, callbacks=used, verbose=0)

    def made():
        return small(optimizer=scaled(np.inf if skips else 1.0, rate=0.1))

    class Unscale(keras.callbacks.Callback):
        """Lets all steps be taken but the first."""

        def on_train_batch_end(self, batch, logs=None):
            self.model.optimizer.dynamic_scale.assign(1.0)

    model = made()
    with pytest.raises(KeyboardInterrupt):
        fit(model, Unscale(), Stop("on_epoch_begin", 2))
    rows = read_history(tmp_path / "history.csv")
    assert [row["step"] for row in rows] == [2, 4]
    if not same_process:
        model = made()
    fit(model)
    assert int(model.optimizer.iterations) == 8 - skips
    assert model.global_step == 8
    rows = read_history(tmp_path / "history.csv")
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    best = json.loads((tmp_path / "best" / "scores.json").read_text())
    scores = [row["val_mean_iou"] for row in rows]
    assert best["mean_iou"] == pytest.approx(max(scores))
    with pytest.raises(ValueError, match="total_steps=8, steps taken="):
        fit(model)
    assert model.global_step == 8
