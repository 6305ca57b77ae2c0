"""A recipe for the user's own data: `keras-pspnet train --data-dir`."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_pspnet.data import (
    DATASETS,
    RGB,
    SegmentationData,
    SplitError,
    band_statistics,
    class_counts,
    divide,
    load,
)
from keras_pspnet.data.images import image_size
from keras_pspnet.models import PSPNet
from keras_pspnet.models.class_weights import BALANCED, balanced_factors
from keras_pspnet.models.named_backbone import IMAGENET_MEAN, IMAGENET_STD
from keras_pspnet.pretrained import NETWORK, config_of
from keras_pspnet.training.memory import free_bytes, step_bytes
from keras_pspnet.training.recipe import Recipe
from keras_pspnet.utils import check_integer, check_rule, is_number

# Usual names of the split to train on, and of the one to score on.
TRAIN_SPLITS = ("train", "training", "trainval")
VAL_SPLITS = ("val", "valid", "validation", "test")
# The paper's values on PASCAL VOC.
_MOST_CROP = 473
_BATCH = 16
_RATE = 0.01
# Least number of steps in an epoch, since each ends with a checkpoint.
_LEAST_STEPS = 20
# Number of images whose size is read.
_MEASURED = 200


def recipe_for_data(
    folder: str | os.PathLike[str],
    start: str = "aerial",
    epochs: int = 40,
    *,
    loss: Mapping[str, float] | None = None,
    class_weight: str | None = None,
    val_share: float = 0.2,
    bands: int = RGB,
    batch_size: int | None = None,
    seed: int = 0,
) -> Recipe:
    """Makes a recipe that fits a folder of data and this machine.

    The recipe has the classes of the data. It trains and validates on the
    splits of the data, or draws a share of the images to validate on. Crops
    have the median size of the images, at most 473x473; a batch holds as many
    crops as fit into memory, at most 16.

    Args:
        folder: The data, in any form that `keras_pspnet.data.load` reads, or
            the unpacked folder of a published set.
        start: The trained model to start from, see `load_pretrained`.
        epochs: Number of times that the run sees each image.
        loss: See `Recipe`.
        class_weight: `"balanced"` gives each class the same share of the loss;
            None weights all pixels equally.
        val_share: Share of the images to score on, if the data has no split
            for that.
        bands: Bands of the images.
        batch_size: Crops in a batch; None takes as many as fit.
        seed: Seed of the run, and of the draw.

    Returns:
        The recipe.

    Raises:
        OSError: If data cannot be read, or the model cannot be loaded.
        ValueError: If the data does not fit, a class occurs only in the
            validation split, or the model's backbone is not supported.
    """
    epochs = check_integer("epochs", epochs)
    rule = f"be {BALANCED!r} or None"
    check_rule(
        "class_weight", class_weight, rule, class_weight in (BALANCED, None)
    )
    rule = "be a number between 0 and 1"
    fits = is_number(val_share, 0, True) and val_share < 1
    check_rule("val_share", val_share, rule, fits)
    folder = Path(folder)
    source, splits = _find(folder, bands)
    data = _load(source, splits[0], folder, bands)
    train = data
    if splits[1] is None:
        train, _ = divide(data, val_share, seed)
    rule = "hold at least two training images"
    check_rule("data", len(train), rule, len(train) > 1)
    if splits[1] is not None:
        # `divide` leaves every class a training image.
        val = _load(source, splits[1], folder, bands)
        _check_classes(train, val)
    trained = config_of(start)
    known = (trained["labels"] or {}).get("names", ())
    is_same = tuple(known) == data.labels.names
    name = folder.resolve().name
    batch = check_integer("batch_size", batch_size or _BATCH, least=2)
    options: dict[str, Any] = {
        "name": name,
        "labels": data.labels,
        "data": source,
        "train_split": splits[0],
        "val_split": splits[1],
        "val_share": val_share if splits[1] is None else None,
        "bands": bands,
        "crop": _crop(train),
        "learning_rate": _RATE,
        # semseg's factor for new layers, such as a classifier for new classes.
        "head_lr_multiplier": 1.0 if is_same else 10.0,
        "start_from": start,
        "loss": loss,
        "rotate": 10.0,
        "blur_probability": 0.5,
        "seed": seed,
        **_as_fields(trained, train),
    }
    if class_weight:
        counts = class_counts(train).sum(0)
        options["class_weight"] = balanced_factors(counts)
    recipe = Recipe(**options, batch_size=2, steps=1, steps_per_epoch=1)
    if batch_size is None:
        batch = _fitting(recipe, min(batch, len(train)))
    steps, steps_per_epoch = _lengths(math.ceil(len(train) / batch), epochs)
    return Recipe(
        **options
        | {
            "batch_size": batch,
            "steps": steps,
            "steps_per_epoch": steps_per_epoch,
            # The same progress per image for every batch size.
            "learning_rate": _RATE * min(1.0, batch / _BATCH),
        }
    )


def own_sets_to_check(
    folder: str | os.PathLike[str], bands: int = RGB
) -> list[SegmentationData]:
    """Loads the sets in a folder with all their issues, the training set first.

    Args:
        folder: See `recipe_for_data`.
        bands: Bands of the images.

    Returns:
        One set for each split, for `keras_pspnet.data.check`.

    Raises:
        OSError: If the folder or its lists cannot be read.
        ValueError: If the data has no split to train on.
    """
    folder = Path(folder)
    source, (train, val) = _find(folder, bands)
    splits = [train] if val is None else [train, val]
    return [_load(source, each, folder, bands, strict=False) for each in splits]


def _find(
    folder: Path, bands: int
) -> tuple[str | None, tuple[str | None, str | None]]:
    """Returns the published set in a folder, or None, and its two splits."""
    try:
        try:
            load(folder, strict=False, bands=bands)
        except SplitError as error:
            splits = _choose(error.splits, folder)
            load(folder, splits[0], strict=False, bands=bands)
            return None, splits
    except FileNotFoundError:
        for name in DATASETS:
            with contextlib.suppress(OSError, ValueError):
                if len(load(name, "train", folder)) and len(
                    load(name, "val", folder)
                ):
                    return name, ("train", "val")
        raise
    return None, (None, None)


def _choose(splits: tuple[str, ...], folder: Path) -> tuple[str, str | None]:
    """Chooses the splits to train on and to score on by name."""
    names = {split.lower(): split for split in splits}
    found = [
        next((names[each] for each in known if each in names), None)
        for known in (TRAIN_SPLITS, VAL_SPLITS)
    ]
    if found[0] is None:
        raise ValueError(
            f"`data` must have a split called {', '.join(TRAIN_SPLITS)}, or "
            f"none. Received: splits {', '.join(splits)} in {str(folder)!r}"
        )
    return found[0], found[1]


def _load(
    source: str | None,
    split: str | None,
    folder: Path,
    bands: int,
    strict: bool = True,
) -> SegmentationData:
    place = (folder, split) if source is None else (source, split, folder)
    return load(*place, bands=bands, strict=strict)


def _check_classes(train: SegmentationData, val: SegmentationData) -> None:
    """Refuses validation images with a class that training images lack."""
    counts = (class_counts(each).sum(0) for each in (train, val))
    for name, trained, scored in zip(train.labels.names, *counts, strict=True):
        if scored and not trained:
            raise ValueError(
                "`data` must show every class of the validation images in the "
                f"training images too. Received: class {name!r} in "
                "validation images only"
            )


def _crop(data: SegmentationData) -> tuple[int, int]:
    step = max(1, len(data) // _MEASURED)
    sizes = [image_size(sample.image) for sample in data.samples[::step]]
    width, height = (
        min(_MOST_CROP, round(statistics.median(sides)))
        for sides in zip(*sizes, strict=True)
    )
    return height, width


def _as_fields(
    network: Mapping[str, Any], data: SegmentationData
) -> dict[str, Any]:
    """Converts a network's config to the fields of a recipe."""
    parameters = inspect.signature(PSPNet).parameters
    mean = tuple(network["mean"] or IMAGENET_MEAN)
    std = tuple(network["std"] or IMAGENET_STD)
    own: dict[str, Any] = {}
    if (mean, std) != (IMAGENET_MEAN, IMAGENET_STD):
        own = {"mean": mean, "std": std}
    if len(mean) != data.bands:
        measured = band_statistics(data)
        own = {"mean": measured.mean, "std": measured.std}
    fields = {}
    for name in ("backbone", "width", "bin_sizes", "pooling", "reduce"):
        value = network[name]
        fields[name] = tuple(value) if isinstance(value, list) else value
    rest = {
        name: value
        for name, value in network.items()
        if name in NETWORK
        and name not in fields
        and value != parameters[name].default
    }
    return {**fields, "network": {**rest, **own}}


def _fitting(recipe: Recipe, most: int) -> int:
    """Halves the batch until a step fits into memory."""
    model = dataclasses.replace(recipe, start_from=None).model()
    each, room = step_bytes(model, recipe.crop), free_bytes()
    while most > 2 and most * each > room:
        most //= 2
    return max(2, most)


def _lengths(steps_of_pass: int, passes: int) -> tuple[int, int]:
    """Returns the steps of the run, and of one of its epochs."""
    total = steps_of_pass * passes
    epochs = max(1, min(passes, total // _LEAST_STEPS))
    per_epoch = math.ceil(total / epochs)
    return epochs * per_epoch, per_epoch
