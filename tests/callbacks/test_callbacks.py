"""Tests of keras_pspnet.callbacks."""

import io
import os
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from event_reading import events
from PIL import Image
from slow_cases import slow_but
from small import IMAGES, MASKS, Small, small
from support import picture, tiny_pspnet

from keras_pspnet import Scores, evaluate, load_pretrained
from keras_pspnet.callbacks import (
    BestModel,
    Checkpoint,
    EventLog,
    HistoryFile,
    NonFiniteError,
    StopOnNaN,
    ValidationScores,
    prediction_sheet,
    read_history,
    validation_scores,
)
from keras_pspnet.inference import model_labels
from keras_pspnet.labels import LabelSet
from keras_pspnet.visualization.comparison import comparison_sheet

LABELS = LabelSet("abc", ("a", "b/c", "d"), ((0, 0, 0), (9, 9, 9), (1, 2, 3)))


def batches(*broken, count=6, value=np.nan):
    """Float pictures in batches of 2, some of which hold a NaN."""
    images = np.concatenate([IMAGES, IMAGES])[: 2 * count].astype("float32")
    masks = np.concatenate([MASKS, MASKS])[: 2 * count]
    for step in broken:
        images[2 * step, 3, 4, 1] = value
    data = tf.data.Dataset.from_tensor_slices((images, masks))
    return data.batch(2, drop_remainder=True)


def scores(*right, wrong=10):
    """Scores whose mean IoU grows with the counts of right pixels."""
    confusion = np.diag([*right, 0]).astype("int64")
    confusion[0, 1] = wrong
    return Scores(confusion, LABELS)


class Scored:
    """What callbacks ask for scores, without a model."""

    scores = None
    is_done = True


class Untrained:
    """A model for callbacks that only read how far it is."""

    class optimizer:
        learning_rate = 0.125

    def __init__(self, global_step=0):
        self.global_step = global_step


def begun(callback, model):
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    return callback


# === Steps of the run ===


