"""Scores of a data set, computed from its confusion matrix."""

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

from keras_pspnet.evaluation.confusion import check_counts
from keras_pspnet.labels import LabelSet
from keras_pspnet.utils import check_integer, naming_errors, write_json
from keras_pspnet.version import __version__
from keras_pspnet.visualization import confusion_plot


def _current_versions() -> dict[str, str]:
    """Returns the versions of the installed software."""
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
    """The scores from one confusion matrix over a whole set.

    A score without any counted pixel is 0/0. It is NaN, and means over the
    classes skip it; a mean is NaN only if all its values are. These are the
    rules of mmsegmentation's IoUMetric, whose IoU, Acc, mIoU, mAcc and aAcc
    are `iou`, `accuracy`, `mean_iou`, `mean_accuracy` and `pixel_accuracy`
    here. The accuracy of a class is its recall.

    `+` adds the scores of parts of a set, for one model and protocol. The
    caller must make sure that no image is counted twice.

    Args:
        confusion: Integer (C, C) pixel counts, rows are true classes; copied
            as int64.
        labels: Names of the classes.
        protocol: How the predictions were made, in values that JSON can hold.
        weights_sha256: Digest of the model's weights, 64 hex digits.
        images: Number of images counted.
        versions: Name of the software that predicted -> version; by default
            the installed versions.

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
        check_counts(self.confusion, self.labels.num_classes)
        digest, images = self.weights_sha256, self.images
        if digest is not None and not re.fullmatch("[0-9a-f]{64}", str(digest)):
            raise ValueError(
                "`weights_sha256` must be 64 lower-case hex digits or None. "
                f"Received: weights_sha256={digest!r}"
            )
        object.__setattr__(
            self, "images", check_integer("images", images, least=0)
        )
        # A copy: the caller may go on counting in the array.
        own = {
            "confusion": self.confusion.astype(np.int64),
            "versions": _through_json("versions", self.versions),
        }
        if self.protocol is not None:
            own["protocol"] = _through_json("protocol", self.protocol)
        # The class is frozen.
        self.__dict__.update(own)

    @property
    def pixels(self) -> int:
        """Number of counted pixels."""
        return int(self.confusion.sum())

    @property
    def iou(self) -> np.ndarray:
        """IoU of each class, float64 (C,); 0 for a class only predicted."""
        right = self.confusion.diagonal()
        union = self.confusion.sum(0) + self.confusion.sum(1) - right
        return _ratio(right, union)

    @property
    def accuracy(self) -> np.ndarray:
        """Share of each class's true pixels that were found, (C,)."""
        return _ratio(self.confusion.diagonal(), self.confusion.sum(1))

    @property
    def precision(self) -> np.ndarray:
        """Share of each class's predicted pixels that are right, (C,)."""
        return _ratio(self.confusion.diagonal(), self.confusion.sum(0))

    @property
    def f1(self) -> np.ndarray:
        """F1 (Dice) of each class, (C,); 0 for a class only predicted."""
        both = self.confusion.sum(0) + self.confusion.sum(1)
        return _ratio(2 * self.confusion.diagonal(), both)

    @property
    def share(self) -> np.ndarray:
        """Share of each class in the ground truth, (C,)."""
        return _ratio(self.confusion.sum(1), self.confusion.sum())

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes in ground truth or predictions."""
        return _mean(self.iou)

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes in ground truth or predictions."""
        return _mean(self.f1)

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy over the classes in the ground truth."""
        return _mean(self.accuracy)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels with the right class."""
        return float(_ratio(self.confusion.trace(), self.confusion.sum()))

    @property
    def frequency_weighted_iou(self) -> float:
        """Sum over the classes in the ground truth of share times IoU."""
        if not self.pixels:
            return float("nan")
        return float((self.share * self.iou)[self.share > 0].sum())

    def __add__(self, other: Scores) -> Scores:
        if not isinstance(other, Scores):
            return NotImplemented
        if self.labels != other.labels:
            raise ValueError(
                "scores to add must have the same `labels`. Received: "
                f"{self.labels.name!r} with {self.labels.num_classes} classes "
                f"and {other.labels.name!r} with {other.labels.num_classes}"
            )
        for name in ("protocol", "weights_sha256", "versions"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(
                    f"scores to add must have the same `{name}`. "
                    f"Received: {name}={mine!r} and {name}={theirs!r}"
                )
        return dataclasses.replace(
            self,
            confusion=self.confusion + other.confusion,
            images=self.images + other.images,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all scores, counts and metadata, ready for JSON.

        JSON has no NaN; scores without a value are None.
        """
        names = self.labels.names
        return {
            "mean_iou": _number(self.mean_iou),
            "mean_f1": _number(self.mean_f1),
            "mean_accuracy": _number(self.mean_accuracy),
            "pixel_accuracy": _number(self.pixel_accuracy),
            "frequency_weighted_iou": _number(self.frequency_weighted_iou),
            **{
                key: dict(zip(names, map(_number, values), strict=True))
                for key, values in self._by_class().items()
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
        """Restores scores from the result of `to_dict`.

        Args:
            content: The result of `to_dict`, also after JSON, possibly with
                other entries. Ratios are computed from the counts.

        Returns:
            Scores equal to the original.

        Raises:
            TypeError: If an entry has the wrong type.
            ValueError: If an entry is missing or out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if isinstance(content, Mapping) and "pictures" in content:
            # The name in reports from before version 0.1.0.
            content = {"images": content["pictures"], **content}
        if not isinstance(content, Mapping) or not set(names) <= set(content):
            raise ValueError(
                f"`content` must have the entries {names}. "
                f"Received: content={str(content)[:200]}"
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
            OSError: If the file cannot be written; an existing file then
                stays as it was.
        """
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scores:
        """Reads scores written by `save`.

        Args:
            path: The file.

        Returns:
            Scores equal to those saved.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it does not hold scores.
        """
        with naming_errors("path", path, "readable"):
            data = Path(path).read_bytes()
        try:
            return cls.from_dict(json.loads(data))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"`path` must be a file written by Scores.save ({error}). "
                f"Received: path={os.fspath(path)!r}"
            ) from error

    def table(self) -> str:
        """Returns the scores as text, one line per class; "-" is NaN.

        The last lines list the classes without ground truth, and those never
        predicted.
        """
        summary = {
            "mean IoU": _shown(self.mean_iou),
            "mean F1": _shown(self.mean_f1),
            "mean accuracy": _shown(self.mean_accuracy),
            "pixel accuracy": _shown(self.pixel_accuracy),
            "frequency-weighted IoU": _shown(self.frequency_weighted_iou),
            "images": f"{self.images:,}",
            "pixels": f"{self.pixels:,}",
        }
        names = self.labels.names
        width = max(map(len, (*names, *summary)))
        columns = self._by_class().values()
        heads = "IoU     F1      precision  accuracy   share"
        lines = [f"{'class':{width}}  {heads}"]
        for name, *values, share in zip(names, *columns, strict=True):
            iou, f1, precision, accuracy = map(_shown, values)
            lines.append(
                f"{name:{width}}  {iou:6}  {f1:6}  {precision:9}  "
                f"{accuracy:8}  {_shown(share, '6.2%'):>6}"
            )
        lines += [f"{name:{width}}  {text}" for name, text in summary.items()]
        for axis, what in ((1, "no ground truth"), (0, "never predicted")):
            absent = np.flatnonzero(self.confusion.sum(axis=axis) == 0)
            if absent.size:
                listed = ", ".join(names[index] for index in absent)
                lines.append(f"{what}: {listed}")
        return "\n".join(lines)

    def _by_class(self) -> dict[str, np.ndarray]:
        return {
            "iou": self.iou,
            "f1": self.f1,
            "precision": self.precision,
            "accuracy": self.accuracy,
            "share": self.share,
        }

    def confusion_plot(self) -> Image.Image:
        """Plots the confusion matrix, in shares of each true class.

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


def _through_json(name: str, value: Any) -> dict[str, Any]:
    """Returns a dictionary as JSON would restore it."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"`{name}` must be a dictionary. Received: {name}={value!r}"
        )
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must hold only values that JSON can hold ({error}). "
            f"Received: {name}={value!r}"
        ) from error


def _ratio(part: Any, whole: Any) -> np.ndarray:
    """Divides counts; the result is NaN where the divisor is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(
        part, whole, out=np.full(part.shape, np.nan), where=whole > 0
    )


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _shown(value: float, form: str = ".4f") -> str:
    """Formats a score; "-" for NaN."""
    return "-" if np.isnan(value) else f"{value:{form}}"


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
