"""Scores of a data set: exact pixel counts, and what they say."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from keras_pspnet.labels import IGNORE_LABEL, LabelSet
from keras_pspnet.utils import naming_errors, write_json
from keras_pspnet.version import __version__
from keras_pspnet.visualization import confusion_plot

# Labels and predictions are bytes, as classes are 255 at most.
_BYTES = 256


class Confusion:
    """Counts the pixels of each (true class, predicted class).

    The counts are 64-bit integers: exact, whatever the order of the pictures.
    Processes that share a set count their parts and add them with `+`.

    Args:
        num_classes: Number of classes C, 1..255.
        ignore_label: Label 0..255 that is never counted. It may be a class:
            that one's pixels are left out then.

    Raises:
        ValueError: If a number is not an integer in its range.

    Attributes:
        counts: int64 (C, C), rows are true classes.
        images: How many pictures were added.

    Examples:
        >>> from keras_pspnet.evaluation.scores import Confusion
        >>> confusion = Confusion(num_classes=2)
        >>> confusion.add(np.array([[0, 1, 255]]), np.array([[0, 0, 1]]))
        >>> confusion.counts
        array([[1, 0],
               [1, 0]])
    """

    def __init__(
        self, num_classes: int, ignore_label: int = IGNORE_LABEL
    ) -> None:
        for name, value, least in (
            ("num_classes", num_classes, 1),
            ("ignore_label", ignore_label, 0),
        ):
            if type(value) is not int or not least <= value < _BYTES:
                raise ValueError(
                    f"`{name}` must be an integer within {least}..255. "
                    f"Received: {name}={value!r}"
                )
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.images = 0

    def add(self, mask: np.ndarray, prediction: np.ndarray) -> None:
        """Counts one picture, or several of one size.

        A refused call has counted nothing.

        Args:
            mask: Integers (H, W) or (B, H, W): true classes 0..C-1, or the
                ignore label.
            prediction: Integers of the same shape: classes 0..C-1,
                everywhere, on ignored pixels too.

        Raises:
            TypeError: If an array does not hold integers.
            ValueError: If the shapes differ or are others, or an array holds
                something else; the message names it.
        """
        mask, prediction = np.asarray(mask), np.asarray(prediction)
        if mask.shape != prediction.shape or mask.ndim not in (2, 3):
            raise ValueError(
                "`mask` and `prediction` must have one shape, (H, W) or "
                f"(B, H, W). Received: mask of shape {mask.shape}, "
                f"prediction of shape {prediction.shape}"
            )
        classes = f"classes within 0..{self.num_classes - 1}"
        rules = {
            "mask": f"{classes}, or {self.ignore_label} to ignore",
            "prediction": classes,
        }
        mask = _as_bytes("mask", mask, rules["mask"])
        prediction = _as_bytes("prediction", prediction, rules["prediction"])
        if mask.ndim == 2:
            mask, prediction = mask[None], prediction[None]
        # All pairs of bytes are counted: what is ignored or no class is then
        # a matter of a small table and not of every pixel.
        table = np.zeros((_BYTES, _BYTES), np.int64)
        for pair in zip(mask, prediction, strict=True):
            table += _count_pairs(*pair)
        labels = np.flatnonzero(table.any(axis=1))
        wrong = labels[
            (labels >= self.num_classes) & (labels != self.ignore_label)
        ]
        if wrong.size:
            raise _no_class("mask", rules["mask"], wrong[0])
        wrong = np.flatnonzero(table[:, self.num_classes :].any(axis=0))
        if wrong.size:
            raise _no_class(
                "prediction", rules["prediction"], self.num_classes + wrong[0]
            )
        table[self.ignore_label] = 0
        self.counts += table[: self.num_classes, : self.num_classes]
        self.images += len(mask)

    def __add__(self, other: Confusion) -> Confusion:
        if not isinstance(other, Confusion):
            return NotImplemented
        for name in ("num_classes", "ignore_label"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(
                    f"counts that are added must have the same `{name}`. "
                    f"Received: {name}={mine} and {name}={theirs}"
                )
        total = Confusion(self.num_classes, self.ignore_label)
        total.counts += self.counts + other.counts
        total.images = self.images + other.images
        return total


def _as_bytes(argument: str, array: np.ndarray, rule: str) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"`{argument}` must hold integers. Received: "
            f"{argument} of dtype {array.dtype}"
        )
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8, copy=False)
    for value in (array.min(), array.max()):
        if not 0 <= value < _BYTES:
            raise _no_class(argument, rule, value)
    return array.astype(np.uint8)


def _count_pairs(mask: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Counts all pairs of bytes: uint8 (H, W) twice to int (256, 256)."""
    index = mask.astype(np.uint16)
    index <<= 8
    index |= prediction
    counts = np.bincount(index.ravel(order="K"), minlength=_BYTES * _BYTES)
    return counts.reshape(_BYTES, _BYTES)


def _no_class(argument: str, rule: str, value: Any) -> ValueError:
    return ValueError(
        f"`{argument}` must hold {rule}. Received: {argument} with {int(value)}"
    )


