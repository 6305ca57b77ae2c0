"""Trains a recipe: `python -m training.train RECIPE`.

    python -m training.train scenes --output runs/scenes
    python -m training.train aerial --data-dir dubai --output runs/aerial
    python -m training.train camvid_resnet18 --data-dir CamVid

A recipe names the published set that it reads, or takes a folder of
`train/images`, `train/masks`, `val/images` and `val/masks`: see
`keras_pspnet.data.load`.

The folder of a run holds:

- `last.keras`: the checkpoint of every epoch, from which the same command
  goes on;
- `history.csv`: a row an epoch; `logs`: the same for TensorBoard, with the IoU
  of each class and sheets of predictions;
- `best`: the model of the greatest validation mean IoU, with its scores;

and from its end on:

- `model`: the last weights; `scores.json`: their scores;
- `predictions.png`, `curves.png`: what they predict, and the curves of the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.callbacks import (
    BestModel,
    Checkpoint,
    EventLog,
    HistoryFile,
    StopOnNaN,
    ValidationScores,
    prediction_sheet,
)
from keras_pspnet.curves import training_curves
from keras_pspnet.data.checks import check
from keras_pspnet.data.listing import Fault
from keras_pspnet.data.pipeline import batch_indices, training_dataset
from keras_pspnet.data.readers import SegmentationData, load
from keras_pspnet.data.scenes import scene_arrays
from keras_pspnet.data.trees import TREES
from keras_pspnet.evaluation import Scores, evaluate
from keras_pspnet.files import check_writable, write_json, writing_atomically
from keras_pspnet.history import read_history
from keras_pspnet.pretrained import save_pretrained

from .recipe import Recipe

RECIPES = (
    "scenes",
    "aerial",
    "camvid_resnet18",
    "voc2012_resnet50",
    "voc2012_resnet101",
    "cityscapes_resnet101",
    "ade20k_resnet50",
    "ade20k_resnet101",
)
CHECKPOINT = "last.keras"
MODEL_FOLDER = "model"
BEST_FOLDER = "best"
LOGS_FOLDER = "logs"
HISTORY_FILE = "history.csv"
SCORES_FILE = "scores.json"
SHEET_FILE = "predictions.png"
CURVES_FILE = "curves.png"
_SHEET_ROWS = 6
# Decoded pictures of a split are kept up to this.
_CACHE_BYTES = 2**31


def load_recipe(name: str) -> Recipe:
    """Finds a recipe by name, or by the path of a Python file.

    Args:
        name: One of `RECIPES`, or a path that ends in `.py` to a file whose
            `RECIPE` is a `Recipe`.

    Returns:
        The recipe.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such recipe.
    """
    if name in RECIPES:
        module = importlib.import_module(f".recipes.{name}", __package__)
        return module.RECIPE
    if not name.endswith(".py"):
        raise ValueError(
            f"`recipe` must be one of {', '.join(RECIPES)} or a .py file. "
            f"Received: recipe={name!r}"
        )
    if not os.path.isfile(name):
        raise FileNotFoundError(
            f"`recipe` must be an existing file. Received: recipe={name!r}"
        )
    # As a module beside the recipes: theirs, and copies of them, import by
    # their place.
    spec = importlib.util.spec_from_file_location(
        f"{__package__}.recipes.recipe_file", name
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipe: Any = getattr(module, "RECIPE", None)
    # A file may import Recipe from `training` or `keras_pspnet.training`.
    if type(recipe).__name__ != "Recipe":
        raise ValueError(
            "`recipe` must be a file whose RECIPE is a Recipe. "
            f"Received: recipe={name!r}"
        )
    return recipe


def train(
    recipe: Recipe,
    output: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    verbose: int = 1,
) -> Scores:
    """Runs a recipe, or goes on with it where the output has a checkpoint.

    Writes to `output` what the top of this module lists.

    Args:
        recipe: The run.
        output: Folder of the run; made if it does not exist.
        data: For recipes that do not make their own data, the folder of
            training and validation pairs, or of the set that the recipe
            names.
        verbose: Keras's verbosity of `fit`.

    Returns:
        Scores of the last weights on the validation set.

    Raises:
        NonFiniteError: If a loss becomes NaN or infinite; the error names
            the step and the files of its batch, and the checkpoint stays that
            of the last whole epoch.
        OSError: If data cannot be read or the output cannot be written.
        ValueError: If the data does not fit.
    """
    output = Path(output)
    # Data first: a run that cannot start leaves no folder behind.
    source = open_data(recipe, data)
    output.mkdir(parents=True, exist_ok=True)
    check_writable(output / CHECKPOINT)
    with _dtype_policy(recipe.dtype_policy):
        return _train(recipe, output, source, verbose)


def _train(
    recipe: Recipe, output: Path, source: _Scenes | _Folder, verbose: int
) -> Scores:
    keras.utils.set_random_seed(recipe.seed)
    checkpoint = output / CHECKPOINT
    strategy = tf.distribute.MirroredStrategy()
    with strategy.scope():
        if checkpoint.exists():
            model = _resume(recipe, checkpoint)
        else:
            model = recipe.model()
            model.compile(
                total_steps=recipe.steps,
                learning_rate=recipe.learning_rate,
                head_rate_factor=recipe.head_rate_factor,
            )
    validation = ValidationScores(
        source.validation(), recipe.evaluated_epochs(), verbose=bool(verbose)
    )
    shown = list(source.samples(_SHEET_ROWS))
    done = model.steps_taken
    started = time.time()
    if done < recipe.steps:
        try:
            model.fit(
                source.training_batches(done),
                epochs=recipe.steps // recipe.steps_per_epoch,
                initial_epoch=done // recipe.steps_per_epoch,
                steps_per_epoch=recipe.steps_per_epoch,
                callbacks=[
                    StopOnNaN(source.batch),
                    validation,
                    BestModel(output / BEST_FOLDER, validation),
                    HistoryFile(output / HISTORY_FILE),
                    EventLog(output / LOGS_FOLDER, validation, shown),
                    Checkpoint(checkpoint),
                ],
                verbose=verbose,
            )
        except KeyboardInterrupt:
            kept = "kept" if checkpoint.exists() else "none yet"
            print(
                f"\nInterrupted. Last checkpoint: {checkpoint} ({kept}); "
                "the same command goes on from there.",
                file=sys.stderr,
            )
            raise
    seconds = time.time() - started
    # The last epoch ends with an evaluation; only a run that was finished
    # before has none.
    scores = validation.scores or evaluate(
        model, source.validation(), verbose=bool(verbose)
    )
    save_pretrained(model, output / MODEL_FOLDER)
    with writing_atomically(output / SHEET_FILE) as stream:
        prediction_sheet(model, shown).save(stream, "PNG")
    rows = read_history(output / HISTORY_FILE)
    with writing_atomically(output / CURVES_FILE) as stream:
        training_curves(rows).save(stream, "PNG")
    report = {
        "recipe": recipe.name,
        "steps": recipe.steps,
        "seconds_of_this_part": round(seconds, 1),
        **scores.to_dict(),
    }
    write_json(output / SCORES_FILE, report)
    return scores


def check_data(
    recipe: Recipe, data: str | os.PathLike[str] | None
) -> list[Fault]:
    """Lists what is wrong with the data of a recipe.

    Args:
        recipe: The run.
        data: As for `train`.

    Returns:
        The faults of both splits, see `keras_pspnet.data.check`.

    Raises:
        OSError: If a folder or list is missing or cannot be read.
        ValueError: If the recipe makes its own data, or `data` is None.
    """
    if recipe.scenes is not None:
        raise ValueError(
            "`recipe` must be one that reads data, to check it. "
            f"Received: recipe={recipe.name!r}"
        )
    folder = _data_folder(recipe, data)
    return [
        fault
        for split in (recipe.train_split, recipe.val_split)
        for fault in check(_load(recipe, split, folder, strict=False))
    ]


@dataclasses.dataclass
class _Scenes:
    """Procedural scenes, as many as the recipe says."""

    recipe: Recipe

    def __post_init__(self) -> None:
        assert self.recipe.scenes is not None
        train_count, val_count = self.recipe.scenes
        seed, size = self.recipe.seed, self.recipe.crop
        self.train = scene_arrays(0, train_count, size, seed)
        # Scenes of other indices: never seen in training.
        self.val = scene_arrays(train_count, val_count, size, seed)

    def training_batches(self, first_step: int) -> tf.data.Dataset:
        return training_dataset(
            list(zip(*self.train, strict=True)),
            dataclasses.replace(self.recipe, scales=None).augmentation(),
            self.recipe.batch_size,
            self.recipe.steps,
            self.recipe.seed,
            first_step,
        )

    def validation(self) -> list[tuple[np.ndarray, np.ndarray]]:
        images, masks = self.val
        return [
            (images[start : start + 16], masks[start : start + 16])
            for start in range(0, len(images), 16)
        ]

    def samples(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.val[0][:count], self.val[1][:count], strict=True)

    def batch(self, step: int) -> str:
        indices = _batch_indices(self.recipe, len(self.train[0]), step)
        return f"the scenes {', '.join(map(str, indices))}"


@dataclasses.dataclass
class _Folder:
    """Pictures and masks on disk."""

    recipe: Recipe
    folder: Path

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.train = _load(recipe, recipe.train_split, self.folder)
        self.val = _load(recipe, recipe.val_split, self.folder)
        if recipe.val_pictures is not None:
            del self.val.samples[recipe.val_pictures :]
        # Training pairs are checked as they are read; these would be read
        # after a long while.
        self.val.check_pairs()

    def training_batches(self, first_step: int) -> tf.data.Dataset:
        return training_dataset(
            self.train,
            self.recipe.augmentation(),
            self.recipe.batch_size,
            self.recipe.steps,
            self.recipe.seed,
            first_step,
        )

    def validation(self) -> SegmentationData:
        return self.val

    def samples(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        step = max(1, len(self.val) // count)
        chosen = list(range(0, len(self.val), step))[:count]
        return (self.val[index] for index in chosen)

    def batch(self, step: int) -> str:
        indices = _batch_indices(self.recipe, len(self.train), step)
        return ", ".join(self.train.files(index)[0] for index in indices)


def _batch_indices(recipe: Recipe, count: int, step: int) -> list[int]:
    return batch_indices(count, recipe.batch_size, recipe.seed, step).tolist()


def open_data(
    recipe: Recipe, data: str | os.PathLike[str] | None
) -> _Scenes | _Folder:
    """Opens what a recipe trains and validates on.

    Args:
        recipe: The run.
        data: As for `train`.

    Returns:
        Has `training_batches(first_step)`, `validation()`, `samples(count)`
        of the validation pictures, and `batch(step)`, the names of a batch.

    Raises:
        OSError: If data cannot be read.
        ValueError: If the data does not fit.
    """
    if recipe.scenes is not None:
        return _Scenes(recipe)
    return _Folder(recipe, _data_folder(recipe, data))


def _data_folder(recipe: Recipe, data: str | os.PathLike[str] | None) -> Path:
    if data is None:
        wanted = "with train/images, train/masks, val/images and val/masks."
        if recipe.data is not None:
            tree = TREES[recipe.data]
            wanted = f"with {tree.expected}. {tree.source}"
        raise ValueError(
            f"`data` must be a folder (--data-dir) for recipe {recipe.name!r}, "
            f"{wanted} Received: data=None"
        )
    return Path(data)


def _load(
    recipe: Recipe, split: str, folder: Path, strict: bool = True
) -> SegmentationData:
    if recipe.data is None:
        return load(
            folder,
            split,
            labels=recipe.labels,
            cache_bytes=_CACHE_BYTES,
            strict=strict,
        )
    data = load(
        recipe.data, split, folder, cache_bytes=_CACHE_BYTES, strict=strict
    )
    if data.labels.names != recipe.labels.names:
        raise ValueError(
            f"`labels` must be those of {recipe.data!r} for recipe "
            f"{recipe.name!r}. Received: labels={recipe.labels.name!r}"
        )
    return data


def _resume(recipe: Recipe, checkpoint: Path) -> Any:
    model = keras.saving.load_model(checkpoint)
    # What its backbone started from is no part of a network.
    fresh = dataclasses.replace(recipe, backbone_weights=None).model()
    expected = fresh.get_config() | {"name": model.name}
    if model.get_config() != expected:
        raise ValueError(
            "`output` must hold a checkpoint of the same recipe, or none. "
            f"Received: {os.fspath(checkpoint)!r} of another network"
        )
    if model.total_steps != recipe.steps:
        raise ValueError(
            "`output` must hold a checkpoint of a run of as many steps as the "
            f"recipe's {recipe.steps}, or none. Received: "
            f"{os.fspath(checkpoint)!r} of {model.total_steps} steps"
        )
    if model.steps_taken % recipe.steps_per_epoch:
        raise ValueError(
            "`output` must hold a checkpoint of whole epochs of "
            f"{recipe.steps_per_epoch} steps, or none. Received: "
            f"{os.fspath(checkpoint)!r} at step {model.steps_taken}"
        )
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    if recipe.dtype_policy == "mixed_float16" and not scaled:
        raise ValueError(
            "`output` must hold a checkpoint of a run in mixed_float16 for "
            "one to go on in it, or none, since others have no loss scale. "
            f"Received: {os.fspath(checkpoint)!r}"
        )
    return model


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Sets Keras's dtype policy for a while."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


if __name__ == "__main__":
    from keras_pspnet.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
