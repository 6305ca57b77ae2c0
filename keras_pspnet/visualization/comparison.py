"""Sheets of images with ground truth, predictions and errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pspnet.labels import Color, LabelSet
from keras_pspnet.utils import check_rule
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
from keras_pspnet.visualization.segmentation import Segmentation

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

    The error panel shows wrong pixels in one strong color on the dimmed
    image, and ignored pixels in black. A legend follows the rows.

    Args:
        images: Images, each uint8 of shape `(H, W, 3)`. Sizes may differ;
            the first image sets the shape of the cells.
        ground_truths: One integer mask `(H, W)` per image; ignored pixels
            are black.
        predictions: One integer mask `(H, W)` per image.
        labels: Classes and colors.

    Returns:
        An RGB image.

    Raises:
        TypeError: If an array has another dtype.
        ValueError: If there are no images, the counts differ, or a mask has
            another size than its image or a value that `labels` lacks.
    """
    counts = len(images), len(ground_truths), len(predictions)
    if not counts[0] or len(set(counts)) > 1:
        raise ValueError(
            "`images`, `ground_truths` and `predictions` must have the same "
            "number of entries, at least one. Received: {} images, {} masks, "
            "{} predictions".format(*counts)
        )
    cell = _cell(images[0])
    rows = [
        _row(*arrays, labels, cell)
        for arrays in zip(images, ground_truths, predictions, strict=True)
    ]
    masks = *ground_truths, *predictions
    entries = _entries(masks, labels)
    entries.append(("wrong", WRONG))
    width = rows[0].width
    top = _titles(_TITLES, width)
    return stack([top, *rows, legend(entries, width)], width)


def overlay_sheet(
    segmentations: Sequence[Segmentation],
) -> Image.Image:
    """Lays out images beside overlays of their masks, two pairs per row.

    Args:
        segmentations: One or more images and masks of the same label set. The
            first sets the shape of the cells.

    Returns:
        An RGB image.

    Raises:
        ValueError: If there are none.
    """
    rule = "hold at least one"
    check_rule("segmentations", segmentations, rule, len(segmentations) > 0)
    cell = _cell(segmentations[0].image)
    panels = [
        _fit(Image.fromarray(pixels), cell)
        for each in segmentations
        for pixels in (each.image, each.overlay())
    ]
    columns = min(len(panels), 4)
    rows = [
        _paste(panels[first : first + columns], cell, columns)
        for first in range(0, len(panels), columns)
    ]
    masks = [each.mask for each in segmentations]
    entries = _entries(masks, segmentations[0].labels)
    width = rows[0].width
    titles = ("image", "ground truth") * (columns // 2)
    top = _titles(titles, width)
    return stack([top, *rows, legend(entries, width)], width)


def _cell(image: np.ndarray) -> tuple[int, int]:
    """Returns the width and height of the cells, by the first image."""
    check_image(image)
    height, width = image.shape[:2]
    return _CELL, min(max(round(_CELL * height / width), 60), 2 * _CELL)


def _entries(
    masks: Sequence[np.ndarray], labels: LabelSet
) -> list[tuple[str, Color]]:
    """Returns the legend entries of the classes in the masks."""
    present = {each for mask in masks for each in np.unique(mask).tolist()}
    entries = [
        (shorten(labels.names[index]), labels.colors[index])
        for index in sorted(present - {labels.ignore_label})
    ]
    if labels.ignore_label in present:
        entries.append(("ignored", IGNORED))
    return entries


def _titles(titles: Sequence[str], width: int) -> Image.Image:
    size = text_size(width)
    image = Image.new("RGB", (width, 2 * size), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for column, title in enumerate(titles):
        center = (2 * column + 1) * width / (2 * len(titles)), size
        draw.text(center, title, TEXT, font, "mm")
    return image


def _fit(
    image: Image.Image,
    cell: tuple[int, int],
    how: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """Resizes an image to fit into a cell; tiny ones keep their pixels."""
    scale = min(cell[0] / image.width, cell[1] / image.height)
    if scale > 1:
        how = Image.Resampling.NEAREST
    width, height = (max(round(side * scale), 1) for side in image.size)
    return image.resize((width, height), how)


def _paste(
    panels: Sequence[Image.Image], cell: tuple[int, int], columns: int
) -> Image.Image:
    """Puts panels side by side, each centered in its cell."""
    pitch = cell[0] + _GAP
    row = Image.new("RGB", (columns * pitch + _GAP, cell[1] + _GAP), PAPER)
    for column, panel in enumerate(panels):
        left = _GAP + column * pitch + (cell[0] - panel.width) // 2
        row.paste(panel, (left, (cell[1] - panel.height) // 2))
    return row


def _row(
    image: np.ndarray,
    ground_truth: np.ndarray,
    prediction: np.ndarray,
    labels: LabelSet,
    cell: tuple[int, int],
) -> Image.Image:
    """Draws an image, its masks and the error, each fitted into a cell."""
    check_image(image)
    shown = {"ground_truths": ground_truth, "predictions": prediction}
    for name, mask in shown.items():
        check_mask(mask, labels, name)
        check_same_size(image, mask, name)
    resized = _fit(Image.fromarray(image), cell)
    # Do not mix classes at the borders of objects.
    masks = [
        np.asarray(
            _fit(
                Image.fromarray(mask.astype(np.uint8)),
                cell,
                Image.Resampling.NEAREST,
            )
        )
        for mask in (ground_truth, prediction)
    ]
    # Dimmed, and far from white and black, so that errors stand out.
    gray = resized.convert("L").point(lambda value: round(40 + 0.45 * value))
    error = np.array(gray.convert("RGB"))
    error[masks[0] != masks[1]] = WRONG
    error[masks[0] == labels.ignore_label] = IGNORED
    drawn = (*(colorize(mask, labels) for mask in masks), error)
    panels = [resized, *map(Image.fromarray, drawn)]
    return _paste(panels, cell, len(panels))
