"""The data of a run: procedural scenes, or images on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_pspnet.data import (
    DATASETS,
    Issue,
    SegmentationData,
    check,
    check_label_file,
    divide,
    load,
    scene_arrays,
)
from keras_pspnet.data.pipeline import batch_indices, training_dataset
from keras_pspnet.training.recipe import Recipe
from keras_pspnet.utils import check_rule
from keras_pspnet.visualization import Segmentation

# Largest cache of the decoded images of a split.
_CACHE_BYTES = 2**31
_VALIDATION_BATCH = 16
# Number of validation images to draw with their predictions.
_SAMPLES = 6


@dataclasses.dataclass(frozen=True)
class RunData:
    """The training and validation pairs of a run.

    Args:
        recipe: The run.
        pairs: Training images and masks by index.
        identity: Text that identifies these training images.
        validation: The validation set, as `evaluate` takes it.
        samples: A few validation images with their masks.
        names: Function that maps indices to the names of training images.
    """

    recipe: Recipe
    pairs: Any
    identity: str
    validation: Any
    samples: Sequence[tuple[np.ndarray, np.ndarray]]
    names: Callable[[list[int]], str]

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
        return self.names(indices.tolist())


def _scene_data(recipe: Recipe, train: int, val: int) -> RunData:
    """Returns procedural scenes."""
    pairs = zip(*scene_arrays(0, train, recipe.crop, recipe.seed), strict=True)
    # Scenes of other indices, so training never sees them.
    images, masks = scene_arrays(train, val, recipe.crop, recipe.seed)
    batches = [
        slice(k, k + _VALIDATION_BATCH)
        for k in range(0, val, _VALIDATION_BATCH)
    ]
    return RunData(
        # Scenes have the size of the crops.
        dataclasses.replace(recipe, scales=None),
        list(pairs),
        f"{train} scenes",
        [(images[each], masks[each]) for each in batches],
        list(zip(images[:_SAMPLES], masks[:_SAMPLES], strict=True)),
        lambda indices: f"the scenes {', '.join(map(str, indices))}",
    )


def _folder_data(recipe: Recipe, folder: Path) -> RunData:
    """Returns images and masks on disk."""
    pairs = _load(recipe, recipe.train_split, folder)
    if recipe.val_share is None:
        val = _load(recipe, recipe.val_split, folder)
    else:
        pairs, val = divide(pairs, recipe.val_share, recipe.seed)
    if recipe.val_images is not None:
        del val.samples[recipe.val_images :]
    # Training pairs are checked as they are read; these would only be read
    # after the first epochs.
    val.check_pairs()
    paths = [pairs.files(index)[0] for index in range(len(pairs))]
    # By name: the order of a run depends on it, and the folder may move.
    names = "\n".join(Path(path).name for path in paths)
    digest = hashlib.sha256(names.encode()).hexdigest()
    shown = range(0, len(val), max(1, len(val) // _SAMPLES))
    return RunData(
        recipe,
        pairs,
        f"{len(pairs)} images, names {digest[:16]}",
        val,
        [val[index] for index in shown[:_SAMPLES]],
        lambda indices: ", ".join(paths[index] for index in indices),
    )


def open_data(recipe: Recipe, data: str | os.PathLike[str] | None) -> RunData:
    """Opens the training and validation data of a recipe.

    Args:
        recipe: The run.
        data: Folder of the data; None for recipes that generate their own.

    Returns:
        The pairs.

    Raises:
        OSError: If data cannot be read.
        ValueError: If the data does not fit.
    """
    if recipe.scenes is not None:
        return _scene_data(recipe, *recipe.scenes)
    return _folder_data(recipe, _data_folder(recipe, data))


def check_data(
    recipe: Recipe, data: str | os.PathLike[str] | None
) -> list[Issue]:
    """Lists the issues in the data of a recipe.

    Args:
        recipe: The run.
        data: Folder of the data.

    Returns:
        The issues of both splits, see `keras_pspnet.data.check`.

    Raises:
        OSError: If a folder or list is missing or cannot be read.
        ValueError: If the recipe generates its own data, or `data` is None.
    """
    return [
        issue for each in sets_to_check(recipe, data) for issue in check(each)
    ]


def sets_to_check(
    recipe: Recipe, data: str | os.PathLike[str] | None
) -> list[SegmentationData]:
    """Loads the sets of a recipe with all their issues, the training set first.

    Args:
        recipe: The run.
        data: Folder of the data.

    Returns:
        The sets, for `keras_pspnet.data.check`.

    Raises:
        OSError: If a folder or list is missing or cannot be read.
        ValueError: If the recipe generates its own data, or `data` is None.
    """
    rule = "read data from disk, or there is nothing to check"
    check_rule("recipe", recipe.name, rule, recipe.scenes is None)
    folder = _data_folder(recipe, data)
    return [
        _load(recipe, split, folder, strict=False) for split in _splits(recipe)
    ]


def first_overlays(data: SegmentationData, count: int) -> list[Segmentation]:
    """Reads the first readable images and their masks.

    Args:
        data: The images and masks.
        count: Largest number of images.

    Returns:
        The images and masks.
    """
    found: list[Segmentation] = []
    for index in range(len(data)):
        if len(found) == count:
            break
        # `check` reports the others.
        with contextlib.suppress(OSError, ValueError):
            found.append(Segmentation(*data[index], data.labels))
    return found


def _splits(recipe: Recipe) -> list[str | None]:
    splits = [recipe.train_split, recipe.val_split]
    return splits[:1] if recipe.val_share is not None else splits


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
    recipe: Recipe, split: str | None, folder: Path, strict: bool = True
) -> SegmentationData:
    options: dict[str, Any] = {"cache_bytes": _CACHE_BYTES, "strict": strict}
    options["bands"] = recipe.bands
    if recipe.data is None:
        check_label_file(recipe.labels, folder, split)
        return load(folder, split, labels=recipe.labels, **options)
    data = load(recipe.data, split, folder, **options)
    rule = f"be those of {recipe.data!r} for recipe {recipe.name!r}"
    kept = data.labels.names == recipe.labels.names
    check_rule("labels", recipe.labels.name, rule, kept)
    return data
