"""Keras callbacks: what a training run tells, keeps, and stops at.

They stand in the list in the order in which they are to act: `StopOnNaN`
first, `ValidationScores` before what uses its scores, `Checkpoint` last, so
that whatever a checkpoint has seen has also been logged.

Examples:
    >>> validation = kp.callbacks.ValidationScores(pairs)
    >>> callbacks = [  # for fit, in this order
    ...     kp.callbacks.StopOnNaN(),
    ...     validation,
    ...     kp.callbacks.BestModel("best", validation),
    ...     kp.callbacks.HistoryFile("history.csv"),
    ...     kp.callbacks.EventLog("logs", validation),
    ...     kp.callbacks.Checkpoint("last.keras"),
    ... ]
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from keras_pspnet.callbacks.history import Row, read_history, write_history
from keras_pspnet.callbacks.tensorboard import EventFile
from keras_pspnet.evaluation import Scores
from keras_pspnet.evaluation.evaluate import evaluate
from keras_pspnet.inference import model_labels, predict_masks
from keras_pspnet.models import fit_steps
from keras_pspnet.pretrained import save_pretrained
from keras_pspnet.utils import check_writable, write_json
from keras_pspnet.visualization import comparison_sheet

BEST_SCORES_FILE = "scores.json"

Pair = tuple[np.ndarray, np.ndarray]


class NonFiniteError(ArithmeticError):
    """A loss or a weight has become NaN or infinite.

    Args:
        message: What is wrong, where, and what to look at.
        step: The step of the run, from 1, after which it was.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class StopOnNaN(keras.callbacks.Callback):
    """Stops at the step that makes loss or weights NaN or infinite.

    After every step, the loss is read, and the weights next to the pictures:
    a ReLU may turn NaN into 0 on a CPU, and the loss stay finite, but the
    gradients that reach those weights do not. Keras shows the mean loss of
    the epoch so far, which is not finite from the first such step on: read
    more seldom, neither would tell which batch it was. What this costs is
    that Python waits for the device before it prepares the next step, as it
    does for every callback that looks at batches. At the end of an epoch all
    weights are looked at.

    Gradients that overflow under `mixed_float16` do not stop the run: their
    step is skipped, with a smaller loss scale from then on, and loss and
    weights are finite. Where `steps_per_execution` is above 1, the step that
    is named is the last of those that ran together.

    Args:
        batch: Function of a step, from 0, to words that name what was in its
            batch, for the error.

    Raises:
        NonFiniteError: From `fit`. Checkpoints keep what they held.

    Examples:
        >>> stop = kp.callbacks.StopOnNaN()
        >>> history = net.fit(images, masks, callbacks=[stop], verbose=0)
    """

    def __init__(self, batch: Callable[[int], str] | None = None) -> None:
        super().__init__()
        self._batch = batch
        self._first: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:
        model = self.model
        # Of the first convolution, and the statistics of what follows it.
        self._first = [
            *model.trainable_weights[:1],
            *model.non_trainable_weights[:1],
        ]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise _non_finite(
                self.model,
                f"the loss must be finite. Received: loss={loss} at",
                self._batch,
            )
        _check_weights(self.model, self._first, self._batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        _check_weights(self.model, self.model.weights, self._batch)


class ValidationScores(keras.callbacks.Callback):
    """Scores the model over a whole set at the end of epochs.

    As `keras_pspnet.evaluate` does: at the pictures' own size, whatever the
    batches of training. Keras's history and the callbacks that follow find
    `val_mean_iou` and `val_pixel_accuracy` in the logs, so that
    `keras.callbacks.EarlyStopping("val_mean_iou", mode="max")` works.

    `scores` holds the scores after the epoch that ended last, or None if the
    model was not scored then.

    Args:
        dataset: Pairs or batches, see `keras_pspnet.evaluate`; gone through
            once for each of the epochs.
        epochs: Epochs, from 0, after which to evaluate; None is all.
        **kwargs: Passed to `keras_pspnet.evaluate`.

    Examples:
        >>> validation = kp.callbacks.ValidationScores(pairs)
        >>> history = net.fit(images, masks, callbacks=[validation], verbose=0)
        >>> history.history["val_mean_iou"] == [validation.scores.mean_iou]
        True
    """

    def __init__(
        self,
        dataset: Iterable[tuple[Any, Any]],
        epochs: Collection[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.scores: Scores | None = None
        self._dataset = dataset
        self._epochs = epochs
        self._arguments = kwargs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.scores = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._epochs is not None and epoch not in self._epochs:
            return
        self.scores = evaluate(self.model, self._dataset, **self._arguments)
        if logs is not None:
            # As Keras's own callbacks add the learning rate.
            logs["val_mean_iou"] = self.scores.mean_iou
            logs["val_pixel_accuracy"] = self.scores.pixel_accuracy


class BestModel(fit_steps.RestoredCallback):
    """Keeps the model with the greatest validation mean IoU of the run.

    The folder is one of `save_pretrained`, with the scores and their `step`
    in `scores.json` beside the weights: it is replaced as a whole, so that
    both are always of the same model. A run that goes on knows what its
    earlier part has kept; one that starts anew replaces it.

    Args:
        folder: The folder; made when there are scores.
        validation: Where the scores come from; before this in the list.

    Raises:
        ValueError: From `fit`, if the folder's `scores.json` is something
            else.

    Examples:
        >>> validation = kp.callbacks.ValidationScores(pairs)
        >>> best = kp.callbacks.BestModel("best", validation)
        >>> callbacks = [validation, best]  # for fit, in this order
    """

    def __init__(
        self, folder: str | os.PathLike[str], validation: ValidationScores
    ) -> None:
        super().__init__()
        self._folder = Path(folder)
        self._validation = validation
        self._best = -math.inf

    def on_fit_restored(self, epoch: int) -> None:
        _finish_replacing(self._folder)
        self._best = -math.inf
        kept = self._folder / BEST_SCORES_FILE
        if self.model.global_step and kept.exists():
            self._best = Scores.load(kept).mean_iou

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        scores = self._validation.scores
        # Never true of NaN, which a set without truth scores.
        if scores is None or not scores.mean_iou > self._best:
            return
        written = _beside(self._folder, "part")
        save_pretrained(self.model, written)
        write_json(
            written / BEST_SCORES_FILE,
            {"step": self.model.global_step, **scores.to_dict()},
        )
        _replace_folder(self._folder, written)
        self._best = scores.mean_iou


class HistoryFile(fit_steps.RestoredCallback):
    """Writes Keras's logs and the learning rate as CSV, a row an epoch.

    `read_history` of keras_pspnet.callbacks reads it. A run that goes on keeps
    the rows up to the step at which it does, and drops later ones, which it
    writes again.

    Args:
        path: The file.

    Raises:
        OSError: From `fit`, if it cannot be written.
        ValueError: From `fit`, if it holds anything else.

    Examples:
        >>> from keras_pspnet.callbacks.history import read_history
        >>> log = kp.callbacks.HistoryFile("history.csv")
        >>> history = net.fit(images, masks, callbacks=[log], verbose=0)
        >>> read_history("history.csv")[-1]["epoch"]
        1
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = Path(path)
        self._rows: list[Row] = []

    def on_fit_restored(self, epoch: int) -> None:
        check_writable(self._path)
        steps = self.model.global_step
        self._rows = []
        if steps and self._path.exists():
            self._rows = [
                row for row in read_history(self._path) if row["step"] <= steps
            ]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._rows.append(
            {
                "epoch": epoch + 1,
                "step": self.model.global_step,
                "learning_rate": _learning_rate(self.model),
                **(logs or {}),
            }
        )
        write_history(self._path, self._rows)


class EventLog(fit_steps.RestoredCallback):
    """Writes TensorBoard's event files, at the end of every epoch.

    Scalars over the steps of the run: `train/...` and `val/...` are Keras's
    logs, `train/learning_rate` the rate of the next step, `iou/...` the IoU
    of each class by name. `predictions` is a sheet of some pictures, their
    truth and what the model predicts. The `tensorboard` package is needed to
    look at them, not to write them.

    Args:
        folder: Folder of the files; made if it does not exist. A run that
            goes on adds a file, which replaces what others say of later
            steps.
        validation: Where the IoU of classes comes from; before this in the
            list. Sheets are drawn whenever it has new scores, and without it
            at the end of every epoch.
        pairs: uint8 pictures (H, W, 3) and their masks (H, W) for the sheet.

    Raises:
        OSError: From `fit`, if the folder cannot be written.

    Examples:
        >>> log = kp.callbacks.EventLog("logs", pairs=pairs[:2])
        >>> history = net.fit(images, masks, callbacks=[log], verbose=0)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        validation: ValidationScores | None = None,
        pairs: Sequence[Pair] = (),
    ) -> None:
        super().__init__()
        self._folder = folder
        self._validation = validation
        self._pairs = pairs
        self._file: Any = None

    def on_fit_restored(self, epoch: int) -> None:
        self._file = EventFile(self._folder, self.model.global_step + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        step = self.model.global_step
        values = {
            _tag(name): value
            for name, value in (logs or {}).items()
            if not math.isnan(value)
        }
        values["train/learning_rate"] = _learning_rate(self.model)
        scores = None if self._validation is None else self._validation.scores
        if scores is not None:
            values |= {
                f"iou/{name}": value
                for name, value in zip(
                    scores.labels.names, scores.iou, strict=True
                )
                if not math.isnan(value)
            }
        self._file.scalars(step, values)
        if self._pairs and (scores is not None or self._validation is None):
            sheet = prediction_sheet(self.model, self._pairs)
            self._file.image(step, "predictions", sheet)

    def on_train_end(self, logs: Any = None) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class Checkpoint(keras.callbacks.Callback):
    """Saves the model with its optimizer after every epoch, to go on from.

    The file is there whole or not at all: whoever kills the run while it is
    written still has the one before. `keras.saving.load_model` reads it, and
    the model's `global_step` tells how far the run was.

    Args:
        path: The file, `.keras`.

    Raises:
        NonFiniteError: From `fit`, if a weight is NaN or infinite; the file
            keeps what it held.
        OSError: From `fit`, if it cannot be written.

    Examples:
        >>> keep = kp.callbacks.Checkpoint("last.keras")
        >>> history = net.fit(images, masks, callbacks=[keep], verbose=0)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = Path(path)

    def on_train_begin(self, logs: Any = None) -> None:
        check_writable(self._path)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        _check_weights(self.model, self.model.weights)
        with tempfile.TemporaryDirectory(dir=self._path.parent) as folder:
            # Keras goes by the suffix.
            written = os.path.join(folder, "model.keras")
            self.model.save(written)
            os.replace(written, self._path)


def prediction_sheet(model: Any, pairs: Sequence[Pair]) -> Image.Image:
    """Draws pictures, their truth, what a model predicts, and the errors.

    Args:
        model: A `PSPNet`, or another Keras model from images to logits.
        pairs: uint8 pictures (H, W, 3) and their masks (H, W), of any sizes,
            at least one.

    Returns:
        An RGB picture, see `keras_pspnet.visualization.comparison_sheet`.

    Examples:
        >>> from keras_pspnet.callbacks import prediction_sheet
        >>> prediction_sheet(model, pairs[:2]).save("sheet.png")
    """
    return comparison_sheet(
        [image for image, _ in pairs],
        [mask for _, mask in pairs],
        [predict_masks(model, image[None])[0] for image, _ in pairs],
        model_labels(model),
        max_rows=len(pairs),
    )


def _learning_rate(model: Any) -> float:
    """The rate at the steps taken: that of the next step."""
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def _tag(name: str) -> str:
    if name.startswith("val_"):
        return f"val/{name.removeprefix('val_')}"
    return f"train/{name}"


def _advice(model: Any) -> str:
    if model.dtype_policy.name == "mixed_float16":
        return (
            "the learning rate; mixed_bfloat16 has float32's range, which "
            "mixed_float16 has not"
        )
    return "the learning rate"


def _check_weights(
    model: Any,
    weights: Sequence[Any],
    batch: Callable[[int], str] | None = None,
) -> None:
    for variable in weights:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise _non_finite(
                model,
                "the weights must be finite. Received: NaN or infinity in "
                f"{variable.path} after",
                batch,
            )


def _non_finite(
    model: Any, what: str, batch: Callable[[int], str] | None
) -> NonFiniteError:
    step = model.global_step
    where, which = f"step {step} of the run", "its"
    if batch is not None:
        where += f", whose batch holds {batch(step - 1)}"
        which = "these"
    return NonFiniteError(
        f"{what} {where}. Look at {which} pictures and masks, and at "
        f"{_advice(model)}. Nothing of this step was saved",
        step,
    )


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f"{folder.name}.{what}")


def _replace_folder(folder: Path, written: Path) -> None:
    """Puts a folder in another's place; the next start ends what is cut."""
    old = _beside(folder, "old")
    if folder.exists():
        # No system renames onto a folder that holds something.
        os.rename(folder, old)
    os.rename(written, folder)
    shutil.rmtree(old, ignore_errors=True)


def _finish_replacing(folder: Path) -> None:
    old = _beside(folder, "old")
    if old.exists() and not folder.exists():
        os.rename(old, folder)
    for left in (old, _beside(folder, "part")):
        shutil.rmtree(left, ignore_errors=True)
