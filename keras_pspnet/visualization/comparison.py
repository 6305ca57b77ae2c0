"""Sheets of pictures, their truth, what was predicted, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

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
    Entry,
    cell_size,
    fitting_size,
    legend,
    stack,
    table,
    text_size,
)

_HATCH = (96, 96, 96)


def comparison_sheet(
    images: Sequence[np.ndarray] | np.ndarray,
    ground_truths: Sequence[np.ndarray] | np.ndarray,
    predictions: Sequence[np.ndarray] | np.ndarray,
    labels: LabelSet,
    max_rows: int = 8,
    colorblind: bool = False,
) -> Image.Image:
    """Lays out rows of picture, truth, prediction and error above a legend.

    The error shows wrong pixels in one strong colour on the dimmed picture,
    and pixels without truth hatched. Below it stand the mean IoU over the
    classes in truth or prediction, and the share of right pixels, both of
    this picture alone.

    Args:
        images: Pictures, each uint8 of shape `(H, W, 3)`; sizes may differ,
            and the first one sets the shape of the cells.
        ground_truths: One integer mask `(H, W)` per picture; ignored pixels are
            black.
        predictions: One integer mask `(H, W)` per picture.
        labels: Classes and colours.
        max_rows: Show at most this many of the pictures, the first ones.
        colorblind: Whether to draw for colour-blind people: in the colours
            of `colorize` for them, with lines between the classes.

    Returns:
        An RGB picture.

    Raises:
        TypeError: If an array has another dtype.
        ValueError: If there are no pictures, the counts differ, a mask has
            another size than its picture or a value unknown to `labels`, or
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
    rows = range(min(counts[0], max_rows))
    present: set[int] = set()
    for row in rows:
        check_image(images[row])
        for name, mask in (
            ("truths", ground_truths[row]),
            ("predictions", predictions[row]),
        ):
            check_mask(mask, labels, name)
            check_same_size(images[row], mask, name)
            present.update(np.unique(mask).tolist())
    cell = cell_size(*images[0].shape[:2])
    cells = table(
        ("picture", "truth", "prediction", "error"),
        [
            _panels(
                images[row],
                ground_truths[row],
                predictions[row],
                labels,
                cell,
                colorblind,
            )
            for row in rows
        ],
        [_scores(ground_truths[row], predictions[row], labels) for row in rows],
        cell,
    )
    colors = class_colors(labels, colorblind).tolist()
    entries = [
        Entry(labels.names[index], tuple(colors[index]))
        for index in sorted(present - {labels.ignore_label})
    ]
    if labels.ignore_label in present:
        entries.append(Entry("ignored", IGNORED))
    entries.append(Entry("wrong", WRONG))
    size = text_size(cells.width)
    return stack([cells, legend(entries, cells.width, size)], cells.width)


def _panels(
    image: np.ndarray,
    ground_truth: np.ndarray,
    prediction: np.ndarray,
    labels: LabelSet,
    cell: tuple[int, int],
    colorblind: bool,
) -> list[Image.Image]:
    """Draws one row of a sheet, each picture to fit into a cell."""
    height, width = ground_truth.shape
    size = fitting_size(height, width, cell)
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    panels = [picture]
    # Classes must not mix at the borders of objects.
    masks = [
        np.asarray(
            Image.fromarray(mask.astype(np.uint8)).resize(
                size, Image.Resampling.NEAREST
            )
        )
        for mask in (ground_truth, prediction)
    ]
    for mask in masks:
        colors = colorize(mask, labels, colorblind)
        if colorblind:
            colors[contour(mask)] = CONTOUR
        panels.append(Image.fromarray(colors))
    # Dimmed, and far from white, so that what is wrong stands out.
    grey = 40 + 0.45 * np.asarray(picture.convert("L"), np.float32)
    error = np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=-1)
    error[masks[0] != masks[1]] = WRONG
    ignored = masks[0] == labels.ignore_label
    error[ignored] = IGNORED
    error[ignored & (np.indices(ignored.shape).sum(0) % 8 < 2)] = _HATCH
    return [*panels, Image.fromarray(error)]


def _scores(
    ground_truth: np.ndarray, prediction: np.ndarray, labels: LabelSet
) -> str:
    """The caption of one picture: mean IoU and accuracy."""
    valid = ground_truth != labels.ignore_label
    if not valid.any():
        return "no truth"
    right = valid & (ground_truth == prediction)
    # A prediction may hold ignored pixels: wrong, and of no class.
    inter, actual, predicted = (
        np.bincount(classes, minlength=256)[: labels.num_classes]
        for classes in (
            ground_truth[right],
            ground_truth[valid],
            prediction[valid],
        )
    )
    union = actual + predicted - inter
    seen = union > 0
    mean_iou = np.mean(inter[seen] / union[seen])
    accuracy = right.sum() / valid.sum()
    return f"mIoU {mean_iou:.2f}   accuracy {accuracy:.1%}"
