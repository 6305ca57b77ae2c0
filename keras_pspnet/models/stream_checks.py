"""Checks of a data set that need a whole epoch of batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pspnet.labels import IGNORE_LABEL
from keras_pspnet.losses import squeeze_masks, to_labels
from keras_pspnet.utils.plausibility import (
    BinaryMasks,
    ImageRange,
    image_kinds,
    warn_of_one_class,
)
from keras_pspnet.utils.types import Logs

# All labels: the classes, and 255 to ignore.
_LABELS = 256
# Masks with class 1, masks of only 0 and 255, and all masks.
_MASKS = 3


class InputCounts(keras.metrics.Metric):
    """Counts images and masks that look suspicious.

    It reports nothing; `InputReport` reads its numbers at the end of an epoch.
    It counts images by kind; masks that show class 1, masks that hold 0 and
    255 but no 1, and all masks; and for each class, the masks whose lowest or
    highest class it is.
    """

    def __init__(self, name: str = "input_counts", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self._counts = self.add_weight(
            shape=(len(ImageRange.KINDS) + _MASKS + _LABELS,),
            initializer="zeros",
            dtype="int32",
            name="counts",
        )

    def update_state(
        self, images: Any, masks: Any, ignore_label: int | None
    ) -> None:
        """Adds a batch.

        Args:
            images: (B, H, W, C).
            masks: (B, H, W) or (B, H, W, 1); None or other shapes add
                nothing.
            ignore_label: The label that the loss ignores, or None.
        """
        images = ops.convert_to_tensor(images)
        batch = ops.cast(ops.shape(images)[0], "int32")
        with_object = only_ignored = ops.zeros((), "int32")
        dtype = keras.backend.standardize_dtype(images.dtype)
        if dtype == "uint8":
            # Every uint8 value is valid: no need to read them.
            lowest = ops.zeros_like(images[:, 0, 0, 0], dtype="float32")
            highest = lowest + 255.0
        else:
            if dtype == "bool":
                images = ops.cast(images, "int32")
            lowest, highest = (
                ops.cast(each(images, axis=(1, 2, 3)), "float32")
                for each in (ops.min, ops.max)
            )
        kinds = image_kinds(lowest, highest, "float" in dtype)
        shown = ops.zeros((_LABELS,), "int32")
        masks = None if masks is None else squeeze_masks(masks)
        if masks is not None and len(masks.shape) == 3:
            masks = to_labels(masks)
            has_object = _shows(masks, 1)
            with_object = _count(has_object)
            ignored = ops.logical_and(
                _shows(masks, 0), _shows(masks, IGNORE_LABEL)
            )
            only_ignored = _count(
                ops.logical_and(ignored, ops.logical_not(has_object))
            )
            shown = _extreme_classes(masks, ignore_label)
        found = [_count(kinds[kind]) for kind in ImageRange.KINDS]
        new = ops.stack([*found, with_object, only_ignored, batch])
        self._counts.assign(self._counts + ops.concatenate([new, shown]))

    def result(self) -> dict[str, Any]:
        """Returns nothing, so that nothing appears in the logs."""
        return {}

    def seen(
        self, mean: Sequence[float]
    ) -> tuple[ImageRange, BinaryMasks, list[int]]:
        """Returns the counts since the epoch began.

        Args:
            mean: The model's mean of each band.

        Returns:
            The images, the masks, and the classes that are the lowest or
            highest of a mask: a single one if all masks show only that.
        """
        counts = ops.convert_to_numpy(self._counts)
        size = len(ImageRange.KINDS) + _MASKS
        *kinds, with_object, only_ignored, masks = map(int, counts[:size])
        images = ImageRange(mean)
        images.counts = dict(zip(ImageRange.KINDS, kinds, strict=True))
        images.images = masks
        shown = np.flatnonzero(counts[size:]).tolist()
        return images, BinaryMasks(masks, with_object, only_ignored), shown


def _extreme_classes(masks: Any, ignore_label: int | None) -> Any:
    """Counts, for each label, the masks whose lowest or highest class it is."""
    valid = ops.ones_like(masks, "bool")
    if ignore_label is not None:
        valid = ops.not_equal(masks, ignore_label)
    # Where compiled code cannot raise, count a bad label as another class.
    masks = ops.minimum(ops.abs(masks), _LABELS - 1)
    # Without ground truth, neither is a label, and neither counts.
    lowest = ops.min(ops.where(valid, masks, _LABELS), axis=(1, 2))
    highest = ops.max(ops.where(valid, masks, -1), axis=(1, 2))
    both = ops.concatenate([lowest, highest])
    found = ops.equal(both[:, None], ops.arange(_LABELS)[None])
    return ops.sum(ops.cast(found, "int32"), axis=0)


def _shows(masks: Any, label: int) -> Any:
    return ops.any(ops.equal(masks, label), axis=(1, 2))


def _count(flags: Any) -> Any:
    return ops.sum(ops.cast(flags, "int32"))


class InputReport(keras.callbacks.Callback):
    """Warns after the first epoch of a data set that looks wrong."""

    # Otherwise Keras would wait for the device after every step.
    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.counts = InputCounts()
        self._train = self._test = self._of_two = False
        self._mean: Sequence[float] = ()

    def watch(
        self, train: bool, test: bool, of_two: bool, mean: Sequence[float]
    ) -> None:
        """Chooses what the coming fit or evaluation reports, once.

        Args:
            train: Whether the training data is a data set.
            test: Whether the validation data is a data set.
            of_two: Whether masks hold 0, 1 and 255 to ignore.
            mean: The model's mean of each band.
        """
        self._train, self._test, self._of_two = train, test, of_two
        self._mean = mean

    def on_test_begin(self, logs: Logs | None = None) -> None:
        # The counts are still those of the epoch that it validates.
        self.on_epoch_end(0)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._train:
            self._warn("the training data set")
        self._train = False

    def on_test_end(self, logs: Logs | None = None) -> None:
        if self._test:
            self._warn("the data set evaluated")
        self._test = False

    def _warn(self, what: str) -> None:
        images, masks, shown = self.counts.seen(self._mean)
        images.warn(what)
        if not (self._of_two and masks.warn(what)):
            warn_of_one_class(what, shown, masks.masks)
