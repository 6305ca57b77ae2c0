"""Scores over a whole validation set during training."""

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

    It calls `keras_pspnet.evaluate`, so it scores images at their own size,
    whatever the size of the training crops. It adds `val_mean_iou` and
    `val_pixel_accuracy` to the logs, for Keras's history and for callbacks
    later in the list, such as
    `keras.callbacks.EarlyStopping("val_mean_iou", mode="max")`.

    `scores` holds the scores of the last epoch, or None if the model was not
    scored after it. `is_done` is True once the callback has run for that
    epoch.

    Args:
        dataset: Pairs or batches, see `keras_pspnet.evaluate`. It is iterated
            once per epoch, so it cannot be a `zip` or another iterator.
        epochs: Epochs, from 0, after which to evaluate; None is all.
        **kwargs: Passed to `keras_pspnet.evaluate`.

    Raises:
        OSError: If a file of a `SegmentationData` cannot be opened.
        TypeError: If `kwargs` are not arguments of `keras_pspnet.evaluate`.
        ValueError: If the data set is an iterator, or its masks of two
            classes hold 0 and 255; from `fit`, if the classes of a
            `SegmentationData` are not the model's.

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
        # Raises TypeError for names that are not arguments of `evaluate`.
        inspect.signature(evaluate).bind(None, dataset, **kwargs)
        rule = "be iterable more than once: use a list, such as list(zip(...))"
        check_rule("dataset", dataset, rule, not isinstance(dataset, Iterator))
        if isinstance(dataset, SegmentationData):
            # Now, rather than after an epoch.
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
            # Keras's own callbacks add the learning rate in the same way.
            logs["val_mean_iou"] = self.scores.mean_iou
            logs["val_pixel_accuracy"] = self.scores.pixel_accuracy
