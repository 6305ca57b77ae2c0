"""Tests of training runs, and of resuming them."""

import dataclasses
import inspect
import json
import os
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from event_reading import events
from PIL import Image
from smoke_run import (
    SMOKE,
    last,
    small_network,
    weights_of,
    write_folder,
)

import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.data as run_data
import keras_pspnet.training.run as training
from keras_pspnet import PSPNet, evaluate, load_pretrained
from keras_pspnet.backbones import BLOCKS
from keras_pspnet.callbacks import (
    NonFiniteError,
    read_history,
    validation_scores,
)
from keras_pspnet.cli.main import main
from keras_pspnet.data.pipeline import batch_indices
from keras_pspnet.evaluation.evaluate import Scores
from keras_pspnet.labels import AERIAL, SCENES
from keras_pspnet.training import checkpoints
from keras_pspnet.training.checkpoints import SaveCheckpoints
from keras_pspnet.training.recipe import Recipe
from keras_pspnet.visualization import training_curves

pytestmark = [
    pytest.mark.long,
    # Input pipelines are graphs all the same.
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]

# === Runs ===


def test_a_run_leaves_model_scores_sheet_and_checkpoint(
    finished, small
) -> None:
    output, scores = finished
    assert sorted(os.listdir(output)) == [
        "best",
        "checkpoints",
        "curves.png",
        "history.csv",
        "logs",
        "model",
        "predictions.png",
        "scores.json",
    ]
    told = json.loads((output / "scores.json").read_text())
    assert told.pop("seconds_of_this_part") > 0
    assert told == {"recipe": "scenes", "steps": 4, **scores.to_dict()}
    with Image.open(output / "predictions.png") as sheet:
        sheet.load()
        assert sheet.mode == "RGB"
        assert min(sheet.size) > 300
    with Image.open(output / "curves.png") as curves:
        np.testing.assert_array_equal(
            curves, training_curves(read_history(output / "history.csv"))
        )
    kept = weights_of(output)
    model = load_pretrained(output / "model", aux=True)
    assert model.labels == SCENES
    for variable in model.weights:
        if variable.path in kept:
            np.testing.assert_array_equal(variable, kept.pop(variable.path))
    assert not kept
    again = evaluate(model, run_data.open_data(SMOKE, None).validation)
    np.testing.assert_array_equal(again.confusion, scores.confusion)
    card = (output / "model/README.md").read_text()
    assert f"- Recipe: {SMOKE.name} (keras_pspnet)\n" in card
    assert f"| mean IoU | {scores.mean_iou:.4f} |" in card


def test_a_finished_run_is_scored_again_and_not_trained(
    finished, small, tmp_path
) -> None:
    folder = Path(shutil.copytree(finished[0], tmp_path / "run"))
    (folder / "scores.json").unlink()
    before = last(folder).digest
    scores = training.train(SMOKE, folder, verbose=0)
    np.testing.assert_array_equal(scores.confusion, finished[1].confusion)
    assert last(folder).digest == before
    assert (folder / "scores.json").is_file()


def test_an_interrupted_run_goes_on_to_the_same_weights(
    finished, half_way, small, tmp_path
) -> None:
    folder = Path(shutil.copytree(half_way, tmp_path / "run"))
    assert sorted(os.listdir(folder)) == [
        "best",
        "checkpoints",
        "history.csv",
        "logs",
    ]
    half = last(folder)
    assert half.tensors["optimizer/sgd/iteration"] == half.step == 2

    training.train(SMOKE, folder, verbose=0)
    whole, parts = (weights_of(each) for each in (finished[0], folder))
    for path, array in whole.items():
        # The order of threads may change the last digits of sums.
        np.testing.assert_allclose(
            parts[path], array, rtol=1e-4, atol=1e-5, err_msg=path
        )
    whole, parts = (
        read_history(each / "history.csv") for each in (finished[0], folder)
    )
    assert [row["step"] for row in parts] == [2, 4]
    for row, want in zip(parts, whole, strict=True):
        assert row == pytest.approx(want, rel=1e-3)


