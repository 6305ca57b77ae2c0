"""What training needs around Keras's `fit`: checks, plain errors, weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_pspnet.losses import (
    IGNORE_LABEL,
    broadcast_weights,
    squeeze_masks,
)

BATCH_OF_ONE = (
    "the global batch must hold at least 2 images while batch normalisation "
    "is live, since the 1x1 bin of a single image is normalised to its bias; "
    "use freeze='batch_norm' or drop the last partial batch. "
)
FEWER_THAN_REPLICAS = (
    "the global batch must hold at least one image for every replica, where "
    "each takes ceil(images / replicas) until none are left; drop the last "
    "partial batch. "
)


def class_weight_table(
    class_weight: Mapping[int, float] | None, num_classes: int
) -> np.ndarray | None:
    """Writes class weights as a table over all labels.

    Args:
        class_weight: Class id -> factor of at least 0, or None.
        num_classes: Number of classes C.

    Returns:
        float32 array (256,), 1 where nothing is given; None for None.

    Raises:
        ValueError: If an id is not a class, or a factor is negative.
    """
    if class_weight is None:
        return None
    table = np.ones(256, dtype="float32")
    for label, weight in class_weight.items():
        if not 0 <= int(label) < num_classes or weight < 0:
            raise ValueError(
                "`class_weight` must map class ids below "
                f"{num_classes} to factors of at least 0. "
                f"Received: class_weight={dict(class_weight)!r}"
            )
        table[int(label)] = weight
    return table


def weigh_classes(table: np.ndarray, masks: Any, sample_weight: Any) -> Any:
    """Multiplies sample weights with the weight of every pixel's class.

    Args:
        table: From `class_weight_table`.
        masks: Integer masks (B, H, W) or (B, H, W, 1).
        sample_weight: None, or a tensor that broadcasts to the masks.

    Returns:
        float32 tensor (B, H, W).
    """
    masks = ops.cast(squeeze_masks(masks), "int32")
    weights = ops.take(
        ops.convert_to_tensor(table), ops.clip(masks, 0, IGNORE_LABEL)
    )
    if sample_weight is None:
        return weights
    return weights * broadcast_weights(sample_weight, "float32")


def array_length(x: Any) -> int | None:
    """Returns the number of images of an array, None for data sets."""
    shape = getattr(x, "shape", None)
    return None if shape is None or len(shape) == 0 else int(shape[0])


def cardinality(x: Any) -> int | None:
    """Returns the number of batches of a data set, None where unknown."""
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches
    if hasattr(x, "cardinality"):
        cardinality = int(x.cardinality())
        return cardinality if cardinality >= 0 else None
    return len(x) if hasattr(x, "__len__") else None


def check_arrays(x: Any, y: Any, num_classes: int) -> None:
    """Refuses NumPy pictures and masks that do not fit, before training."""
    if isinstance(x, np.ndarray) and (x.ndim != 4 or x.shape[-1] != 3):
        raise ValueError(
            "`x` must be RGB images of shape (N, H, W, 3). "
            f"Received: x of shape {x.shape}"
        )
    masks = y.values() if isinstance(y, Mapping) else [y]
    for mask in masks:
        if not isinstance(mask, np.ndarray):
            continue
        sides = mask.shape[:-1] if mask.ndim == 4 else mask.shape
        if len(sides) != 3 or (mask.ndim == 4 and mask.shape[-1] != 1):
            raise ValueError(
                "`y` must be masks of shape (N, H, W) or (N, H, W, 1). "
                f"Received: y of shape {mask.shape}"
            )
        if isinstance(x, np.ndarray) and sides != x.shape[:3]:
            raise ValueError(
                "`y` must have the size of the images. Received: y of shape "
                f"{mask.shape} for x of shape {x.shape}"
            )
        _check_labels(mask, num_classes)


def _check_labels(mask: np.ndarray, num_classes: int) -> None:
    bad = (mask != 255) & ((mask < 0) | (mask >= num_classes))
    if bad.any():
        raise ValueError(
            f"`y` must hold labels 0..{num_classes - 1} or the ignore label "
            f"255. Received: label {mask[bad][0]} in mask "
            f"{int(np.argwhere(bad)[0][0])}"
        )


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turns TensorFlow's errors about bad data into one-line ValueErrors."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "InvalidArgumentError":
            raise
        message = _own_message(str(error))
        if message is None:
            raise
        raise ValueError(message) from error


def _own_message(text: str) -> str | None:
    """Finds this package's sentence in a report of TensorFlow's runtime."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        for start in ("labels must be", "the global batch must", "ValueError:"):
            position = line.find(start)
            if position < 0:
                continue
            if start == "ValueError:":
                return line[position + len(start) :].strip()
            # TensorFlow prints each part of an assertion in brackets, or on
            # a line of its own.
            sentence = line[position:].replace("] [", " ").replace("\\'", "'")
            sentence = sentence.strip(" []\"'")
            if sentence.endswith("="):
                sentence += f" {lines[number + 1].strip()}"
            return sentence
    return None
