"""Trains the scenes with and without the pyramid, and draws what both see.

    python docs/drawings/pyramid.py runs/pyramid

writes `pyramid.png`, predictions of both, and `reach.png`, the part of the
image that decides one pixel of theirs. Some minutes on two cores.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

import keras_pspnet as kp
from keras_pspnet.data.synthetic.scenes import make_scene
from keras_pspnet.inference.segment import predict_masks
from keras_pspnet.labels import SCENES
from keras_pspnet.training.recipe import Recipe
from keras_pspnet.training.run import MODEL_FOLDER, train
from keras_pspnet.visualization.colors import colorize
from training.ablation.study import RECIPE

HERE = Path(__file__).parent
RUNS = {
    "without pyramid": dataclasses.replace(RECIPE, bin_sizes=(), seed=3),
    "with pyramid": dataclasses.replace(RECIPE, seed=3),
}
# Scenes that neither run was trained or scored on.
FIRST, COUNT, ROWS = 10_000, 60, 5
CELL, GAP, HEAD = (384, 96), 8, 34


def main() -> None:
    """Trains what is missing, and draws both sheets."""
    folder = Path(sys.argv[1])
    models = {
        name: trained(run, folder / name.replace(" ", "_"))
        for name, run in RUNS.items()
    }
    pairs = [make_scene(3, FIRST + i, RECIPE.crop) for i in range(COUNT)]
    images = np.stack([image for image, _ in pairs])
    masks = {
        name: predict_masks(model, images) for name, model in models.items()
    }
    # Scenes with an object that only the far side tells; not chosen by what
    # the networks make of them.
    rows = [i for i, (_, mask) in enumerate(pairs) if has_object(mask)][:ROWS]
    cells = [
        [
            images[i],
            colorize(pairs[i][1], SCENES),
            *(colorize(mask[i], SCENES) for mask in masks.values()),
        ]
        for i in rows
    ]
    sheet(["image", "ground truth", *masks], cells).save(HERE / "pyramid.png")
    height, width = RECIPE.crop
    places = [(height // 4, width * k // 8) for k in (1, 4, 7)]
    cells = [
        [reach(model, images, at) for model in models.values()] for at in places
    ]
    sheet(list(models), cells).save(HERE / "reach.png")


def trained(run: Recipe, folder: Path) -> kp.PSPNet:
    """Returns the network of a run, which is made if it is not there."""
    if not (folder / MODEL_FOLDER).exists():
        train(run, folder, verbose=0)
    return kp.load_pretrained(folder / MODEL_FOLDER)


def has_object(mask: np.ndarray) -> bool:
    """Tells whether there is something whose class the far side decides."""
    classes = map(SCENES.names.index, ("car", "boat", "building", "skyscraper"))
    return bool(np.isin(mask, list(classes)).any())


def reach(
    model: kp.PSPNet, images: np.ndarray, at: tuple[int, int]
) -> np.ndarray:
    """Returns how much each pixel moves the winning logit at a place.

    The mean over all images and over squares of 4 x 4 pixels, as the root of
    its share of the greatest; with a cross at the place.
    """
    pixels = tf.convert_to_tensor(images, tf.float32)
    row, column = at
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        wins = tf.reduce_max(model(pixels)[:, row, column], axis=-1)
    strength = np.abs(tape.gradient(wins, pixels).numpy()).mean((0, 3))
    height, width = strength.shape
    squares = strength.reshape(height // 4, 4, width // 4, 4).mean((1, 3))
    level = np.sqrt(squares / squares.max()).repeat(4, 0).repeat(4, 1)
    dark, bright = np.array([16, 24, 40]), np.array([255, 196, 90])
    image = (dark + level[..., None] * (bright - dark)).astype(np.uint8)
    image[row, max(0, column - 4) : column + 5] = 255, 255, 255
    image[max(0, row - 4) : row + 5, column] = 255, 255, 255
    return image


def sheet(titles: list[str], rows: list[list[np.ndarray]]) -> Image.Image:
    """Lays out rows of images below the titles of their columns."""
    width, height = CELL
    page = Image.new(
        "RGB",
        (
            len(titles) * (width + GAP) - GAP,
            HEAD + len(rows) * (height + GAP) - GAP,
        ),
        (250, 250, 250),
    )
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(24)
    for column, title in enumerate(titles):
        draw.text((column * (width + GAP) + 4, 2), title, (29, 42, 51), font)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            place = column * (width + GAP), HEAD + row * (height + GAP)
            small = Image.fromarray(cell)
            page.paste(small.resize(CELL, Image.Resampling.NEAREST), place)
    return page


if __name__ == "__main__":
    main()