def test_every_evaluation_is_made_once(small, monkeypatch, tmp_path) -> None:
    steps = []

    def counting(model: PSPNet, *args: Any, **kwargs: Any) -> Scores:
        steps.append(model.global_step)
        return evaluate(model, *args, **kwargs)

    for module in (validation_scores, training):
        monkeypatch.setattr(module, "evaluate", counting)
    recipe = dataclasses.replace(SMOKE, steps_per_epoch=1, evaluations=2)
    scores = training.train(recipe, tmp_path, verbose=0)
    assert steps == [2, 4]
    rows = read_history(tmp_path / "history.csv")
    assert [row["step"] for row in rows if "val_mean_iou" in row] == steps
    assert rows[-1]["val_mean_iou"] == pytest.approx(scores.mean_iou)
    # The sheets are drawn when there are scores.
    drawn = [
        event.step
        for event in events(tmp_path / "logs")
        for value in event.summary.value
        if value.tag == "predictions"
    ]
    assert drawn == steps


def test_the_best_of_a_run_is_a_model_with_its_scores(finished, small) -> None:
    output, _ = finished
    kept = Scores.load(output / "best" / "scores.json")
    told = json.loads((output / "best" / "scores.json").read_text())
    found = {
        row["step"]: row["val_mean_iou"]
        for row in read_history(output / "history.csv")
    }
    assert told["step"] == max(found, key=lambda step: found[step])
    assert told["recipe"] == SMOKE.name
    assert kept.mean_iou == pytest.approx(max(found.values()))
    model = load_pretrained(output / "best", aux=True)
    again = evaluate(model, run_data.open_data(SMOKE, None).validation)
    np.testing.assert_array_equal(again.confusion, kept.confusion)


def with_nan(
    batches: tf.data.Dataset, broken: int, first_step: int
) -> tf.data.Dataset:
    """The batches of a run, of which one is not a number."""

    def spoil(step: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        images, masks = batch
        bad = tf.equal(step, broken - first_step)
        return tf.where(bad, float("nan"), images), masks

    return batches.enumerate().map(spoil)


def test_a_nan_tells_step_and_files_and_leaves_the_last_checkpoint(
    small, monkeypatch, tmp_path, capsys
) -> None:
    recipe = recipe_files.load_recipe("aerial").smoke_test()
    recipe = dataclasses.replace(
        recipe, steps=4, steps_per_epoch=2, batch_size=2
    )
    data = write_folder(tmp_path / "data", train=5)
    batches = run_data.RunData.training_batches
    monkeypatch.setattr(
        run_data.RunData,
        "training_batches",
        lambda self, first, parts, shard: with_nan(
            batches(self, first, parts, shard), 2, first
        ),
    )
    output = tmp_path / "run"
    with pytest.raises(NonFiniteError, match="(at|after) step 3 ") as error:
        training.train(recipe, output, data, verbose=0)
    indices = batch_indices(5, 2, recipe.seed, 2)
    for index in range(5):
        path = str(data / "train" / "images" / f"{index}.png")
        assert (path in str(error.value)) == (index in indices)
    assert last(output).step == 2
    assert [row["step"] for row in read_history(output / "history.csv")] == [2]
    # It stops again when it goes on, and again at the same step.
    monkeypatch.setattr(recipe_files, "load_recipe", lambda name: recipe)
    command = ["train", "aerial", "-o", str(output), "--data", str(data)]
    assert main(command) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == f"keras-pspnet: error: {error.value}"


def test_a_nan_of_scenes_tells_their_numbers() -> None:
    source = run_data.open_data(SMOKE, None)
    indices = batch_indices(8, 4, SMOKE.seed, 1)
    assert source.batch(1) == f"the scenes {', '.join(map(str, indices))}"


# === Mixed precision ===


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_run_in_mixed_precision_goes_on_where_it_was(
    policy: str, small, monkeypatch, tmp_path
) -> None:
    recipe = dataclasses.replace(SMOKE, dtype_policy=policy)
    states = []
    scales = []

    class Noting(SaveCheckpoints):
        def note(self) -> None:
            optimizer = self.model.optimizer
            states.append([np.array(each) for each in optimizer.variables])
            if policy == "mixed_float16":
                scales.append(float(optimizer.dynamic_scale))

        def on_train_begin(self, logs: Any = None) -> None:
            super().on_train_begin(logs)
            if policy == "mixed_float16" and not states:
                # No gradient survives it: every step is skipped.
                self.model.optimizer.dynamic_scale.assign(2.0**100)
            assert self.model.get_layer("head_conv").compute_dtype == policy[6:]
            self.note()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, logs)
            self.note()
            if len(states) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "SaveCheckpoints", Noting)
    with pytest.raises(KeyboardInterrupt):
        training.train(recipe, tmp_path, verbose=0)
    scores = training.train(recipe, tmp_path, verbose=0)
    start, half, again, end = states
    for got, want in zip(again, half, strict=True):
        np.testing.assert_array_equal(got, want)
    if policy == "mixed_float16":
        assert scales == [2.0**k for k in (100, 98, 98, 96)]
    else:
        assert [int(state[0]) for state in states] == [0, 2, 2, 4]
    # All steps count, also those that were skipped.
    assert [row["step"] for row in read_history(tmp_path / "history.csv")] == [
        2,
        4,
    ]
    training.train(recipe, tmp_path, verbose=0)
    assert len(states) == 4
    assert keras.config.dtype_policy().name == "float32"
    model = load_pretrained(tmp_path / "model")
    again = evaluate(model, run_data.open_data(recipe, None).validation)
    np.testing.assert_array_equal(again.confusion, scores.confusion)