class Steps(keras.callbacks.Callback):
    """Remembers what other callbacks see."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.model.global_step)


@pytest.mark.parametrize("per_execution", slow_but([2], [1, 2, 4]))
def test_steps_are_counted_over_all_calls(per_execution, tmp_path):
    keras.utils.set_random_seed(0)
    model = Small()
    model.compile(total_steps=20, steps_per_execution=per_execution)
    assert model.global_step == 0
    model.fit(batches(), epochs=2, verbose=0)
    assert model.global_step == 12
    steps = Steps()
    model.fit(batches(count=4), callbacks=steps, verbose=0)
    assert steps.seen == list(range(12 + per_execution, 17, per_execution))
    model.train_on_batch(IMAGES[:2], MASKS[:2])
    assert model.global_step == 17
    model.evaluate(IMAGES, MASKS, verbose=0)
    assert model.global_step == 17
    assert int(model.optimizer.iterations) == 17
    assert model.get_compile_config()["global_step"] == 17
    model.compile()
    assert model.global_step == 0


# === NaN ===


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_step_of_a_nan_is_told(eager, value):
    model = small(total_steps=40, eager=eager)
    model.fit(batches(), verbose=0)
    with pytest.raises(NonFiniteError, match="loss=(nan|inf) at step 10") as e:
        model.fit(batches(3, 4, value=value), callbacks=StopOnNaN(), verbose=0)
    assert e.value.step == 10
    assert int(model.optimizer.iterations) == 10
    assert "learning rate" in str(e.value)
    assert "batch holds" not in str(e.value)


def test_the_batch_of_a_nan_is_told():
    stop = StopOnNaN(lambda step: f"a{step}.jpg, b{step}.jpg")
    with pytest.raises(
        NonFiniteError,
        match="at step 3 of the run, whose batch holds a2.jpg, b2.jpg. Check",
    ):
        small(total_steps=9).fit(batches(2), callbacks=[stop], verbose=0)


def test_a_nan_on_one_replica_stops_the_run(two_replicas):
    with two_replicas.scope():
        model = Small()
        model.compile(total_steps=9)
    with pytest.raises(NonFiniteError, match="loss=nan at step 2 "):
        model.fit(batches(1), callbacks=[StopOnNaN()], verbose=0)


@pytest.mark.parametrize(
    "policy", ["float32", "mixed_bfloat16", "mixed_float16"]
)
def test_a_nan_that_the_loss_does_not_show_is_told(policy):
    # On a CPU, ReLU turns NaN into 0.
    keras.config.set_dtype_policy(policy)
    model = small(aux=False, bins=(), total_steps=9)
    stop = StopOnNaN(lambda step: f"batch {step}")
    with pytest.raises(NonFiniteError, match="step 4 .* holds batch 3. Check"):
        model.fit(batches(3), callbacks=[stop], verbose=0)


def test_nothing_of_a_broken_step_is_saved(tmp_path):
    model = small(total_steps=40)
    path = tmp_path / "last.keras"
    kept = [
        HistoryFile(tmp_path / "history.csv"),
        EventLog(tmp_path / "logs"),
        Checkpoint(path),
    ]
    # The last step of an epoch, which ends with a checkpoint.
    data = [batches(), batches(5)]
    model.fit(data[0], callbacks=kept, verbose=0)
    before = path.read_bytes()
    with pytest.raises(NonFiniteError, match="at step 12"):
        model.fit(data[1], callbacks=[StopOnNaN(), *kept], verbose=0)
    assert path.read_bytes() == before
    assert [row["step"] for row in read_history(tmp_path / "history.csv")] == [
        6
    ]
    assert {e.step for e in events(tmp_path / "logs") if e.summary.value} == {6}


@pytest.mark.parametrize("callback", ["StopOnNaN", "Checkpoint"])
def test_weights_that_the_last_step_broke_are_not_saved(callback, tmp_path):
    path = tmp_path / "last.keras"
    path.write_bytes(b"before")
    callbacks = {"StopOnNaN": StopOnNaN(), "Checkpoint": Checkpoint(path)}
    model = small(optimizer=keras.optimizers.SGD(float("inf")))
    with pytest.raises(
        NonFiniteError, match="weights must be.*in .*kernel after step 1 of"
    ):
        model.fit(batches(count=1), callbacks=callbacks[callback], verbose=0)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["last.keras"]


def test_gradients_that_overflow_do_not_stop_a_run():
    keras.config.set_dtype_policy("mixed_float16")
    model = small(bins=(), total_steps=12)
    model.build_training(None, None)
    model.optimizer.dynamic_scale.assign(2.0**100)
    model.fit(batches(), callbacks=[StopOnNaN()], verbose=0)
    # No gradient of float16 survives such a scale.
    assert int(model.optimizer.iterations) == 0
    assert float(model.optimizer.dynamic_scale) == 2.0**94
    assert model.global_step == 6
    model.optimizer.dynamic_scale.assign(2.0)
    with pytest.raises(NonFiniteError, match="step 8 .*mixed_bfloat16 has"):
        model.fit(batches(1), callbacks=[StopOnNaN()], verbose=0)


# === Scores ===


def test_scores_are_those_of_evaluate_at_the_pictures_own_size():
    model = small(total_steps=99)
    pairs = [
        (picture(33, 20), np.ones((33, 20), "uint8")),
        *zip(IMAGES, MASKS, strict=True),
    ]
    validation = ValidationScores(pairs)
    history = model.fit(
        batches(), epochs=2, callbacks=[validation], verbose=0
    ).history
    want = evaluate(model, pairs)
    np.testing.assert_array_equal(validation.scores.confusion, want.confusion)
    assert validation.scores.weights_sha256 == want.weights_sha256
    assert len(history["val_mean_iou"]) == 2
    assert history["val_mean_iou"][-1] == want.mean_iou
    assert history["val_pixel_accuracy"][-1] == want.pixel_accuracy


def test_scores_after_some_epochs(monkeypatch):
    calls = []

    def counting(model, dataset, **kwargs):
        calls.append((dataset, kwargs))
        return scores(5, 7)

    monkeypatch.setattr(validation_scores, "evaluate", counting)
    validation = ValidationScores("data", [1, 2], protocol="mmseg")
    seen = []

    class After(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((validation.scores is not None, "val_mean_iou" in logs))

    small(total_steps=99).fit(
        batches(count=1), epochs=4, callbacks=[validation, After()], verbose=0
    )
    assert calls == [("data", {"protocol": "mmseg"})] * 2
    assert seen == [(each, each) for each in (False, True, True, False)]


# === The best ===


def best_of(folder, model, *given):
    """Runs epochs of given scores; returns the callback."""
    validation = Scored()
    best = begun(BestModel(folder, validation), model)
    for each in given:
        model.global_step += 10
        validation.scores = each
        model.get_layer("head_classifier").bias.assign([model.global_step] * 3)
        best.on_epoch_end(0)
    return best


def kept_step(folder):
    """The step of the model that is kept, by its weights and its scores."""
    model = load_pretrained(folder)
    (step,) = {float(x) for x in model.get_layer("head_classifier").bias.value}
    text = (folder / "scores.json").read_text()
    assert f'"step": {step:.0f},' in text
    return step, Scores.load(folder / "scores.json").mean_iou


def test_the_best_is_kept(tmp_path):
    model = tiny_pspnet()
    low, high = scores(5, 5), scores(50, 50)
    best_of(tmp_path / "best", model, low, high, None, low, high)
    # Of two that are as good, the first.
    assert kept_step(tmp_path / "best") == (20, high.mean_iou)
    assert os.listdir(tmp_path) == ["best"]


def test_a_run_that_goes_on_keeps_an_earlier_best(tmp_path):
    model = tiny_pspnet()
    high = scores(50, 50)
    best_of(tmp_path / "best", model, high)
    best_of(tmp_path / "best", model, scores(20, 20))
    assert kept_step(tmp_path / "best") == (10, high.mean_iou)
    best_of(tmp_path / "best", model, scores(20, 20), scores(90, 90))
    assert kept_step(tmp_path / "best")[0] == 40
    # A new run in the same folder has nothing to do with it.
    model.global_step = 0
    best_of(tmp_path / "best", model, scores(20, 20))
    assert kept_step(tmp_path / "best")[0] == 10


def test_a_set_without_truth_has_no_best(tmp_path):
    nothing = Scores(np.zeros((3, 3), "int64"), LABELS)
    best_of(tmp_path / "best", tiny_pspnet(), nothing)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("renames", [0, 1])
def test_the_best_survives_whatever_kills_the_run(
    tmp_path, monkeypatch, renames
):
    model = tiny_pspnet()
    folder = tmp_path / "best"
    best_of(folder, model, scores(5, 5))
    done = []
    rename = os.rename

    def killed(*paths):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(paths)
        rename(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            best_of(folder, model, scores(50, 50))
    begun(BestModel(folder, Scored()), model)
    assert kept_step(folder)[0] == 10
    assert os.listdir(tmp_path) == ["best"]
    best_of(folder, model, scores(2, 2), scores(50, 50))
    assert kept_step(folder)[0] == 40


def test_scores_of_others_are_refused(tmp_path):
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(ValueError, match="written by Scores.save.*scores.json"):
        begun(BestModel(tmp_path, Scored()), Untrained(5))


# === The history ===


def test_a_row_an_epoch(tmp_path):
    path = tmp_path / "history.csv"
    model = small(total_steps=12, learning_rate=0.1)
    validation = ValidationScores(list(zip(IMAGES, MASKS, strict=True)), [1])
    told = model.fit(
        batches(),
        epochs=2,
        callbacks=[validation, HistoryFile(path)],
        verbose=0,
    ).history
    rows = read_history(path)
    rates = [0.1 * (1 - step / 12) ** 0.9 for step in (6, 12)]
    for k, row in enumerate(rows):
        assert (row["epoch"], row["step"]) == (k + 1, 6 * k + 6)
        assert row["learning_rate"] == pytest.approx(rates[k], rel=1e-6)
        for name in ("loss", "main_loss", "aux_loss", "main_mean_iou"):
            assert row[name] == pytest.approx(told[name][k], rel=1e-7)
    assert "val_mean_iou" not in rows[0]
    assert rows[1]["val_mean_iou"] == pytest.approx(told["val_mean_iou"][0])


def test_a_row_once_whatever_cuts_the_run(tmp_path):
    path = tmp_path / "history.csv"

    def epochs(first, last):
        model = Untrained(10 * first)
        history = begun(HistoryFile(path), model)
        for epoch in range(first, last):
            model.global_step += 10
            history.on_epoch_end(epoch, {"loss": 100.0 * first + epoch})

    epochs(0, 3)
    # The checkpoint of the third epoch was never written.
    epochs(2, 4)
    epochs(4, 5)
    rows = read_history(path)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["loss"] for row in rows] == [0, 1, 202, 203, 404]
    assert {row["learning_rate"] for row in rows} == {0.125}
    # A new run in the same folder.
    epochs(0, 1)
    assert len(read_history(path)) == 1


def test_a_history_that_cannot_be_kept_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` must be writable"):
        begun(HistoryFile(tmp_path / "no" / "a.csv"), Untrained())
    (tmp_path / "a.csv").write_text("hello\nworld\n")
    with pytest.raises(ValueError, match="`path` must be a history"):
        begun(HistoryFile(tmp_path / "a.csv"), Untrained(5))


# === TensorBoard ===


def values_of(event):
    return {value.tag: value.simple_value for value in event.summary.value}


def test_tensorboard_has_curves_classes_and_sheets(tmp_path):
    model = small(total_steps=12, learning_rate=0.1)
    pairs = list(zip(IMAGES[:3], MASKS[:3], strict=True))
    validation = ValidationScores(pairs, [1])
    told = model.fit(
        batches(),
        epochs=2,
        callbacks=[validation, EventLog(tmp_path, validation, pairs[:2])],
        verbose=0,
    ).history
    version, start, first, second = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    # What tells readers to drop later steps of older files.
    session = tf.compat.v1.SessionLog
    assert (start.step, start.session_log.status) == (1, session.START)
    assert (first.step, second.step) == (6, 12)
    training = {
        f"train/{name}"
        for name in (
            "loss",
            "main_loss",
            "aux_loss",
            "main_mean_iou",
            "main_pixel_accuracy",
            "mean_iou",
            "pixel_accuracy",
            "learning_rate",
        )
    }
    assert set(values_of(first)) == training
    values = values_of(second)
    sheet = second.summary.value[-1]
    del values["predictions"]
    names = validation.scores.labels.names
    assert set(values) == training | {
        "val/mean_iou",
        "val/pixel_accuracy",
        *(f"iou/{name}" for name in names),
    }
    assert values["train/loss"] == pytest.approx(told["loss"][1])
    assert values["train/learning_rate"] == 0.0
    assert values["val/mean_iou"] == pytest.approx(validation.scores.mean_iou)
    for name, iou in zip(names, validation.scores.iou, strict=True):
        assert values[f"iou/{name}"] == pytest.approx(iou)
    with Image.open(io.BytesIO(sheet.image.encoded_image_string)) as drawn:
        assert drawn.size == (sheet.image.width, sheet.image.height)
        np.testing.assert_array_equal(drawn, prediction_sheet(model, pairs[:2]))


def test_a_class_without_pixels_has_no_point(tmp_path):
    validation = Scored()
    validation.scores = scores(5, 7)
    log = begun(EventLog(tmp_path, validation), Untrained(30))
    log.on_epoch_end(2, {"loss": 1.5, "val_main_loss": 2.5})
    log.on_train_end()
    start, event = events(tmp_path)[1:]
    assert start.step == 31
    assert values_of(event) == {
        "train/loss": 1.5,
        "train/learning_rate": 0.125,
        "val/main_loss": 2.5,
        "iou/a": pytest.approx(1 / 3),
        "iou/b/c": pytest.approx(7 / 17),
    }


def test_parts_of_a_run_have_event_files_of_their_own(tmp_path):
    for step in (10, 20):
        log = begun(EventLog(tmp_path / "logs"), Untrained(step))
        # What is written is seen before the run is over.
        log.on_epoch_end(0, {"loss": 0.25})
    steps = [e.step for e in events(tmp_path / "logs") if e.summary.value]
    assert steps == [10, 20]
    assert len(os.listdir(tmp_path / "logs")) == 2


def test_a_folder_of_events_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="`folder` must be writable.*file/logs'"):
        begun(EventLog(tmp_path / "file" / "logs"), Untrained())


def test_events_need_no_tensorboard(tmp_path, monkeypatch):
    # To Python, what is None in there is not installed.
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    begun(EventLog(tmp_path), Untrained()).on_epoch_end(0, {"loss": 2.0})
    assert values_of(events(tmp_path)[-1])["train/loss"] == 2.0


def test_sheets_without_scores(tmp_path):
    model = small(total_steps=9)
    pairs = [(IMAGES[0], MASKS[0])]
    log = EventLog(tmp_path, pairs=pairs)
    model.fit(batches(count=1), epochs=2, callbacks=[log], verbose=0)
    tags = [v.tag for e in events(tmp_path) for v in e.summary.value]
    assert tags.count("predictions") == 2


def test_a_sheet_shows_what_the_model_predicts():
    model = small()
    pairs = [(picture(40, 60), np.full((40, 60), 255, "uint8"))]
    pairs.append((picture(31, 25), np.ones((31, 25), "uint8")))
    logits = [model(image[None])["main"][0] for image, _ in pairs]
    assert len(np.unique(np.argmax(logits[0], -1))) > 1
    want = comparison_sheet(
        [image for image, _ in pairs],
        [mask for _, mask in pairs],
        [np.argmax(each, -1) for each in logits],
        model_labels(model),
    )
    np.testing.assert_array_equal(prediction_sheet(model, pairs), want)


# === Checkpoints ===


def test_a_killed_checkpoint_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "last.keras"
    path.write_bytes(b"before")

    def killed(self, path):
        with open(path, "wb") as stream:
            stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Small, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        small(total_steps=2).fit(
            batches(count=1), callbacks=[Checkpoint(path)], verbose=0
        )
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["last.keras"]


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` must be writable"):
        begun(Checkpoint(tmp_path / "no" / "last.keras"), Untrained())
