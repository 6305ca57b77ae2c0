"""Trains a recipe: `keras-pspnet train RECIPE`.

    python -m training.train scenes --output runs/scenes
    python -m training.train aerial --data-dir dubai --output runs/aerial
    python -m training.train camvid_resnet18 --data-dir CamVid

A recipe names the published set that it reads, or takes a folder of
`train/images`, `train/masks`, `val/images` and `val/masks`: see
`keras_pspnet.data.load`.

The folder of a run holds:

- `checkpoints`: the last two, from which the same command goes on, also in
  the middle of an epoch;
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
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_pspnet.callbacks import (
    BestModel,
    EventLog,
    HistoryFile,
    StopOnNaN,
    ValidationScores,
    prediction_sheet,
    read_history,
)
from keras_pspnet.data import (
    DATASETS,
    Issue,
    SegmentationData,
    check,
    load,
    scene_arrays,
)
from keras_pspnet.data.pipeline import batch_indices, training_dataset
from keras_pspnet.evaluation import Scores
from keras_pspnet.evaluation.evaluate import evaluate
from keras_pspnet.models import PSPNet
from keras_pspnet.pretrained import save_pretrained
from keras_pspnet.training import checkpoints, loop
from keras_pspnet.training.cluster import (
    TIMEOUT,
    Cluster,
    check_same,
    cluster_from_environment,
    exchange,
    watching,
)
from keras_pspnet.training.recipe import Recipe
from keras_pspnet.utils import check_writable, write_json, writing_atomically
from keras_pspnet.version import __version__
from keras_pspnet.visualization import training_curves

CHECKPOINTS_FOLDER = "checkpoints"
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


def train(
    recipe: Recipe,
    output: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    verbose: int = 1,
    worker_timeout: float = TIMEOUT,
) -> Scores | None:
    """Runs a recipe, or goes on with it where the output has a checkpoint.

    Writes to `output` what the top of this module lists. Where `TF_CONFIG`
    names several machines, this is the part of one of them: all share the
    output folder, the first scores and writes.

    Args:
        recipe: The run.
        output: Folder of the run; made if it does not exist.
        data: For recipes that do not make their own data, the folder of
            training and validation pairs, or of the set that the recipe
            names.
        verbose: Keras's verbosity of `fit`.
        worker_timeout: Seconds after which a worker that is not heard
            counts as lost.

    Returns:
        Scores of the last weights on the validation set; None on all
        machines but the first.

    Raises:
        NonFiniteError: If a loss becomes NaN or infinite; the error names
            the step and the files of its batch, and the checkpoints stay
            those of before.
        OSError: If data cannot be read or the output cannot be written.
        ValueError: If the data does not fit, or the output is of another run.
        WorkerLostError: If another worker died, hangs or failed.
    """
    if not worker_timeout > 0:
        raise ValueError(
            "`worker_timeout` must be a number of seconds above 0. "
            f"Received: worker_timeout={worker_timeout}"
        )
    output = Path(output)
    cluster = cluster_from_environment()
    if recipe.deterministic:
        tf.config.experimental.enable_op_determinism()
    # Before anything is computed: machines have to be known by then.
    strategy = cluster.strategy(worker_timeout)
    with watching(cluster), _dtype_policy(recipe.dtype_policy):
        # Data first: a run that cannot start leaves no folder behind.
        source = open_data(recipe, data)
        folder = output / CHECKPOINTS_FOLDER
        if cluster.is_chief:
            folder.mkdir(parents=True, exist_ok=True)
            check_writable(folder / "step")
        run = recipe.identity() | {"images": source.identity()}
        checkpoint = checkpoints.newest(folder)
        start = {
            "keras_pspnet": __version__,
            "checkpoint": "none",
            "worker_timeout": str(worker_timeout),
        }
        if checkpoint is not None:
            checkpoints.check_run(checkpoint, run)
            start["checkpoint"] = f"step {checkpoint.step}, {checkpoint.digest}"
        check_same(cluster, strategy, run | start)
        keras.utils.set_random_seed(recipe.seed)
        with strategy.scope():
            model = _model(recipe, checkpoint)
        scores = _train(recipe, output, source, model, run, cluster, verbose)
        if cluster.size > 1:
            # Should the chief die while it scores, all start again.
            exchange(strategy, "end")
    return scores


def _model(recipe: Recipe, checkpoint: checkpoints.Checkpoint | None) -> PSPNet:
    if checkpoint is not None:
        # What its backbone started from is in the checkpoint.
        recipe = dataclasses.replace(recipe, backbone_weights=None)
    model = recipe.model()
    model.compile(
        total_steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        head_lr_multiplier=recipe.head_lr_multiplier,
        loss_weights=recipe.loss_weights,
    )
    model.build_training(*recipe.crop)
    if checkpoint is not None:
        checkpoints.restore(model, checkpoint)
    return model


def _train(
    recipe: Recipe,
    output: Path,
    source: _Scenes | _Folder,
    model: PSPNet,
    run: dict[str, str],
    cluster: Cluster,
    verbose: int,
) -> Scores | None:
    validation = ValidationScores(
        source.validation(), recipe.evaluated_epochs(), verbose=bool(verbose)
    )
    shown = list(source.samples(_SHEET_ROWS))
    callbacks: list[keras.callbacks.Callback] = [StopOnNaN(source.batch)]
    if cluster.is_chief:
        callbacks += [
            validation,
            BestModel(output / BEST_FOLDER, validation),
            HistoryFile(output / HISTORY_FILE),
            EventLog(output / LOGS_FOLDER, validation, shown),
        ]
    folder = output / CHECKPOINTS_FOLDER
    callbacks.append(
        checkpoints.SaveCheckpoints(
            folder, run, recipe.checkpoint_steps, writes=cluster.is_chief
        )
    )
    first_step = model.global_step

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return source.training_batches(
            first_step,
            context.num_replicas_in_sync,
            (context.input_pipeline_id, context.num_input_pipelines),
        )

    started = time.time()
    if first_step < recipe.steps:
        try:
            loop.run(
                model,
                batches,
                recipe.steps // recipe.steps_per_epoch,
                recipe.steps_per_epoch,
                callbacks,
                verbose if cluster.is_chief else 0,
            )
        except KeyboardInterrupt:
            last = checkpoints.listed(folder)[:1]
            kept = last[0].name if last else "none yet"
            print(
                f"\nInterrupted. Last checkpoint: {folder} ({kept}); "
                "the same command goes on from there.",
                file=sys.stderr,
            )
            raise
    if not cluster.is_chief:
        return None
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
) -> list[Issue]:
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
        issue
        for split in (recipe.train_split, recipe.val_split)
        for issue in check(_load(recipe, split, folder, strict=False))
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

    def training_batches(
        self,
        first_step: int,
        parts: int = 1,
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        return training_dataset(
            list(zip(*self.train, strict=True)),
            dataclasses.replace(self.recipe, scales=None).augmentation(),
            self.recipe.batch_size,
            self.recipe.steps,
            self.recipe.seed,
            first_step,
            parts,
            shard,
        )

    def validation(self) -> list[tuple[np.ndarray, np.ndarray]]:
        images, masks = self.val
        return [
            (images[start : start + 16], masks[start : start + 16])
            for start in range(0, len(images), 16)
        ]

    def samples(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.val[0][:count], self.val[1][:count], strict=True)

    def identity(self) -> str:
        return f"{len(self.train[0])} scenes"

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
        if recipe.val_images is not None:
            del self.val.samples[recipe.val_images :]
        # Training pairs are checked as they are read; these would be read
        # after a long while.
        self.val.check_pairs()

    def training_batches(
        self,
        first_step: int,
        parts: int = 1,
        shard: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        return training_dataset(
            self.train,
            self.recipe.augmentation(),
            self.recipe.batch_size,
            self.recipe.steps,
            self.recipe.seed,
            first_step,
            parts,
            shard,
        )

    def validation(self) -> SegmentationData:
        return self.val

    def samples(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        step = max(1, len(self.val) // count)
        chosen = list(range(0, len(self.val), step))[:count]
        return (self.val[index] for index in chosen)

    def identity(self) -> str:
        # By name: the order of a run goes by it, and the folder may move.
        count = len(self.train)
        names = [Path(self.train.files(k)[0]).name for k in range(count)]
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        return f"{count} images, names {digest[:16]}"

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
        Has `training_batches(first_step, parts, shard)`, see
        `training_dataset`; `validation()`; `samples(count)` of the validation
        pictures; `batch(step)`, the names of a batch; and `identity()`, which
        tells whether the training pictures are those of another time.

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
            tree = DATASETS[recipe.data]
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


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Sets Keras's dtype policy for a while."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