def _current_versions() -> dict[str, str]:
    """Returns the versions of what computes here."""
    backend = keras.backend.backend()
    return {
        "keras_pspnet": __version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        # Keras has imported it.
        backend: sys.modules[backend].__version__,
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """What one confusion matrix over a whole set says.

    Where nothing was counted, a score is 0/0: it is NaN, and a mean over the
    classes leaves it out (it is NaN itself if no class has a value). These
    are the rules of mmsegmentation's IoUMetric, whose IoU, Acc, mIoU, mAcc
    and aAcc are `iou`, `accuracy`, `mean_iou`, `mean_accuracy` and
    `pixel_accuracy` here.

    Scores of parts of a set, of one model and protocol, add up with `+` to
    those of the set. No part may be there twice, which cannot be seen.

    Args:
        confusion: Integer (C, C) pixel counts, rows are true classes; kept
            as an int64 copy.
        labels: Names of the classes.
        protocol: How the predictions were made, in whatever words and
            numbers JSON can hold.
        weights_sha256: Digest of the model's weights, 64 hex digits.
        images: Number of pictures that were counted.
        versions: Of the software that predicted, by its name; those in use
            if not given.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a count is negative, or a shape or a value does not
            fit.

    Examples:
        >>> labels = kp.LabelSet("pets", ("cat", "dog"), ((9, 9, 9), (0, 0, 0)))
        >>> scores = kp.Scores(np.array([[3, 1], [0, 4]]), labels)
        >>> scores.iou.round(2), round(scores.pixel_accuracy, 3)
        (array([0.75, 0.8 ]), 0.875)
        >>> scores.save("scores.json")
    """

    confusion: np.ndarray
    labels: LabelSet
    protocol: Mapping[str, Any] | None = None
    weights_sha256: str | None = None
    images: int = 0
    versions: Mapping[str, str] = dataclasses.field(
        default_factory=_current_versions
    )

    def __post_init__(self) -> None:
        _check_counts(self.confusion, self.labels.num_classes)
        digest, images = self.weights_sha256, self.images
        if digest is not None and not (
            isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
        ):
            raise ValueError(
                "`weights_sha256` must be 64 lower-case hex digits or None. "
                f"Received: weights_sha256={digest!r}"
            )
        if type(images) is not int or images < 0:
            raise ValueError(
                "`images` must be an integer of at least 0. "
                f"Received: images={images!r}"
            )
        # Whoever goes on counting in the array must not change the scores.
        confusion = self.confusion.astype(np.int64)
        object.__setattr__(self, "confusion", confusion)
        for name in ("protocol", "versions"):
            value = getattr(self, name)
            if value is not None or name == "versions":
                object.__setattr__(self, name, _through_json(name, value))

    @property
    def pixels(self) -> int:
        """Number of pixels that were counted."""
        return int(self.confusion.sum())

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, float64 (C,).

        NaN for a class that is neither in truth nor in predictions; 0 for
        one that is only predicted.
        """
        right = self.confusion.diagonal()
        union = self.confusion.sum(0) + self.confusion.sum(1) - right
        return _ratio(right, union)

    @property
    def accuracy(self) -> np.ndarray:
        """Share of each class's pixels that were found, float64 (C,).

        NaN for a class that is not in truth, whether or not it was predicted.
        """
        return _ratio(self.confusion.diagonal(), self.confusion.sum(1))

    @property
    def share(self) -> np.ndarray:
        """Share of the counted pixels that are truly of each class, (C,).

        NaN for all if nothing was counted.
        """
        return _ratio(self.confusion.sum(1), self.confusion.sum())

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes in truth or predictions."""
        return _mean(self.iou)

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy over the classes in truth."""
        return _mean(self.accuracy)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels with the right class."""
        return float(_ratio(self.confusion.trace(), self.confusion.sum()))

    @property
    def frequency_weighted_iou(self) -> float:
        """Sum over the classes in truth of share times IoU."""
        present = self.confusion.any(axis=1)
        if not present.any():
            return float("nan")
        return float((self.share * self.iou)[present].sum())

    def __add__(self, other: Scores) -> Scores:
        if not isinstance(other, Scores):
            return NotImplemented
        if self.labels != other.labels:
            raise ValueError(
                "scores that are added must have the same `labels`. Received: "
                f"{self.labels.name!r} with {self.labels.num_classes} classes "
                f"and {other.labels.name!r} with {other.labels.num_classes}"
            )
        for name in ("protocol", "weights_sha256", "versions"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(
                    f"scores that are added must have the same `{name}`. "
                    f"Received: {name}={mine!r} and {name}={theirs!r}"
                )
        return dataclasses.replace(
            self,
            confusion=self.confusion + other.confusion,
            images=self.images + other.images,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all scores and what they come from, ready for JSON.

        JSON has no NaN: what has no value is None.
        """
        return {
            **{
                name: _number(getattr(self, name))
                for name in (
                    "mean_iou",
                    "mean_accuracy",
                    "pixel_accuracy",
                    "frequency_weighted_iou",
                )
            },
            **{
                name: {
                    label: _number(value)
                    for label, value in zip(
                        self.labels.names, getattr(self, name), strict=True
                    )
                }
                for name in ("iou", "accuracy", "share")
            },
            "images": self.images,
            "pixels": self.pixels,
            "protocol": self.protocol,
            "weights_sha256": self.weights_sha256,
            "versions": self.versions,
            "labels": self.labels.to_dict(),
            "confusion": self.confusion.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scores:
        """Builds the scores that `to_dict` described.

        Args:
            content: What `to_dict` returned, possibly after a trip through
                JSON, and possibly among other entries. Ratios are computed
                again from the counts.

        Returns:
            Scores equal to the original.

        Raises:
            TypeError: If an entry has the wrong type.
            ValueError: If an entry is missing or out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if isinstance(content, Mapping) and "pictures" in content:
            # Reports of version 0.1 before its release.
            content = {"images": content["pictures"], **content}
        if not isinstance(content, Mapping) or not set(names) <= set(content):
            found = sorted(content) if isinstance(content, Mapping) else content
            raise ValueError(
                f"`content` must have the entries {names}. "
                f"Received: content={found}"
            )
        entries = {name: content[name] for name in names}
        entries["confusion"] = np.array(entries["confusion"])
        entries["labels"] = LabelSet.from_dict(entries["labels"])
        return cls(**entries)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict` to a JSON file, which `load` reads back.

        Args:
            path: The file to write or replace.

        Raises:
            OSError: If it cannot be written; an old file stays then.
        """
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scores:
        """Reads the scores that `save` wrote.

        Args:
            path: The file.

        Returns:
            Scores equal to those saved.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it holds anything else.
        """
        with naming_errors("path", path, "readable"):
            data = Path(path).read_bytes()
        try:
            return cls.from_dict(json.loads(data))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"`path` must be a file that Scores.save wrote ({error}). "
                f"Received: path={os.fspath(path)!r}"
            ) from error

    def table(self) -> str:
        """Returns the scores as lines of text, one a class; "-" is NaN."""
        summary = {
            "mean IoU": _shown(self.mean_iou),
            "mean accuracy": _shown(self.mean_accuracy),
            "pixel accuracy": _shown(self.pixel_accuracy),
            "frequency-weighted IoU": _shown(self.frequency_weighted_iou),
            "images": f"{self.images:,}",
            "pixels": f"{self.pixels:,}",
        }
        width = max(len(name) for name in (*self.labels.names, *summary))
        rows = zip(
            self.labels.names, self.iou, self.accuracy, self.share, strict=True
        )
        return "\n".join(
            [
                f"{'class':{width}}  {'IoU':6}  accuracy   share",
                *(
                    f"{name:{width}}  {_shown(iou):6}  {_shown(accuracy):8}  "
                    f"{_shown(share, '6.2%'):>6}"
                    for name, iou, accuracy, share in rows
                ),
                *(f"{name:{width}}  {text}" for name, text in summary.items()),
            ]
        )

    def confusion_plot(self) -> Image.Image:
        """Plots the confusion matrix: which share of each class went where.

        Returns:
            An RGB image, see `keras_pspnet.visualization.confusion_plot`.

        Examples:
            >>> scores = kp.evaluate(net, zip(images, masks))
            >>> scores.confusion_plot().save("confusion.png")
        """
        title = (
            f"% of each true class's pixels. mean IoU {_shown(self.mean_iou)}, "
            f"pixel accuracy {_shown(self.pixel_accuracy)}\n"
            f"{self.images:,} images, {self.pixels:,} pixels"
        )
        return confusion_plot(self.confusion, self.labels, title)


def _check_counts(confusion: Any, num_classes: int) -> None:
    if not isinstance(confusion, np.ndarray) or not np.issubdtype(
        confusion.dtype, np.integer
    ):
        kind = getattr(confusion, "dtype", type(confusion).__name__)
        raise TypeError(
            "`confusion` must be an array of integers. "
            f"Received: confusion of {kind}"
        )
    if confusion.shape != (num_classes, num_classes):
        raise ValueError(
            "`confusion` must have a row and a column for each of the "
            f"{num_classes} labels. Received: confusion of shape "
            f"{confusion.shape}"
        )
    if confusion.min() < 0:
        raise ValueError(
            "`confusion` must hold counts of at least 0. "
            f"Received: confusion with {confusion.min()}"
        )


def _through_json(name: str, value: Any) -> dict[str, Any]:
    """Copies a dictionary to what it is after a trip through JSON."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"`{name}` must be a dictionary. Received: {name}={value!r}"
        )
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be what JSON can hold ({error}). "
            f"Received: {name}={value!r}"
        ) from error


def _ratio(part: Any, whole: Any) -> np.ndarray:
    """Divides counts, NaN where the divisor is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(
        part, whole, out=np.full(part.shape, np.nan), where=whole > 0
    )


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _shown(value: Any, form: str = ".4f") -> str:
    return "-" if np.isnan(value) else f"{value:{form}}"