def test_the_command_chooses_the_precision(monkeypatch, tmp_path) -> None:
    given = []

    def train(recipe: Recipe, *_: Any, **__: Any) -> Scores:
        given.append(recipe.dtype_policy)
        return Scores(np.eye(11, dtype="int64"), SCENES)

    monkeypatch.setattr(training, "train", train)
    for more in ([], ["--precision", "mixed_bfloat16"]):
        assert main(["train", "scenes", *more]) == 0
    assert given == ["float32", "mixed_bfloat16"]


def test_interruption_before_the_first_checkpoint_is_told(
    small, monkeypatch, tmp_path
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PSPNet, "train_step", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"checkpoints \(none yet\)"):
        training.train(SMOKE, tmp_path, verbose=0)


def test_a_checkpoint_of_another_run_is_refused_by_name(
    half_way, small, tmp_path
) -> None:
    folder = Path(shutil.copytree(half_way, tmp_path / "run"))
    before = last(folder).digest
    other = dataclasses.replace(SMOKE, dtype_policy="mixed_float16")
    match = "`output`.*same run.*policy='mixed_float16', and a checkpoint with"
    with pytest.raises(ValueError, match=match):
        training.train(other, folder, verbose=0)
    assert keras.config.dtype_policy().name == "float32"
    assert last(folder).digest == before


def test_what_the_weights_do_not_depend_on_may_change(
    half_way, small, tmp_path
) -> None:
    folder = Path(shutil.copytree(half_way, tmp_path / "run"))
    other = dataclasses.replace(
        SMOKE, name="mine", evaluations=1, checkpoint_steps=1, val_images=1
    )
    training.train(other, folder, verbose=0)
    assert last(folder).step == 4


def test_other_training_pictures_are_refused(small, tmp_path) -> None:
    recipe = dataclasses.replace(
        recipe_files.load_recipe("aerial").smoke_test(),
        steps=2,
        steps_per_epoch=2,
    )
    data = write_folder(tmp_path / "data")
    training.train(recipe, tmp_path / "run", data, verbose=0)
    moved = data.rename(tmp_path / "moved")
    training.train(recipe, tmp_path / "run", moved, verbose=0)
    for kind in ("images", "masks"):
        folder = moved / "train" / kind
        (folder / "0.png").rename(folder / "9.png")
    with pytest.raises(ValueError, match="images=3 images, names "):
        training.train(recipe, tmp_path / "run", moved, verbose=0)


def test_a_disk_that_fills_up_stops_the_run(
    small, monkeypatch, tmp_path
) -> None:
    fsync = os.fsync
    saved: list[int] = []

    class Full(SaveCheckpoints):
        def _save(self) -> None:
            if self.model.global_step == 4 and 4 not in saved:
                monkeypatch.setattr(os, "fsync", full)
            saved.append(self.model.global_step)
            super()._save()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "SaveCheckpoints", Full)
    with pytest.raises(OSError, match="No space left on device"):
        training.train(SMOKE, tmp_path, verbose=0)
    assert saved == [2, 4]
    assert last(tmp_path).step == 2
    monkeypatch.setattr(os, "fsync", fsync)
    training.train(SMOKE, tmp_path, verbose=0)
    assert last(tmp_path).step == 4


