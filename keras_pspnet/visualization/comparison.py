"""Sheets of images, their ground truth, predictions and errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pspnet.labels import LabelSet
from keras_pspnet.visualization.checks import (
    check_image,
    check_mask,
    check_same_size,
)
from keras_pspnet.visualization.colors import IGNORED, WRONG, colorize
from keras_pspnet.visualization.legend import (
    PAPER,
    TEXT,
    legend,
    shorten,
    stack,
    text_size,
)

_TITLES = ("image", "ground truth", "prediction", "error")
_GAP = 8
_CELL = 320


def comparison_sheet(
    images: Sequence[np.ndarray] | np.ndarray,
    ground_truths: Sequence[np.ndarray] | np.ndarray,
    predictions: Sequence[np.ndarray] | np.ndarray,
    labels: LabelSet,
) -> Image.Image:
    """Lays out rows of image, ground truth, prediction and error.

    The error shows wrong pixels in one strong colour on the dimmed image, and
    ignored pixels black. A legend follows the rows.

    Args:
        images: Images, each uint8 of shape `(H, W, 3)`; sizes may differ,
            and the first one sets the shape of the cells.
        ground_truths: One integer mask `(H, W)` per image; ignored pixels
            are black.
        predictions: One integer mask `(H, W)` per image.
        labels: Classes and colours.

    Returns:
        An RGB image.

    Raises:
        TypeError: If an array has another dtype.
        ValueError: If there are no images, the counts differ, or a mask has
            another size than its image or a value unknown to `labels`.
    """
    counts = len(images), len(ground_truths), len(predictions)
    if not counts[0] or len(set(counts)) > 1:
        raise ValueError(
            "`images`, `ground_truths` and `predictions` must have the same "
            "number of entries, at least one. Received: {} images, {} masks, "
            "{} predictions".format(*counts)
        )
    check_image(images[0])
    height, width = images[0].shape[:2]
    cell = _CELL, min(max(round(_CELL * height / width), 60), 2 * _CELL)
    rows = [
        _row(*arrays, labels, cell)
        for arrays in zip(images, ground_truths, predictions, strict=True)
    ]
    masks = *ground_truths, *predictions
    present = {each for mask in masks for each in np.unique(mask).tolist()}
    entries = [
        (shorten(labels.names[index]), labels.colors[index])
        for index in sorted(present - {labels.ignore_label})
    ]
    if labels.ignore_label in present:
        entries.append(("ignored", IGNORED))
    entries.append(("wrong", WRONG))
    width = rows[0].width
    return stack([_titles(width), *rows, legend(entries, width)], width)


def _titles(width: int) -> Image.Image:
    size = text_size(width)
    image = Image.new("RGB", (width, 2 * size), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for column, title in enumerate(_TITLES):
        center = (2 * column + 1) * width / (2 * len(_TITLES)), size
        draw.text(center, title, TEXT, font, "mm")
    return image


def _row(
    image: np.ndarray,
    ground_truth: np.ndarray,
    prediction: np.ndarray,
    labels: LabelSet,
    cell: tuple[int, int],
) -> Image.Image:
    """Draws an image, its masks and the error, each to fit into a cell."""
    check_image(image)
    shown = {"ground_truths": ground_truth, "predictions": prediction}
    for name, mask in shown.items():
        check_mask(mask, labels, name)
        check_same_size(image, mask, name)
    height, width = ground_truth.shape
    scale = min(cell[0] / width, cell[1] / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    resized = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    image = np.asarray(resized)
    # Classes must not mix at the borders of objects.
    masks = [
        np.asarray(
            Image.fromarray(mask.astype(np.uint8)).resize(
                size, Image.Resampling.NEAREST
            )
        )
        for mask in (ground_truth, prediction)
    ]
    # Dimmed, and far from white and black, so that the others stand out.
    grey = resized.convert("L").point(lambda value: round(40 + 0.45 * value))
    error = np.array(grey.convert("RGB"))
    error[masks[0] != masks[1]] = WRONG
    error[masks[0] == labels.ignore_label] = IGNORED
    panels = image, *(colorize(mask, labels) for mask in masks), error
    pitch = cell[0] + _GAP
    row = Image.new("RGB", (4 * pitch + _GAP, cell[1] + _GAP), PAPER)
    top = (cell[1] - size[1]) // 2
    for column, panel in enumerate(panels):
        left = _GAP + column * pitch + (cell[0] - size[0]) // 2
        row.paste(Image.fromarray(panel), (left, top))
    return row
