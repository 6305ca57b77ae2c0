"""Keeps the best model of a run."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

from keras_pspnet.callbacks.validation_scores import ValidationScores
from keras_pspnet.evaluation import Scores
from keras_pspnet.models import RestoredCallback
from keras_pspnet.pretrained import save_pretrained
from keras_pspnet.utils import write_json

BEST_SCORES_FILE = "scores.json"


class BestModel(RestoredCallback):
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
        # Never true of NaN, which a set without ground truth scores.
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
