"""What a run trains and validates on: procedural scenes, or images on disk."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_pspnet.data import (
    DATASETS,
    Issue,
    SegmentationData,
    check,
    load,
    scene_arrays,
)
from keras_pspnet.data.pipeline import batch_indices, training_dataset
from keras_pspnet.training.recipe import Recipe

# Decoded images of a split are cached up to this.
_CACHE_BYTES = 2**31
_VALIDATION_BATCH = 16


class RunData(abc.ABC):
    """The training and validation pairs of a run.

    Args:
        recipe: The run.
        pairs: Training images and masks by index.
    """

    def __init__(self, recipe: Recipe, pairs: Any) -> None:
        self.recipe = recipe
        self.pairs = pairs

    def training_batches(
        self, first_step: int, parts: int = 1, shard: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """Returns the batches from a step on, see `training_dataset`."""
        return training_dataset(
            self.pairs,
            self.recipe.augmentation(),
            self.recipe.batch_size,
            self.recipe.steps,
            self.recipe.seed,
            first_step,
            parts,
            shard,
        )

    def batch(self, step: int) -> str:
        """Names the images of a batch."""
        indices = batch_indices(
            len(self.pairs), self.recipe.batch_size, self.recipe.seed, step
        )
        return self._names(indices.tolist())

    @abc.abstractmethod
    def _names(self, indices: list[int]) -> str: ...

    @abc.abstractmethod
    def identity(self) -> str:
        """Returns what tells these training images from others."""

    @abc.abstractmethod
    def validation(self) -> Any:
        """Returns the validation set, as `evaluate` takes it."""

    @abc.abstractmethod
    def samples(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields a few validation images with their masks."""


class SceneData(RunData):
    """Procedural scenes, as many as the recipe says."""

    def __init__(self, recipe: Recipe, counts: tuple[int, int]) -> None:
        train, val = counts
        images, masks = scene_arrays(0, train, recipe.crop, recipe.seed)
        # Scenes have the size of the crops.
        super().__init__(
            dataclasses.replace(recipe, scales=None),
            list(zip(images, masks, strict=True)),
        )
        # Scenes of other indices: never seen in training.
        self.val = scene_arrays(train, val, recipe.crop, recipe.seed)

    def _names(self, indices: list[int]) -> str:
        return f"the scenes {', '.join(map(str, indices))}"

    def identity(self) -> str:
        return f"{len(self.pairs)} scenes"

    def validation(self) -> list[tuple[np.ndarray, np.ndarray]]:
        images, masks = self.val
        return [
            (
                images[k : k + _VALIDATION_BATCH],
                masks[k : k + _VALIDATION_BATCH],
            )
            for k in range(0, len(images), _VALIDATION_BATCH)
        ]

    def samples(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.val[0][:count], self.val[1][:count], strict=True)


class FolderData(RunData):
    """Images and masks on disk."""

    pairs: SegmentationData

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        super().__init__(recipe, _load(recipe, recipe.train_split, folder))
        self.val = _load(recipe, recipe.val_split, folder)
        if recipe.val_images is not None:
            del self.val.samples[recipe.val_images :]
        # Training pairs are checked as they are read; these would be read
        # only after the first epochs.
        self.val.check_pairs()

    def _names(self, indices: Sequence[int]) -> str:
        return ", ".join(self.pairs.files(index)[0] for index in indices)

    def identity(self) -> str:
        # By name: the order of a run goes by it, and the folder may move.
        count = len(self.pairs)
        names = [Path(self.pairs.files(k)[0]).name for k in range(count)]
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        return f"{count} images, names {digest[:16]}"

    def validation(self) -> SegmentationData:
        return self.val

    def samples(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        step = max(1, len(self.val) // count)
        chosen = list(range(0, len(self.val), step))[:count]
        return (self.val[index] for index in chosen)


def open_data(recipe: Recipe, data: str | os.PathLike[str] | None) -> RunData:
    """Opens what a recipe trains and validates on.

    Args:
        recipe: The run.
        data: Folder of the data; None for recipes that make their own.

    Returns:
        The pairs.

    Raises:
        OSError: If data cannot be read.
        ValueError: If the data does not fit.
    """
    if recipe.scenes is not None:
        return SceneData(recipe, recipe.scenes)
    return FolderData(recipe, _data_folder(recipe, data))


def check_data(
    recipe: Recipe, data: str | os.PathLike[str] | None
) -> list[Issue]:
    """Lists what is wrong with the data of a recipe.

    Args:
        recipe: The run.
        data: Folder of the data.

    Returns:
        The issues of both splits, see `keras_pspnet.data.check`.

    Raises:
        OSError: If a folder or list is missing or cannot be read.
        ValueError: If the recipe makes its own data, or `data` is None.
    """
    if recipe.scenes is not None:
        raise ValueError(
            "`recipe` must be one that reads data, to check it. "
            f"Received: recipe={recipe.name!r}"
        )
    folder = _data_folder(recipe, data)
    return [
        issue
        for split in (recipe.train_split, recipe.val_split)
        for issue in check(_load(recipe, split, folder, strict=False))
    ]


def _data_folder(recipe: Recipe, data: str | os.PathLike[str] | None) -> Path:
    if data is None:
        wanted = "with train/images, train/masks, val/images and val/masks."
        if recipe.data is not None:
            published = DATASETS[recipe.data]
            wanted = f"with {published.expected}. {published.source}"
        raise ValueError(
            f"`data` must be a folder (--data-dir) for recipe {recipe.name!r}, "
            f"{wanted} Received: data=None"
        )
    return Path(data)


def _load(
    recipe: Recipe, split: str, folder: Path, strict: bool = True
) -> SegmentationData:
    if recipe.data is None:
        return load(
            folder,
            split,
            labels=recipe.labels,
            cache_bytes=_CACHE_BYTES,
            strict=strict,
        )
    data = load(
        recipe.data, split, folder, cache_bytes=_CACHE_BYTES, strict=strict
    )
    if data.labels.names != recipe.labels.names:
        raise ValueError(
            f"`labels` must be those of {recipe.data!r} for recipe "
            f"{recipe.name!r}. Received: labels={recipe.labels.name!r}"
        )
    return data
