"""Tests of the training programme: recipes, runs, and going on with them."""

import dataclasses
import inspect
import json
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import pytest
import tensorflow as tf
from event_reading import events
from PIL import Image
from support import conv_model, picture

import keras_pspnet
import keras_pspnet.inference.segment
import keras_pspnet.recipes as recipe_files
import keras_pspnet.training.data as run_data
import keras_pspnet.training.recipe as recipes
import keras_pspnet.training.run as training
from keras_pspnet import PSPNet, evaluate, load_pretrained
from keras_pspnet.callbacks import all_callbacks as callbacks
from keras_pspnet.callbacks.all_callbacks import NonFiniteError
from keras_pspnet.callbacks.history import read_history
from keras_pspnet.cli.main import main
from keras_pspnet.data.augment.augmentation import train_augmentation
from keras_pspnet.data.pipeline import batch_indices
from keras_pspnet.evaluation.evaluate import Scores
from keras_pspnet.labels import AERIAL, CAMVID, SCENES, LabelSet
from keras_pspnet.models.imagenet import check_backbone_source
from keras_pspnet.training import checkpoints, demo
from keras_pspnet.training.checkpoints import SaveCheckpoints
from keras_pspnet.training.cluster import WorkerLostError
from keras_pspnet.training.recipe import Recipe
from keras_pspnet.visualization import training_curves

PUBLISHED = tuple(
    name
    for name in recipe_files.RECIPES
    if name.endswith(("resnet18", "resnet50", "resnet101"))
)
SMOKE = dataclasses.replace(
    recipe_files.load_recipe("scenes").smoke_test(), steps=4, steps_per_epoch=2
)


def last(output: Path) -> checkpoints.Checkpoint:
    found = checkpoints.newest(output / "checkpoints")
    assert found is not None
    return found


def weights_of(output: Path) -> dict[str, np.ndarray]:
    """The weights of the last checkpoint by path."""
    return {
        name.removeprefix("model/"): array
        for name, array in last(output).tensors.items()
        if name.startswith("model/") and "seed_generator" not in name
    }


