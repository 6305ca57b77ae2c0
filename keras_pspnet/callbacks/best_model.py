"""Keeps the best model of a run."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from keras_pspnet.callbacks.validation_scores import ValidationScores
from keras_pspnet.evaluation import Scores
from keras_pspnet.models import RestoredCallback
from keras_pspnet.pretrained import save_pretrained
from keras_pspnet.utils import write_json
from keras_pspnet.utils.types import Logs

BEST_SCORES_FILE = "scores.json"


class BestModel(RestoredCallback):
    """Keeps the model with the greatest validation mean IoU of the run.

    It saves the model with `save_pretrained`, and the scores with their
    `step` as `scores.json` beside the weights. It replaces the folder as a
    whole, so that both always belong to the same model. A resumed run
    continues from the score in the folder; a new run starts over.

    Args:
        folder: The folder; created with the first scores.
        validation: The callback that computes the scores, earlier in the
            list.
        recipe: Name of the run's recipe, saved with the scores for the model
            card of `keras-pspnet push`.

    Raises:
        ValueError: From `fit`, if the folder's `scores.json` does not hold
            scores, or `validation` is not before this in the list.

    Examples:
        >>> validation = kp.callbacks.ValidationScores(pairs)
        >>> best = kp.callbacks.BestModel("best", validation)
        >>> callbacks = [validation, best]  # for fit, in this order
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        validation: ValidationScores,
        recipe: str | None = None,
    ) -> None:
        super().__init__()
        self._folder = path = Path(folder)
        self._part, self._old = (
            path.with_name(f"{path.name}.{end}") for end in ("part", "old")
        )
        self._validation = validation
        self._about = {} if recipe is None else {"recipe": recipe}
        self._best = -math.inf

    def on_fit_restored(self, epoch: int) -> None:
        # A killed run may have stopped between the renames below.
        if self._old.exists() and not self._folder.exists():
            os.rename(self._old, self._folder)
        for left in (self._old, self._part):
            shutil.rmtree(left, ignore_errors=True)
        self._best = -math.inf
        kept = self._folder / BEST_SCORES_FILE
        if self.model.global_step and kept.exists():
            self._best = Scores.load(kept).mean_iou

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self._validation.is_done:
            raise ValueError(
                "`callbacks` must list the ValidationScores before the "
                "BestModel that reads it. Received: BestModel("
                f"{str(self._folder)!r}) without scores of epoch {epoch}"
            )
        scores = self._validation.scores
        # False for NaN, the score of a set without ground truth.
        if scores is None or not scores.mean_iou > self._best:
            return
        save_pretrained(self.model, self._part)
        write_json(
            self._part / BEST_SCORES_FILE,
            {
                "step": self.model.global_step,
                **self._about,
                **scores.to_dict(),
            },
        )
        # Renaming onto a folder that is not empty fails.
        if self._folder.exists():
            os.rename(self._folder, self._old)
        os.rename(self._part, self._folder)
        shutil.rmtree(self._old, ignore_errors=True)
        self._best = scores.mean_iou