def test_a_folder_of_pictures_of_any_sizes_on_two_replicas(
    two_replicas, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(Recipe, "model", small_network)
    monkeypatch.setitem(BLOCKS, 18, (1, 1, 1, 1))
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: two_replicas)
    recipe = dataclasses.replace(
        recipe_files.load_recipe("aerial").smoke_test(),
        steps=2,
        steps_per_epoch=2,
    )
    data = write_folder(tmp_path / "data")
    scores = training.train(recipe, tmp_path / "run", data, verbose=0)
    # All but the three rows without truth.
    assert scores.confusion.sum() == (47 + 48) * 71
    assert scores.labels == AERIAL
    tensors = last(tmp_path / "run").tensors
    assert tensors["optimizer/sgd/iteration"] == recipe.steps


def test_data_is_checked_before_training(small, tmp_path) -> None:
    recipe = recipe_files.load_recipe("aerial")

    def refused(data: Path | None, error: type, match: str) -> None:
        with pytest.raises(error, match=match):
            training.train(recipe, tmp_path / "run", data, verbose=0)

    refused(None, ValueError, "`data` must be a folder.*aerial.*data=None")
    refused(
        tmp_path / "no",
        FileNotFoundError,
        "must be an existing folder, or one of.*/no'",
    )
    refused(write_folder(tmp_path / "a", 0, 1), ValueError, "there is no pair")
    refused(write_folder(tmp_path / "b", 1, 0), ValueError, "val/images")
    (tmp_path / "b" / "train" / "masks" / "0.png").rename(tmp_path / "x.png")
    refused(tmp_path / "b", ValueError, r"train/images/0\.png has no mask")
    bad = write_folder(tmp_path / "c") / "val" / "masks" / "1.png"
    Image.fromarray(np.full((51, 71), 77, "uint8")).save(bad)
    refused(
        tmp_path / "c", ValueError, r"label 77.* in mask=.*val/masks/1\.png"
    )
    assert not (tmp_path / "run").exists()


def test_an_output_that_cannot_be_written_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in ("file", "file/run"):
        with pytest.raises(OSError, match="file"):
            training.train(SMOKE, tmp_path / place)


# === Several machines ===


def test_the_command_passes_the_timeout_on(
    monkeypatch, tmp_path, capsys
) -> None:
    given = []

    trained = training.train

    def train(*_: Any, worker_timeout: float, **__: Any) -> None:
        given.append(worker_timeout)

    monkeypatch.setattr(training, "train", train)
    assert main(["train", "scenes"]) == 0
    assert main(["train", "scenes", "--worker-timeout", "7.5"]) == 0
    default = inspect.signature(trained).parameters["worker_timeout"].default
    assert given == [default, 7.5]
    assert "the first worker scores and writes" in capsys.readouterr().out


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_timeout_is_positive(tmp_path, timeout: float) -> None:
    with pytest.raises(ValueError, match="`worker_timeout` must be.*above 0"):
        training.train(SMOKE, tmp_path, worker_timeout=timeout)
    assert not os.listdir(tmp_path)


def test_the_head_s_rate_is_the_recipe_s(small, monkeypatch, tmp_path) -> None:
    given = {}

    def compile_(self: PSPNet, **kwargs: Any) -> None:
        given.update(kwargs)
        raise InterruptedError("enough")

    monkeypatch.setattr(PSPNet, "compile", compile_)
    recipe = dataclasses.replace(SMOKE, head_lr_multiplier=7.0)
    with pytest.raises(InterruptedError, match="enough"):
        training.train(recipe, tmp_path, verbose=0)
    assert given == {
        "total_steps": 4,
        "learning_rate": 0.05,
        "head_lr_multiplier": 7.0,
        "weight_decay": 1e-4,
        "loss": None,
        "loss_weights": {"main": 1.0, "aux": 0.4},
    }


def test_a_run_without_a_whole_checkpoint_is_refused(
    half_way, small, tmp_path
) -> None:
    folder = Path(shutil.copytree(half_way, tmp_path / "run"))
    for path in checkpoints.listed(folder / "checkpoints"):
        path.write_bytes(b"no checkpoint")
    with pytest.raises(
        ValueError, match="`output` must hold an intact checkpoint, or none"
    ):
        training.train(SMOKE, folder, verbose=0)