def write_folder(folder: Path, train: int = 3, val: int = 2) -> Path:
    """Pictures of odd sizes and masks that follow their brightness."""
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for k in range(count):
            image = picture(50 + k, 71)
            mask = (image.mean(-1) // 52).astype("uint8")
            mask[:3] = 255
            for kind, array in (("images", image), ("masks", mask)):
                path = folder / split / kind / f"{k}.png"
                Image.fromarray(array).save(path)
    return folder


def small_network(recipe: Recipe) -> PSPNet:
    """Without a pyramid."""
    return PSPNet(
        recipe.labels.num_classes,
        "resnet18",
        (*recipe.crop, 3),
        width=recipe.width,
        bin_sizes=(),
        labels=recipe.labels,
    )


@pytest.fixture
def small(monkeypatch) -> None:
    """Runs train a small network on one replica."""
    monkeypatch.setattr(Recipe, "model", small_network)
    monkeypatch.setattr(
        tf.distribute, "MirroredStrategy", tf.distribute.get_strategy
    )


class Interrupted(SaveCheckpoints):
    """Somebody presses Ctrl-C as soon as there is a checkpoint."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Scores]:
    output = tmp_path_factory.mktemp("runs") / "scenes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "model", small_network)
        patch.setattr(
            tf.distribute, "MirroredStrategy", tf.distribute.get_strategy
        )
        return output, training.train(SMOKE, output, verbose=0)


@pytest.fixture
def half_way(small, monkeypatch, tmp_path_factory) -> Path:
    """The folder of a run that ended after the first of two epochs."""
    output = tmp_path_factory.mktemp("half")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "SaveCheckpoints", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train(SMOKE, output, verbose=0)
    return output


# === Recipes ===


@pytest.mark.parametrize("name", ["scenes", "aerial"])
def test_a_recipe_builds_its_network(name: str) -> None:
    recipe = recipe_files.load_recipe(name)
    assert type(recipe) is Recipe
    assert recipe.name == name
    assert recipe.labels == {"aerial": AERIAL, "scenes": SCENES}[name]
    model = recipe.model()
    assert model.labels == recipe.labels
    assert set(model.output) == {"main", "aux"}
    size = recipe.crop if recipe.fixed_size else (None, None)
    assert model.input_shape == (None, *size, 3)
    # In float16 it fits into the package.
    assert 2 * model.count_params() < 30e6


@pytest.mark.parametrize("name", recipe_files.RECIPES)
def test_a_shrunk_recipe_is_the_same_run_but_smaller(name: str) -> None:
    recipe = recipe_files.load_recipe(name)
    small = recipe.smoke_test()
    changed = {
        field.name
        for field in dataclasses.fields(Recipe)
        if getattr(small, field.name) != getattr(recipe, field.name)
    }
    sizes = {"width", "crop", "batch_size", "steps", "steps_per_epoch"}
    sizes |= {"val_images"}
    assert changed - {"scenes", "backbone_weights"} == sizes
    assert small.backbone_weights is None
    assert small.steps <= 40


def test_a_recipe_has_no_fields_but_its_own() -> None:
    with pytest.raises(TypeError, match="banana"):
        dataclasses.replace(SMOKE, banana=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMOKE.steps = 5


def test_a_run_is_a_whole_number_of_epochs() -> None:
    with pytest.raises(ValueError, match="`steps` must be.*=3, steps_per_ep"):
        dataclasses.replace(SMOKE, steps=3)


def test_a_recipe_comes_from_a_file(tmp_path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import dataclasses\n"
        "from keras_pspnet.recipes.aerial import RECIPE as AERIAL\n"
        "RECIPE = dataclasses.replace(AERIAL, name='mine', seed=7)\n"
    )
    recipe = recipe_files.load_recipe(str(path))
    assert (recipe.name, recipe.seed, recipe.rotate90) == ("mine", 7, True)


@pytest.mark.parametrize("content", ["", "RECIPE = 3", "RECIPE = None"])
def test_a_file_without_a_recipe_is_refused(tmp_path, content: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"whose RECIPE is a Recipe.*mine\.py"):
        recipe_files.load_recipe(str(path))


def test_unknown_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="one of scenes, aerial.*'mars'"):
        recipe_files.load_recipe("mars")
    with pytest.raises(FileNotFoundError, match=r"existing file.*'mars\.py'"):
        recipe_files.load_recipe("mars.py")


def test_a_recipe_s_own_file_is_the_recipe() -> None:
    path = Path(recipe_files.__file__).parent / "aerial.py"
    assert recipe_files.load_recipe(str(path)) == recipe_files.load_recipe(
        "aerial"
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_of_published_sets_have_the_paper_s_values(name: str) -> None:
    recipe = recipe_files.load_recipe(name)
    assert recipe.name == name
    assert (recipe.data, recipe.backbone) == tuple(
        name.replace("voc2012", "voc").split("_")
    )
    assert recipe.data == recipe.labels.name
    assert recipe.batch_size == 16
    assert recipe.learning_rate == 0.01
    assert recipe.scales == (0.5, 2.0)
    assert recipe.flip
    assert not recipe.rotate90
    # It would fail here if nobody published weights of this network.
    check_backbone_source("imagenet", recipe.backbone, "deep", 1.0, "3x3")
    assert (recipe.backbone_weights, recipe.width) == ("imagenet", 1.0)
    sizes = {
        "voc": ((473, 473), 30_000, 10.0, 0.5, "trainaug"),
        "ade20k": ((473, 473), 150_000, 10.0, 0.5, "train"),
        "cityscapes": ((713, 713), 90_000, 0.0, 0.0, "train"),
        "camvid": ((360, 480), 4600, 0.0, 0.0, "train"),
    }
    assert sizes[recipe.data] == (
        recipe.crop,
        recipe.steps,
        recipe.rotate,
        recipe.blur_probability,
        recipe.train_split,
    )


def test_all_changes_are_those_of_the_recipe(monkeypatch) -> None:
    names = inspect.signature(train_augmentation).parameters
    given: dict[str, Any] = {}

    def remember(*args: Any, **kwargs: Any) -> str:
        given.update(zip(names, args, strict=False), **kwargs)
        return "the changes"

    monkeypatch.setattr(recipes, "train_augmentation", remember)
    values: dict[str, Any] = {
        "crop": (8, 9),
        "scales": (0.75, 1.5),
        "flip": False,
        "turns": True,
        "base_size": (64, 32),
        "rotate": 5.0,
        "cat_max_ratio": 0.75,
        "center_padding": True,
        "blur_probability": 0.25,
        "photometric": True,
    }
    recipe = dataclasses.replace(SMOKE, **values)
    assert recipe.augmentation() == "the changes"
    assert given == values


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
        "loss_weights": {"main": 1.0, "aux": 0.4},
    }


def test_the_backbone_starts_from_the_recipe_s_weights(tmp_path) -> None:
    recipe = dataclasses.replace(
        SMOKE, backbone_weights=str(tmp_path / "none.pth")
    )
    with pytest.raises(FileNotFoundError, match=r"`backbone_weights`.*none\."):
        recipe.model()


# === Runs ===


def test_a_run_leaves_model_scores_sheet_and_checkpoint(finished) -> None:
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
    again = evaluate(model, run_data.open_data(SMOKE, None).validation())
    np.testing.assert_array_equal(again.confusion, scores.confusion)


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
    finished, small, monkeypatch, tmp_path, capsys
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "SaveCheckpoints", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train(SMOKE, tmp_path, verbose=0)
    folder = tmp_path / "checkpoints"
    told = f"{folder} (step-00000002.safetensors)"
    assert told in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == [
        "best",
        "checkpoints",
        "history.csv",
        "logs",
    ]
    half = last(tmp_path)
    assert half.tensors["optimizer/sgd/iteration"] == half.step == 2

    training.train(SMOKE, tmp_path, verbose=0)
    whole, parts = (weights_of(folder) for folder in (finished[0], tmp_path))
    for path, array in whole.items():
        # The order of threads may change the last digits of sums.
        np.testing.assert_allclose(
            parts[path], array, rtol=1e-4, atol=1e-5, err_msg=path
        )
    whole, parts = (
        read_history(folder / "history.csv")
        for folder in (finished[0], tmp_path)
    )
    assert [row["step"] for row in parts] == [2, 4]
    for row, want in zip(parts, whole, strict=True):
        assert row == pytest.approx(want, rel=1e-3)


def test_every_evaluation_is_made_once(small, monkeypatch, tmp_path) -> None:
    steps = []

    def counting(model: PSPNet, *args: Any, **kwargs: Any) -> Scores:
        steps.append(model.global_step)
        return evaluate(model, *args, **kwargs)

    for module in (callbacks, training):
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


def test_the_best_of_a_run_is_a_model_with_its_scores(finished) -> None:
    output, _ = finished
    kept = Scores.load(output / "best" / "scores.json")
    told = json.loads((output / "best" / "scores.json").read_text())
    found = {
        row["step"]: row["val_mean_iou"]
        for row in read_history(output / "history.csv")
    }
    assert told["step"] == max(found, key=lambda step: found[step])
    assert kept.mean_iou == pytest.approx(max(found.values()))
    model = load_pretrained(output / "best", aux=True)
    again = evaluate(model, run_data.open_data(SMOKE, None).validation())
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
    batches = run_data.FolderData.training_batches
    monkeypatch.setattr(
        run_data.FolderData,
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
    again = evaluate(model, run_data.open_data(recipe, None).validation())
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


@pytest.mark.parametrize(
    "epochs, evaluations, want",
    [
        (6, 10, [0, 1, 2, 3, 4, 5]),
        (6, 3, [1, 3, 5]),
        (7, 2, [3, 6]),
        (40, 1, [39]),
        (5, 4, [1, 2, 3, 4]),
    ],
)
def test_evaluations_are_spread_over_the_epochs(
    epochs: int, evaluations: int, want: list[int]
) -> None:
    recipe = dataclasses.replace(
        SMOKE, steps=2 * epochs, evaluations=evaluations
    )
    assert recipe.evaluated_epochs() == want


def test_a_run_has_an_evaluation() -> None:
    with pytest.raises(ValueError, match="`evaluations` must be at least 1"):
        dataclasses.replace(SMOKE, evaluations=0)


def test_interruption_before_the_first_checkpoint_is_told(
    small, monkeypatch, tmp_path, capsys
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PSPNet, "train_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        training.train(SMOKE, tmp_path, verbose=0)
    assert "checkpoints (none yet)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"width": 1 / 16},
            r"width=0\.0625, and a checkpoint with width=0\.125",
        ),
        (
            {"dtype_policy": "mixed_float16"},
            "policy='mixed_float16', and a checkpoint with .*='float32'",
        ),
        ({"steps_per_epoch": 4}, "epoch=4, and a checkpoint with .*epoch=2"),
        ({"steps": 8}, "steps=8, and a checkpoint with steps=4"),
        ({"seed": 1}, "seed=1, and a checkpoint with seed=0"),
        ({"aux_weight": 0.3}, r"=0\.3, and a checkpoint with aux_weight=0\.4"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(
    half_way, small, tmp_path, change: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(half_way, tmp_path / "run"))
    before = last(folder).digest
    other = dataclasses.replace(SMOKE, **change)
    with pytest.raises(ValueError, match=f"`output`.*same run.*{message}"):
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


def test_a_run_without_a_whole_checkpoint_is_refused(
    half_way, small, tmp_path
) -> None:
    folder = Path(shutil.copytree(half_way, tmp_path / "run"))
    for path in checkpoints.listed(folder / "checkpoints"):
        path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="`output` must hold a checkpoint th"):
        training.train(SMOKE, folder, verbose=0)


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
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: two_replicas)
    recipe = recipe_files.load_recipe("aerial").smoke_test()
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
    refused(tmp_path / "no", FileNotFoundError, "existing folder of own.*/no'")
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


def write_camvid(folder: Path) -> Path:
    """A train and a val pair as SegNet's CamVid has them, 11 is no truth."""
    for split in ("train", "val"):
        for suffix in ("", "annot"):
            (folder / f"{split}{suffix}").mkdir(parents=True)
        image = picture(50, 71)
        mask = (image.mean(-1) // 24).clip(0, 11).astype("uint8")
        mask[:3] = 11
        Image.fromarray(image).save(folder / split / "a.jpg")
        Image.fromarray(mask).save(folder / f"{split}annot" / "a.png")
    return folder


def test_a_recipe_reads_the_set_that_it_names(small, tmp_path) -> None:
    recipe = recipe_files.load_recipe("camvid_resnet18").smoke_test()
    data = write_camvid(tmp_path / "data")
    assert all(issue.is_warning for issue in run_data.check_data(recipe, data))
    scores = training.train(recipe, tmp_path / "run", data, verbose=0)
    assert scores.labels == CAMVID
    with Image.open(data / "valannot" / "a.png") as mask:
        valid = np.asarray(mask) != 11
    assert scores.confusion.sum() == valid.sum()
    assert (tmp_path / "run" / "predictions.png").is_file()


def test_a_set_of_other_classes_is_refused(tmp_path) -> None:
    recipe = recipe_files.load_recipe("camvid_resnet18")
    other = dataclasses.replace(recipe, labels=AERIAL)
    with pytest.raises(ValueError, match="those of 'camvid'.*'aerial'"):
        training.train(other, tmp_path / "run", write_camvid(tmp_path / "a"))


def test_every_fault_of_both_splits_is_found(tmp_path) -> None:
    recipe = recipe_files.load_recipe("aerial")
    data = write_folder(tmp_path / "data")
    (data / "train" / "masks" / "0.png").unlink()
    bad = data / "val" / "masks" / "1.png"
    Image.fromarray(np.full((51, 71), 77, "uint8")).save(bad)
    issues = [
        str(issue)
        for issue in run_data.check_data(recipe, data)
        if not issue.is_warning
    ]
    assert len(issues) == 2
    assert "train/images/0.png has no mask" in issues[0]
    assert "77" in issues[1]
    assert "val/masks/1.png" in issues[1]


def test_there_is_no_data_to_check_without_files(tmp_path) -> None:
    with pytest.raises(ValueError, match="reads data.*recipe='scenes'"):
        run_data.check_data(SMOKE, tmp_path)
    with pytest.raises(ValueError, match="`data` must be a folder"):
        run_data.check_data(recipe_files.load_recipe("aerial"), None)


def test_the_command_tells_faults_by_its_status(tmp_path, capsys) -> None:
    data = write_folder(tmp_path / "data")
    command = ["train", "aerial", "--check-data", "--data-dir", str(data)]
    assert main(command) == 0
    (data / "train" / "masks" / "0.png").unlink()
    (data / "val" / "images" / "1.png").unlink()
    capsys.readouterr()
    assert main(command) == 1
    out = capsys.readouterr().out
    assert "train/images/0.png has no mask" in out
    assert "val/masks/1.png has no picture" in out
    assert "2 errors" in out


# === The demo ===


@pytest.fixture
def small_demo(monkeypatch, tmp_path) -> Path:
    """A demo whose network is one convolution."""
    model = conv_model(11, size=recipe_files.load_recipe("scenes").crop)
    monkeypatch.setattr(keras_pspnet, "load_pretrained", lambda folder: model)
    return tmp_path / "saved_model" / "1"


def test_the_demo_accepts_the_model_s_masks(small_demo, capsys) -> None:
    assert demo._export(small_demo.parent, small_demo) == 0
    assert (small_demo / "saved_model.pb").is_file()
    out = capsys.readouterr().out
    assert "gives the masks of the model for 8 scenes" in out


def test_the_demo_refuses_other_masks(small_demo, monkeypatch, capsys) -> None:
    predict = keras_pspnet.inference.segment.predict_masks

    def wrong(model: keras.Model, images: np.ndarray) -> np.ndarray:
        masks = predict(model, images)
        masks[:, -1] += 1
        return masks

    monkeypatch.setattr(keras_pspnet.inference.segment, "predict_masks", wrong)
    assert demo._export(small_demo.parent, small_demo) == 1
    assert "other masks than the model's" in capsys.readouterr().err
    assert not small_demo.exists()


def test_the_demo_has_a_floor(monkeypatch, tmp_path, capsys) -> None:
    labels = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))
    scores = Scores(np.array([[0, 5], [5, 0]], "int64"), labels)
    monkeypatch.setattr(training, "train", lambda *_: scores)
    monkeypatch.setattr(demo, "FLOOR", 0.01)
    assert demo._train_and_export(tmp_path) == 1
    out, err = capsys.readouterr()
    assert scores.table() in out
    assert "mean IoU 0.000 is below the floor 0.01" in err


