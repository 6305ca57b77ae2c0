"""From a folder of pictures and masks to batches, in a reproducible order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_pspnet.data.augment import Augmentation
from keras_pspnet.data.decode import read_class_mask, read_pair
from keras_pspnet.losses import IGNORE_LABEL

Pair = tuple[str, str]


class Pairs(Protocol):
    """Anything that gives (image, mask) arrays by index, as a list does."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray]: ...


class PairReader:
    """Reads (image, mask) files by index and keeps what fits in memory.

    Args:
        pairs: Paths of image and mask.
        num_classes: Number of classes C; other labels than 0..C-1 and the
            ignore label raise a ValueError that names the file.
        ignore_label: Label that marks pixels without truth.
        cache_bytes: Decoded pictures are kept up to this many bytes.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        num_classes: int,
        ignore_label: int = IGNORE_LABEL,
        cache_bytes: int = 2**31,
    ) -> None:
        if not pairs:
            raise ValueError("`pairs` must not be empty. Received: pairs=[]")
        self.pairs = list(pairs)
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self._room = cache_bytes
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one pair: uint8 image (H, W, 3) and uint8 mask (H, W)."""
        if index in self._kept:
            return self._kept[index]
        image, mask = read_pair(
            *self.pairs[index], self.num_classes, self.ignore_label
        )
        size = image.nbytes + mask.nbytes
        if size <= self._room:
            self._room -= size
            self._kept[index] = image, mask
        return image, mask

    def check_labels(self) -> None:
        """Reads every mask, to find a wrong label before long work starts.

        Raises:
            OSError: If a mask cannot be opened.
            ValueError: If a mask cannot be decoded, or a label is neither
                within 0..C-1 nor the ignore label.
        """
        for _, mask in self.pairs:
            read_class_mask(mask, self.num_classes, self.ignore_label)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))


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
        pairs: uint8 images (H, W, 3) and masks (H, W), as `PairReader`.
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
