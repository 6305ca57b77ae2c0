"""Sheets of images, their ground truth, predictions and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_pspnet.labels import LabelSet
from keras_pspnet.visualization.checks import (
    check_image,
    check_mask,
    check_same_size,
)
from keras_pspnet.visualization.colors import (
    CONTOUR,
    IGNORED,
    WRONG,
    class_colors,
    colorize,
    contour,
)
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
    max_rows: int = 8,
    colorblind: bool = False,
) -> Image.Image:
    """Lays out rows of image, ground truth, prediction and error.

    The error shows wrong pixels in one strong colour on the dimmed image, and
    ignored pixels black. Below it are the mean IoU over the classes in ground
    truth or prediction, and the share of right pixels, both of this image
    alone. A legend follows the rows.

    Args:
        images: Images, each uint8 of shape `(H, W, 3)`; sizes may differ,
            and the first one sets the shape of the cells.
        ground_truths: One integer mask `(H, W)` per image; ignored pixels
            are black.
        predictions: One integer mask `(H, W)` per image.
        labels: Classes and colours.
        max_rows: Show at most this many of the images, the first ones.
        colorblind: Whether to draw for colour-blind people: in the colours
            of `colorize` for them, with lines between the classes.

    Returns:
        An RGB image.

    Raises:
        TypeError: If an array has another dtype.
        ValueError: If there are no images, the counts differ, a mask has
            another size than its image or a value unknown to `labels`, or
            `max_rows` is not positive.
    """
    if max_rows < 1:
        raise ValueError(
            f"`max_rows` must be positive. Received: max_rows={max_rows}"
        )
    counts = len(images), len(ground_truths), len(predictions)
    if not counts[0] or len(set(counts)) > 1:
        raise ValueError(
            "`images`, `ground_truths` and `predictions` must have the same "
            "number of entries, at least one. Received: {} images, {} masks, "
            "{} predictions".format(*counts)
        )
    count = min(counts[0], max_rows)
    present: set[int] = set()
    for row in range(count):
        check_image(images[row])
        for name, mask in (
            ("ground_truths", ground_truths[row]),
            ("predictions", predictions[row]),
        ):
            check_mask(mask, labels, name)
            check_same_size(images[row], mask, name)
            present.update(np.unique(mask).tolist())
    height, width = images[0].shape[:2]
    cell = _CELL, min(max(round(_CELL * height / width), 60), 2 * _CELL)
    sheet = _Sheet(count, cell)
    for row in range(count):
        masks = ground_truths[row], predictions[row]
        panels = _panels(images[row], *masks, labels, cell, colorblind)
        sheet.add(row, panels, _scores(*masks, labels))
    colors = class_colors(labels, colorblind).tolist()
    entries = [
        (shorten(labels.names[index]), tuple(colors[index]))
        for index in sorted(present - {labels.ignore_label})
    ]
    if labels.ignore_label in present:
        entries.append(("ignored", IGNORED))
    entries.append(("wrong", WRONG))
    width = sheet.image.width
    return stack([sheet.image, legend(entries, width)], width)


class _Sheet:
    """Rows of panels in cells of one size, below a line of titles."""

    def __init__(self, rows: int, cell: tuple[int, int]) -> None:
        self._cell = cell
        width = len(_TITLES) * (cell[0] + _GAP) + _GAP
        size = text_size(width)
        self._font = ImageFont.load_default(round(0.7 * size))
        self._top, self._pitch = 2 * size, cell[1] + size + _GAP
        height = self._top + rows * self._pitch
        self.image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self.image)
        font = ImageFont.load_default(size)
        for column, title in enumerate(_TITLES):
            self._write(column, size, title, font)

    def add(
        self, row: int, panels: Sequence[Image.Image], caption: str
    ) -> None:
        top = self._top + row * self._pitch
        for column, panel in enumerate(panels):
            left = _GAP + column * (self._cell[0] + _GAP)
            left += (self._cell[0] - panel.width) // 2
            middle = top + (self._cell[1] - panel.height) // 2
            self.image.paste(panel, (left, middle))
        below = top + self._cell[1] + self._font.size
        self._write(len(panels) - 1, below, caption, self._font)

    def _write(self, column: int, middle: float, text: str, font: Any) -> None:
        center = _GAP + column * (self._cell[0] + _GAP) + self._cell[0] / 2
        self._draw.text((center, middle), text, TEXT, font, "mm")


def _panels(
    image: np.ndarray,
    ground_truth: np.ndarray,
    prediction: np.ndarray,
    labels: LabelSet,
    cell: tuple[int, int],
    colorblind: bool,
) -> list[Image.Image]:
    """Draws the images of one row, each to fit into a cell."""
    height, width = ground_truth.shape
    scale = min(cell[0] / width, cell[1] / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    shown = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    # Classes must not mix at the borders of objects.
    masks = [
        np.asarray(
            Image.fromarray(mask.astype(np.uint8)).resize(
                size, Image.Resampling.NEAREST
            )
        )
        for mask in (ground_truth, prediction)
    ]
    panels = [shown]
    for mask in masks:
        colors = colorize(mask, labels, colorblind)
        if colorblind:
            colors[contour(mask)] = CONTOUR
        panels.append(Image.fromarray(colors))
    # Dimmed, and far from white and black, so that the others stand out.
    grey = shown.convert("L").point(lambda value: round(40 + 0.45 * value))
    error = np.array(grey.convert("RGB"))
    error[masks[0] != masks[1]] = WRONG
    error[masks[0] == labels.ignore_label] = IGNORED
    return [*panels, Image.fromarray(error)]


def _scores(
    ground_truth: np.ndarray, prediction: np.ndarray, labels: LabelSet
) -> str:
    """The caption of one image: mean IoU and accuracy."""
    valid = ground_truth != labels.ignore_label
    if not valid.any():
        return "no ground truth"
    actual, predicted = ground_truth[valid], prediction[valid]
    right = actual == predicted
    # A prediction may hold ignored pixels: wrong, and of no class.
    classes = np.setdiff1d(np.union1d(actual, predicted), labels.ignore_label)
    mean_iou = np.mean(
        [
            (right & (actual == each)).sum()
            / ((actual == each) | (predicted == each)).sum()
            for each in classes
        ]
    )
    return f"mIoU {mean_iou:.2f}   accuracy {right.mean():.1%}"
