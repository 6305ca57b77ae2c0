"""Scores over a whole set during training."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import keras

from keras_pspnet.data import SegmentationData
from keras_pspnet.evaluation import Scores
from keras_pspnet.evaluation.evaluate import evaluate


class ValidationScores(keras.callbacks.Callback):
    """Scores the model over a whole set at the end of epochs.

    As `keras_pspnet.evaluate` does: at the images' own size, whatever the
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

    Raises:
        OSError: If a file of a `SegmentationData` cannot be opened.
        ValueError: If its masks give two classes as 0 and 255.

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
        if isinstance(dataset, SegmentationData):
            # Now rather than after an epoch.
            dataset.check_binary()
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
