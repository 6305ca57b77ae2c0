"""Scores over a whole set during training."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import keras

from keras_pspnet.data import SegmentationData
from keras_pspnet.evaluation import Scores
from keras_pspnet.evaluation.evaluate import check_classes, evaluate
from keras_pspnet.inference import model_labels
from keras_pspnet.utils import check_rule
from keras_pspnet.utils.types import Logs, Tensor


class ValidationScores(keras.callbacks.Callback):
    """Scores the model over a whole set at the end of epochs.

    As `keras_pspnet.evaluate` does: at the images' own size, whatever the
    batches of training. Keras's history and the callbacks that follow find
    `val_mean_iou` and `val_pixel_accuracy` in the logs, so that
    `keras.callbacks.EarlyStopping("val_mean_iou", mode="max")` works.

    `scores` holds the scores after the epoch that ended last, or None if the
    model was not scored then; `is_done` tells whether the epoch was dealt
    with.

    Args:
        dataset: Pairs or batches, see `keras_pspnet.evaluate`; gone through
            once for each of the epochs, so it cannot be a `zip` or another
            iterator.
        epochs: Epochs, from 0, after which to evaluate; None is all.
        **kwargs: Passed to `keras_pspnet.evaluate`.

    Raises:
        OSError: If a file of a `SegmentationData` cannot be opened.
        TypeError: If `kwargs` has no argument of `keras_pspnet.evaluate`.
        ValueError: If the data set is an iterator, or its masks give two
            classes as 0 and 255; from `fit`, if a `SegmentationData` has
            other classes than the model.

    Examples:
        >>> validation = kp.callbacks.ValidationScores(pairs)
        >>> history = net.fit(images, masks, callbacks=[validation], verbose=0)
        >>> history.history["val_mean_iou"] == [validation.scores.mean_iou]
        True
    """

    def __init__(
        self,
        dataset: Iterable[tuple[Tensor, ...]],
        epochs: Collection[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        # Raises TypeError for names that `evaluate` does not know.
        inspect.signature(evaluate).bind(None, dataset, **kwargs)
        rule = "be gone through again: use a list, such as list(zip(...))"
        check_rule("dataset", dataset, rule, not isinstance(dataset, Iterator))
        if isinstance(dataset, SegmentationData):
            # Now rather than after an epoch.
            dataset.check_binary()
        self.scores: Scores | None = None
        self.is_done = False
        self._dataset = dataset
        self._epochs = epochs
        self._arguments = kwargs

    def on_train_begin(self, logs: Logs | None = None) -> None:
        # Now rather than after an epoch.
        check_classes(self._dataset, model_labels(self.model))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.scores, self.is_done = None, False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.is_done = True
        if self._epochs is not None and epoch not in self._epochs:
            return
        self.scores = evaluate(self.model, self._dataset, **self._arguments)
        if logs is not None:
            # As Keras's own callbacks add the learning rate.
            logs["val_mean_iou"] = self.scores.mean_iou
            logs["val_pixel_accuracy"] = self.scores.pixel_accuracy
