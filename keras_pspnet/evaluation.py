"""Scores of a model over a whole data set, at the pictures' own size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_pspnet.inference import model_labels, predict_masks
from keras_pspnet.labels import LabelSet
from keras_pspnet.losses import IGNORE_LABEL
from keras_pspnet.metrics import confusion_matrix


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """What one confusion matrix over a whole set says.

    Args:
        confusion: int64 (C, C) pixel counts, rows are true classes.
        labels: Names of the classes.
    """

    confusion: np.ndarray
    labels: LabelSet

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, NaN where it never occurs."""
        inter = self.confusion.diagonal().astype("float64")
        union = self.confusion.sum(0) + self.confusion.sum(1) - inter
        return np.divide(
            inter, union, out=np.full_like(inter, np.nan), where=union > 0
        )

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that occur, NaN where nothing was seen."""
        iou = self.iou
        occurring = iou[~np.isnan(iou)]
        return float(occurring.mean()) if occurring.size else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of valid pixels with the right class."""
        total = int(self.confusion.sum())
        right = int(self.confusion.diagonal().sum())
        return right / total if total else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Returns the scores for JSON: mIoU, accuracy, IoU by class.

        JSON has no NaN: what has no value is None.
        """
        return {
            "mean_iou": _number(self.mean_iou),
            "pixel_accuracy": _number(self.pixel_accuracy),
            "iou": {
                name: _number(value)
                for name, value in zip(self.labels.names, self.iou, strict=True)
            },
        }

    def table(self) -> str:
        """Returns the scores as lines of text, one a class."""
        counts = self.confusion.sum(1)
        total = max(1, int(counts.sum()))
        width = max(10, *(len(name) for name in self.labels.names))
        lines = [f"{'class':{width}}    IoU   share of pixels"]
        lines += [
            f"{name:{width}}  {'  -  ' if np.isnan(iou) else f'{iou:.3f}'}"
            f"   {count / total:6.1%}"
            for name, iou, count in zip(
                self.labels.names, self.iou, counts, strict=True
            )
        ]
        lines.append(f"{'mean IoU':{width}}  {self.mean_iou:.3f}")
        lines.append(f"{'accuracy':{width}}  {self.pixel_accuracy:.3f}")
        return "\n".join(lines)


def evaluate(
    model: keras.Model,
    dataset: Iterable[tuple[Any, Any]],
    ignore_label: int = IGNORE_LABEL,
    verbose: bool = False,
) -> Scores:
    """Scores a model: whole pictures, one scale, no flip, original size.

    Args:
        model: A `PSPNet`, or its `inference_model()`.
        dataset: Pairs of image and mask, (H, W, 3) and (H, W), or of batches
            of them. Images are RGB 0..255.
        ignore_label: Label that is never counted.
        verbose: Whether to show a progress bar.

    Returns:
        The scores over all valid pixels of the set.

    Raises:
        ValueError: If the set is empty, or sizes of image and mask differ.
    """
    labels = model_labels(model)
    confusion = np.zeros((labels.num_classes,) * 2, dtype="int64")
    bar = keras.utils.Progbar(_length(dataset), unit_name="batch")
    seen = 0
    for images, masks in dataset:
        images, masks = np.asarray(images), np.asarray(masks)
        if images.ndim == 3:
            images, masks = images[None], masks[None]
        if masks.ndim == 4:
            masks = masks[..., 0]
        if images.shape[:3] != masks.shape:
            raise ValueError(
                "`dataset` must hold masks of their images' size. Received: "
                f"images {images.shape}, masks {masks.shape}"
            )
        predictions = predict_masks(model, images)
        confusion += np.asarray(
            confusion_matrix(
                masks, predictions, labels.num_classes, ignore_label
            )
        ).astype("int64")
        seen += 1
        if verbose:
            bar.update(seen)
    if not seen:
        raise ValueError("`dataset` must not be empty. Received: 0 pairs")
    if verbose and bar.target is None:
        bar.update(seen, finalize=True)
    return Scores(confusion, labels)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None
