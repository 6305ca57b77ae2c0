"""Checks of what only a whole epoch of batches shows."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.losses import squeeze_masks
from keras_pspnet.utils.plausibility import BinaryMasks, ImageRange


class InputCounts(keras.metrics.Metric):
    """Counts images and masks that may not mean what they say.

    It reports nothing: its numbers are read when an epoch has ended. Images:
    those of floats within -1..1, and all others; masks: those that show
    class 1, those of 0 and 255 without it, and all.
    """

    def __init__(self, name: str = "input_counts", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self._counts = self.add_weight(
            shape=(5,), initializer="zeros", dtype="int32", name="counts"
        )

    def update_state(self, images: Any, masks: Any) -> None:
        """Adds a batch.

        Args:
            images: (B, H, W, C).
            masks: (B, H, W) or (B, H, W, 1); None or others add nothing.
        """
        images = ops.convert_to_tensor(images)
        batch = ops.cast(ops.shape(images)[0], "int32")
        small = beyond = with_object = only_ignored = ops.zeros((), "int32")
        if "float" in keras.backend.standardize_dtype(images.dtype):
            highest = ops.max(ops.abs(images), axis=(1, 2, 3))
            beyond = _count(highest > 1)
            small = _count(ops.logical_and(highest > 0, highest <= 1))
        else:
            beyond = batch
        masks = None if masks is None else squeeze_masks(masks)
        if masks is not None and len(masks.shape) == 3:
            masks = ops.cast(masks, "int32")
            has_object = _shows(masks, 1)
            with_object = _count(has_object)
            ignored = ops.logical_and(
                _shows(masks, 0), _shows(masks, IGNORE_LABEL)
            )
            only_ignored = _count(
                ops.logical_and(ignored, ops.logical_not(has_object))
            )
        new = ops.stack([small, beyond, with_object, only_ignored, batch])
        self._counts.assign(self._counts + new)

    def result(self) -> dict[str, Any]:
        """Returns nothing that a log would show."""
        return {}

    def seen(self) -> tuple[ImageRange, BinaryMasks]:
        """Returns what was counted since the epoch began."""
        counts = ops.convert_to_numpy(self._counts)
        small, beyond, with_object, only_ignored, masks = map(int, counts)
        images = ImageRange()
        images.small, images.beyond = small, beyond
        return images, BinaryMasks(masks, with_object, only_ignored)


def _shows(masks: Any, label: int) -> Any:
    return ops.any(ops.equal(masks, label), axis=(1, 2))


def _count(flags: Any) -> Any:
    return ops.sum(ops.cast(flags, "int32"))


class InputReport(keras.callbacks.Callback):
    """Warns after the first epoch of a data set that looks wrong."""

    # Others would make Keras wait for the device after every step.
    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.counts = InputCounts()
        self._train = self._test = self._of_two = False

    def watch(self, train: bool, test: bool, of_two: bool) -> None:
        """Chooses what to report once, of the fit or evaluation that begins.

        Args:
            train: Whether the training batches are a data set.
            test: Whether those that are evaluated are one.
            of_two: Whether masks hold 0, 1 and 255 to ignore.
        """
        self._train, self._test, self._of_two = train, test, of_two

    def on_test_begin(self, logs: Any = None) -> None:
        # The counts are still those of the epoch that it validates.
        self.on_epoch_end(0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._train:
            self._warn("the training data set")
        self._train = False

    def on_test_end(self, logs: Any = None) -> None:
        if self._test:
            self._warn("the data set evaluated")
        self._test = False

    def _warn(self, what: str) -> None:
        images, masks = self.counts.seen()
        images.warn(what)
        if self._of_two:
            masks.warn(what)