def test_a_finished_demo_is_not_trained_again(tmp_path, capsys) -> None:
    (tmp_path / "saved_model" / "1").mkdir(parents=True)
    (tmp_path / "scores.json").write_text('{"mean_iou": 0.5}')
    assert demo._train_and_export(tmp_path) == 0
    assert "mean IoU 0.500; delete it" in capsys.readouterr().out


# === Several machines ===


def test_the_command_passes_the_timeout_on(
    monkeypatch, tmp_path, capsys
) -> None:
    given = []

    trained = training.train

    def train(*_: Any, worker_timeout: float) -> None:
        given.append(worker_timeout)

    monkeypatch.setattr(training, "train", train)
    assert main(["train", "scenes"]) == 0
    assert main(["train", "scenes", "--worker-timeout", "7.5"]) == 0
    default = inspect.signature(trained).parameters["worker_timeout"].default
    assert given == [default, 7.5]
    assert "the first worker scores and writes" in capsys.readouterr().out


def test_the_command_exits_with_75_for_a_lost_worker(
    monkeypatch, capsys
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise WorkerLostError("Lost worker 1 (b:1): over. Run it again.")

    def leave(status: int) -> NoReturn:
        raise SystemExit(status)

    monkeypatch.setattr(training, "train", train)
    # The interpreter's own end could wait for the lost one.
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as ended:
        main(["train", "scenes"])
    assert ended.value.code == 75
    assert capsys.readouterr().err == (
        "keras-pspnet: error: Lost worker 1 (b:1): over. Run it again.\n"
    )


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_timeout_is_positive(tmp_path, timeout: float) -> None:
    with pytest.raises(ValueError, match="`worker_timeout` must be.*above 0"):
        training.train(SMOKE, tmp_path, worker_timeout=timeout)
    assert not os.listdir(tmp_path)
