"""From a folder of pictures and masks to batches, in a reproducible order."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_pspnet.data.augment import Augmentation


class Pairs(Protocol):
    """Anything that gives (image, mask) arrays by index, as a list does."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray]: ...


def training_dataset(
    pairs: Pairs,
    augment: Augmentation,
    batch_size: int,
    total_steps: int,
    seed: int = 0,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Makes the batches of a training run.

    The order of the pictures and every random change are pure functions of
    (seed, epoch, index): a run that starts at step k sees what an
    uninterrupted run sees from step k on, with any number of threads.

    Args:
        pairs: uint8 images (H, W, 3) and masks (H, W), as
            `keras_pspnet.data.load` gives them.
        augment: Makes every pair the same size, from a seed.
        batch_size: Pairs in a global batch.
        total_steps: Batches of the whole run.
        seed: Seed of order and changes.
        first_step: Batches that an earlier part of the run has seen.

    Returns:
        Data set of total_steps - first_step batches: images (B, H, W, 3)
        float32 in 0..255 and masks (B, H, W) uint8.
    """
    count = len(pairs)

    def load(index: Any) -> tuple[Any, Any]:
        image, mask = tf.numpy_function(
            lambda i: pairs[int(i)], [index], (tf.uint8, tf.uint8)
        )
        image = tf.ensure_shape(image, (None, None, 3))
        mask = tf.ensure_shape(mask, (None, None))
        return tf.cast(image, tf.float32), mask

    def sample(position: Any) -> tuple[Any, Any]:
        epoch, place = position // count, position % count
        order_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
        index = tf.random.experimental.index_shuffle(
            place,
            tf.cast(order_seed, tf.int32),
            tf.constant(count - 1, tf.int64),
        )
        image, mask = load(index)
        step_seed = tf.stack([tf.constant(seed, tf.int64), position])
        return augment(image, mask, tf.cast(step_seed, tf.int32))

    positions = tf.data.Dataset.range(
        first_step * batch_size, total_steps * batch_size
    )
    return (
        positions.map(sample, num_parallel_calls=2, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(2)
    )
