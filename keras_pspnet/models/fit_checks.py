"""Checks of batches and replicas for `fit`, and one-line errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_pspnet.data import UnknownValuesError
from keras_pspnet.layers import (
    PyramidPoolingModule,
    claim_collectives,
    num_replicas,
    replica_sum,
)
from keras_pspnet.losses import refuse_bad_labels, squeeze_masks, to_labels
from keras_pspnet.models.compile_checks import LabelRule
from keras_pspnet.models.fit_steps import with_inner
from keras_pspnet.utils import keras_private

BATCH_OF_ONE = (
    "the global batch must hold at least 2 images while batch normalization "
    "is live, since the 1x1 bin of a single image is normalized to its bias; "
    "use freeze='batch_norm' or drop the last partial batch. "
)
FEWER_THAN_REPLICAS = (
    "the global batch must hold at least one image for every replica, where "
    "each takes ceil(images / replicas) until none are left; drop the last "
    "partial batch. "
)
# Errors that reading a file may raise in the graph of a data set.
_OF_FILES = {
    each.__name__: each
    for each in (
        OSError,
        FileNotFoundError,
        IsADirectoryError,
        NotADirectoryError,
        PermissionError,
        TypeError,
        UnknownValuesError,
        ValueError,
    )
}
# An error raised in Python, or a failed assertion and the line after it.
_OWN = re.compile(
    rf"\b({'|'.join(_OF_FILES)}): (.*)"
    r"|((?:labels must|the global batch must) .*)\n?(.*)"
)


def array_length(x: Any, validation_split: float = 0.0) -> int | None:
    """Returns how many images of an array `fit` trains on.

    Args:
        x: As given to `fit`.
        validation_split: Share of the images that Keras holds out.

    Returns:
        The number, or None for a data set.
    """
    shape = getattr(x, "shape", None)
    if shape is None or len(shape) == 0:
        return None
    return int(shape[0] * (1.0 - validation_split))


def steps_per_epoch_of(
    x: Any, count: int | None, batch_size: int, steps_per_epoch: int | None
) -> int | None:
    """Returns the steps of an epoch of `fit`, or None if unknown.

    Args:
        x: As given to `fit`.
        count: Number of training images if `x` is an array, else None.
        batch_size: Images in a batch of an array.
        steps_per_epoch: As given to `fit`.
    """
    if steps_per_epoch is not None:
        return steps_per_epoch
    if count is not None:
        return -(-count // batch_size)
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches
    if hasattr(x, "cardinality"):
        cardinality = int(x.cardinality())
        return cardinality if cardinality >= 0 else None
    return len(x) if hasattr(x, "__len__") else None


def check_replicas(model: keras.Model, in_fit: bool = False) -> None:
    """Refuses settings that fail or train wrongly on several replicas.

    Args:
        model: A compiled model.
        in_fit: Whether Keras's `fit` is about to run, which fails on several
            workers.

    Raises:
        ValueError: See `SegmentationTrainer.check_replicas`.
    """
    strategy = keras_private.strategy_of(model)
    if strategy is None or strategy.num_replicas_in_sync < 2:
        return
    import tensorflow as tf

    count = strategy.num_replicas_in_sync
    if in_fit and isinstance(
        strategy, tf.distribute.MultiWorkerMirroredStrategy
    ):
        raise ValueError(
            "`fit` must run on one worker: on several, train with "
            "`keras-pspnet train`, or in a loop that runs `train_step`. "
            f"Received: {type(strategy).__name__} of {count} replicas"
        )
    required: list[tuple[str, Any, Any]] = [
        ("steps_per_execution", model, 1),
        ("jit_compile", model, False),
    ]
    for optimizer in with_inner(model.optimizer):
        required += [
            ("gradient_accumulation_steps", optimizer, None),
            ("use_ema", optimizer, False),
        ]
    for name, owner, wanted in required:
        value = getattr(owner, name)
        if value != wanted:
            raise ValueError(
                f"`{name}` must be {wanted} on several replicas. "
                f"Received: {name}={value} on {count} replicas"
            )
    claim_collectives(strategy)


def needs_two_images(pyramid: PyramidPoolingModule) -> bool:
    """Tells whether a 1x1 bin is normalized over the batch alone."""
    return any(
        bins == 1 and norm.trainable
        for bins, norm in zip(pyramid.bin_sizes, pyramid.norms, strict=False)
    )


def check_last_batch(count: int, batch_size: int) -> None:
    """Refuses arrays whose last batch would hold a single image."""
    last = count % batch_size or min(count, batch_size)
    if last == 1:
        raise ValueError(
            BATCH_OF_ONE + f"Received: {count} images with "
            f"batch_size={batch_size}, whose last batch has 1"
        )


def with_checked_batch(x: Any, needs_two: bool) -> Any:
    """Refuses batches that are too small, at run time if necessary.

    The checks run before the network, since a replica without an image would
    fail in one of its layers, with a less helpful error.

    Args:
        x: Images (B, H, W, 3) of this replica.
        needs_two: Whether one image in the global batch is too few.

    Returns:
        The images. In a graph they depend on the checks.
    """
    batch, replicas = x.shape[0], num_replicas()
    if batch is not None:
        if needs_two and batch * replicas == 1:
            raise ValueError(BATCH_OF_ONE + "Received: a batch of 1")
        return x
    if keras.backend.backend() != "tensorflow":
        return x
    import tensorflow as tf

    count = tf.shape(x)[0]
    checks = []
    if needs_two:
        message = BATCH_OF_ONE + "Received: a batch of 1"
        checks.append(tf.debugging.Assert(replica_sum(count) > 1, [message]))
    if replicas > 1:
        # In order, so that every replica fails in the same check.
        with tf.control_dependencies(checks):
            fed = replica_sum(tf.cast(count > 0, "int32"))
            message = FEWER_THAN_REPLICAS + f"Received: {replicas} replicas"
            checks.append(
                tf.debugging.Assert(tf.equal(fed, replicas), [message])
            )
    with tf.control_dependencies(checks):
        return tf.identity(x)


def with_checked_labels(
    x: Any, masks: Any, num_classes: int, rule: LabelRule | None
) -> Any:
    """Refuses labels before the network sees the batch.

    The loss refuses them, too, but only when batch normalization has added
    the batch to its moving statistics.

    Args:
        x: Images of this replica.
        masks: Their masks, by output or plain.
        num_classes: Number of classes C.
        rule: The labels that the loss takes, None if nobody knows.

    Returns:
        The images, which depend on the check in a graph.
    """
    if isinstance(masks, Mapping):
        masks = masks.get("main")
    if masks is None or rule is None or rule.ignore_label is None:
        return x
    labels = squeeze_masks(masks)
    if len(labels.shape) != 3:
        # The loss says what shape it takes.
        return x
    labels = to_labels(labels)
    return refuse_bad_labels(x, labels, num_classes, rule.ignore_label)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turns TensorFlow's reports of bad data into one-line errors."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in ("InvalidArgumentError", "UnknownError"):
            raise
        own = _own_error(str(error))
        if own is None:
            raise
        raise own from error


def _own_error(text: str) -> Exception | None:
    """Returns this package's own error in a report of TensorFlow's runtime."""
    found = _OWN.search(text)
    if found is None:
        return None
    kind, raised, asserted, value = found.groups()
    if kind is not None:
        return _OF_FILES[kind](raised.strip())
    # TensorFlow prints each part of an assertion in brackets, or on a line of
    # its own.
    sentence = asserted.replace("] [", " ").replace("\\'", "'").strip(" []\"'")
    return ValueError(
        f"{sentence} {value.strip()}" if sentence[-1] == "=" else sentence
    )
