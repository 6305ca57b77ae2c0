"""A run of four steps, and its results."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support import picture

import keras_pspnet.recipes as recipe_files
from keras_pspnet import PSPNet
from keras_pspnet.training import checkpoints
from keras_pspnet.training.checkpoints import SaveCheckpoints
from keras_pspnet.training.recipe import Recipe

SMOKE = dataclasses.replace(
    recipe_files.load_recipe("scenes").smoke_test(), steps=4, steps_per_epoch=2
)


def last(output: Path) -> checkpoints.Checkpoint:
    found = checkpoints.newest(output / "checkpoints")
    assert found is not None
    return found


def weights_of(output: Path) -> dict[str, np.ndarray]:
    """Returns the weights of the last checkpoint by path."""
    return {
        name.removeprefix("model/"): array
        for name, array in last(output).tensors.items()
        if name.startswith("model/") and "seed_generator" not in name
    }


def write_folder(folder: Path, train: int = 3, val: int = 2) -> Path:
    """Writes images of odd sizes, and masks that follow their brightness."""
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for k in range(count):
            image = picture(50 + k, 71)
            mask = (image.mean(-1) // 52).astype("uint8")
            mask[:3] = 255
            for kind, array in (("images", image), ("masks", mask)):
                path = folder / split / kind / f"{k}.png"
                Image.fromarray(array).save(path)
    return folder


def write_camvid(folder: Path) -> Path:
    """Writes a train and a val pair of SegNet's CamVid; 11 is ignored."""
    for split in ("train", "val"):
        for suffix in ("", "annot"):
            (folder / f"{split}{suffix}").mkdir(parents=True)
        image = picture(50, 71)
        mask = (image.mean(-1) // 24).clip(0, 11).astype("uint8")
        mask[:3] = 11
        Image.fromarray(image).save(folder / split / "a.jpg")
        Image.fromarray(mask).save(folder / f"{split}annot" / "a.png")
    return folder


def small_network(recipe: Recipe) -> PSPNet:
    """Returns a network without a pyramid."""
    return PSPNet(
        recipe.labels.num_classes,
        "resnet18",
        (*recipe.crop, recipe.bands),
        width=recipe.width,
        bin_sizes=(),
        labels=recipe.labels,
        **recipe.network,
    )


class Interrupted(SaveCheckpoints):
    """Presses Ctrl-C as soon as there is a checkpoint."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        raise KeyboardInterrupt
