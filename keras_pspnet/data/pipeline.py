"""Makes batches of images and masks, in a reproducible order."""

from __future__ import annotations

import itertools
import os
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_pspnet.data.augment.augmentation import Augmentation
from keras_pspnet.data.images import RGB

_CORES = os.cpu_count() or 1
if hasattr(os, "sched_getaffinity"):
    # The cores that this process may use.
    _CORES = len(os.sched_getaffinity(0))
# Pairs to make in parallel: one more than there are cores, since finished pairs
# occupy a slot until it is their turn.
_PARALLEL_CALLS = _CORES + 1


class Pairs(Protocol):
    """Anything that returns (image, mask) arrays by index, like a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray]: ...


def training_dataset(
    pairs: Pairs,
    augment: Augmentation,
    batch_size: int,
    total_steps: int,
    seed: int = 0,
    first_step: int = 0,
    parts: int = 1,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Makes the batches of a training run.

    The order of the images and all augmentation are pure functions of (seed,
    epoch, index). A run that starts at step k therefore sees what an
    uninterrupted run sees from step k on, with any number of threads. Each
    new iteration continues with the following steps, so every epoch of `fit`
    gets new crops.

    Args:
        pairs: uint8 images (H, W, 3) and masks (H, W), as
            `keras_pspnet.data.load` returns them; images of other bands may
            have any dtype.
        augment: Turns every pair into crops of the same size, from a seed. It
            gets uint8 images, or float32 for other bands.
        batch_size: Number of pairs in a global batch.
        total_steps: Number of batches in the whole run.
        seed: Seed of the order and the augmentation.
        first_step: Number of batches that earlier parts of the run have seen.
        parts: Number of equal parts, one for each replica, that each batch is
            split into. The parts follow one another.
        shard: (index, count) of this machine among several; it gets the
            index-th of count equal ranges of the parts of every batch.

    Returns:
        Data set of (total_steps - first_step) * parts / count elements:
        images (B / parts, H, W, bands) float32, RGB in 0..255, and masks
        (B / parts, H, W) uint8.

    Raises:
        ValueError: If the batch size is not a multiple of `parts`, or `parts`
            is not a multiple of the number of shards.

    Examples:
        >>> from keras_pspnet.data.augment import augmentation
        >>> from keras_pspnet.data.pipeline import training_dataset
        >>> crops = augmentation.train_augmentation(crop=(24, 24))
        >>> batches = training_dataset(pairs, crops, 2, total_steps=5)
        >>> len(batches)
        5
        >>> images, masks = next(iter(batches))
        >>> images.shape, masks.shape
        (TensorShape([2, 24, 24, 3]), TensorShape([2, 24, 24]))
    """
    index, shards = shard
    if parts < 1 or batch_size % parts:
        raise ValueError(
            "`batch_size` must be a multiple of the number of replicas. "
            "Received: "
            f"batch_size={batch_size} for {parts} replicas"
        )
    if not 0 <= index < shards or parts % shards:
        raise ValueError(
            "`shard` must be (index, count) with index below count, and "
            "`parts` a multiple of count. Received: "
            f"shard={shard}, parts={parts}"
        )
    count = len(pairs)
    bands = getattr(pairs, "bands", RGB)
    if isinstance(pairs, list | tuple) and pairs:
        bands = pairs[0][0].shape[-1]
    share = batch_size // shards

    def sample(number: Any) -> tuple[Any, Any]:
        # Convert the position in the shard to the position in the run.
        step, rest = number // share, number % share
        position = step * batch_size + index * share + rest
        image, mask = _read(pairs, _index_at(position, count, seed), bands)
        step_seed = tf.stack([tf.constant(seed, tf.int64), position])
        return augment(image, mask, tf.cast(step_seed, tf.int32))

    steps = total_steps - first_step
    passes = itertools.count()

    def numbers(_: Any) -> tf.data.Dataset:
        # Keras's `fit` starts a new iteration in every epoch.
        passed = tf.numpy_function(lambda: next(passes), [], tf.int64)
        first = (first_step + tf.ensure_shape(passed, ()) * steps) * share
        return tf.data.Dataset.range(first, first + steps * share)

    samples = tf.data.Dataset.range(1).flat_map(numbers)
    samples = samples.apply(
        tf.data.experimental.assert_cardinality(steps * share)
    ).map(sample, num_parallel_calls=_PARALLEL_CALLS, deterministic=True)
    options = tf.data.Options()
    # Everything is set explicitly. Autotuning would start with one call at a
    # time, and delay the end of the data until its next update.
    options.autotune.enabled = False
    return (
        samples.batch(batch_size // parts, drop_remainder=True)
        .prefetch(2)
        .with_options(options)
    )


def batch_indices(
    count: int, batch_size: int, seed: int, step: int
) -> np.ndarray:
    """Returns which pairs are in a batch of `training_dataset`.

    Args:
        count: Number of pairs.
        batch_size: Number of pairs in a global batch.
        seed: Seed of the order and the augmentation.
        step: Number of the batch, counted from 0.

    Returns:
        Their indices in the order of the batch, int64 (batch_size,).

    Examples:
        >>> from keras_pspnet.data.pipeline import batch_indices
        >>> indices = batch_indices(count=4, batch_size=4, seed=0, step=0)
        >>> sorted(indices.tolist())
        [0, 1, 2, 3]
    """
    first = step * batch_size
    positions = tf.range(first, first + batch_size, dtype=tf.int64)
    # TensorFlow would pad a vector of seeds on the wrong side.
    found = [_index_at(position, count, seed) for position in positions]
    return np.array(found, np.int64)


@tf.autograph.experimental.do_not_convert
def _read(pairs: Pairs, index: Any, bands: int) -> tuple[Any, Any]:
    # Images of other bands may have a different dtype in every file.
    dtype = tf.uint8 if bands == RGB else tf.float32

    def pair(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image, mask = pairs[int(index)]
        if bands != RGB:
            image = image.astype(np.float32, copy=False)
        return image, mask

    image, mask = tf.numpy_function(pair, [index], (dtype, tf.uint8))
    image = tf.ensure_shape(image, (None, None, bands))
    return image, tf.ensure_shape(mask, (None, None))


@tf.autograph.experimental.do_not_convert
def _index_at(position: Any, count: int, seed: int) -> Any:
    """Returns the index of the pair at a position of the run, both int64."""
    epoch, place = position // count, position % count
    order_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
    return tf.random.experimental.index_shuffle(
        place,
        tf.cast(order_seed, tf.int32),
        tf.constant(count - 1, tf.int64),
    )
