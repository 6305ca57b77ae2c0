"""Trains a recipe: `keras-pspnet train RECIPE`.

    keras-pspnet train scenes --output runs/scenes
    keras-pspnet train aerial --data-dir dubai --output runs/aerial
    keras-pspnet train camvid_resnet18 --data-dir CamVid

A recipe names a published set, or reads a folder of `train/images`,
`train/masks`, `val/images` and `val/masks`: see `keras_pspnet.data.load`.

The folder of a run holds:

- `checkpoints`: the last two checkpoints, from which the same command
  resumes, even in the middle of an epoch;
- `history.csv`: one row per epoch; `logs`: the same for TensorBoard, with the
  IoU of each class and sheets of predictions;
- `best`: the model with the greatest validation mean IoU, with its scores;

and, when the run has ended:

- `model`: the last weights; `scores.json`: their scores;
- `predictions.png`, `curves.png`: their predictions, and the curves of the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from keras_pspnet.callbacks import (
    BestModel,
    EventLog,
    HistoryFile,
    StopOnNaN,
    ValidationScores,
    WeightAverage,
    prediction_sheet,
    read_history,
)
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
from keras_pspnet.training.data import RunData, open_data
from keras_pspnet.training.recipe import Recipe
from keras_pspnet.utils import (
    check_rule,
    check_writable,
    write_json,
    writing_atomically,
)
from keras_pspnet.version import __version__
from keras_pspnet.visualization import training_curves

MODEL_FOLDER = "model"
SCORES_FILE = "scores.json"


def train(
    recipe: Recipe,
    output: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    verbose: int = 1,
    worker_timeout: float = TIMEOUT,
    on_start: Callable[[], None] | None = None,
) -> Scores | None:
    """Trains a recipe, or resumes it from a checkpoint in the output folder.

    The docstring of this module lists what it writes to `output`. If
    `TF_CONFIG` names several machines, call it on each of them with the same
    shared `output`; the first machine scores and writes.

    Args:
        recipe: The run.
        output: Folder of the run, created if necessary.
        data: Folder of the training and validation pairs, or of the set that
            the recipe names; None for recipes that generate their own data.
        verbose: Verbosity, as in Keras's `fit`.
        worker_timeout: Seconds without a heartbeat after which a worker
            counts as lost.
        on_start: Called on the first machine when nothing refuses the run any
            more, before its first step; the output folder exists.

    Returns:
        Scores of the last weights on the validation set; None on all
        machines but the first.

    Raises:
        NonFiniteError: If a loss or weight becomes NaN or infinite. The error
            names the step and the files of its batch; the checkpoints stay as
            they were.
        OSError: If data cannot be read or the output cannot be written.
        ValueError: If the data does not fit, or the output folder belongs to
            another run.
        WorkerLostError: If another worker died, hung or failed.
    """
    rule = "be a number of seconds above 0"
    check_rule("worker_timeout", worker_timeout, rule, worker_timeout > 0)
    output = Path(output)
    cluster = cluster_from_environment()
    if recipe.deterministic:
        tf.config.experimental.enable_op_determinism()
    # Before TensorFlow computes anything: it must know all machines by then.
    strategy = cluster.strategy(worker_timeout)
    policy = keras.config.dtype_policy()
    with watching(cluster), contextlib.ExitStack() as stack:
        stack.callback(keras.config.set_dtype_policy, policy)
        keras.config.set_dtype_policy(recipe.dtype_policy)
        # Data first: a run that cannot start leaves no folder behind.
        source = open_data(recipe, data)
        folder = output / "checkpoints"
        run = recipe.identity() | {"images": source.identity}
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
        average = None if recipe.ema is None else WeightAverage(recipe.ema)
        with strategy.scope():
            model = _model(recipe, checkpoint, average)
        if cluster.is_chief:
            folder.mkdir(parents=True, exist_ok=True)
            check_writable(folder / "step")
            if on_start is not None:
                on_start()
        scores = _train(
            recipe, output, source, model, average, run, cluster, verbose
        )
        if cluster.size > 1:
            # If the chief dies while it scores, all workers must resume.
            exchange(strategy, "end")
    return scores


def _model(
    recipe: Recipe,
    checkpoint: checkpoints.Checkpoint | None,
    average: WeightAverage | None,
) -> PSPNet:
    if checkpoint is not None:
        # The checkpoint holds all weights.
        recipe = dataclasses.replace(
            recipe, backbone_weights=None, start_from=None
        )
    model = recipe.model()
    recipe.compile(model)
    model.build_training(*recipe.crop)
    if average is not None:
        average.begin(model)
    if checkpoint is not None:
        checkpoints.restore(model, checkpoint, average)
    return model


def _train(
    recipe: Recipe,
    output: Path,
    source: RunData,
    model: PSPNet,
    average: WeightAverage | None,
    run: dict[str, str],
    cluster: Cluster,
    verbose: int,
) -> Scores | None:
    validation = ValidationScores(
        source.validation, recipe.evaluated_epochs(), verbose=bool(verbose)
    )
    history = output / "history.csv"
    callbacks: list[keras.callbacks.Callback] = [StopOnNaN(source.batch)]
    if average is not None:
        callbacks.append(average)
    if cluster.is_chief:
        callbacks += [
            validation,
            BestModel(output / "best", validation, recipe.name),
            HistoryFile(history),
            EventLog(output / "logs", validation, source.samples),
        ]
    folder = output / "checkpoints"
    callbacks.append(
        checkpoints.SaveCheckpoints(
            folder,
            run,
            recipe.checkpoint_steps,
            writes=cluster.is_chief,
            average=average,
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
            raise KeyboardInterrupt(
                f"Interrupted. Last checkpoint: {folder} ({kept}); run the "
                "same command to resume."
            ) from None
    if not cluster.is_chief:
        return None
    seconds = time.time() - started
    if average is not None:
        average.apply()
    # The last epoch ends with an evaluation, unless the run had already
    # finished.
    scores = validation.scores or evaluate(
        model, source.validation, verbose=bool(verbose)
    )
    folder = output / MODEL_FOLDER
    save_pretrained(model, folder, recipe=recipe.name, scores=scores)
    with writing_atomically(output / "predictions.png") as stream:
        prediction_sheet(model, source.samples).save(stream, "PNG")
    with writing_atomically(output / "curves.png") as stream:
        training_curves(read_history(history)).save(stream, "PNG")
    report = {"recipe": recipe.name, "steps": recipe.steps}
    report |= {"seconds_of_this_part": round(seconds, 1), **scores.to_dict()}
    write_json(output / SCORES_FILE, report)
    return scores
