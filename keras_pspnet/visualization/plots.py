"""Plots training curves and confusion matrices."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_pspnet.labels import LabelSet
from keras_pspnet.visualization.legend import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

_DPI = 100
# Colors that color-blind people can tell apart (Okabe and Ito).
COLORS = ("#0072b2", "#d55e00", "#009e73")
_INK, _GRID = "#202124", "#bdc1c6"
_UNSEEN = "#dadce0"
# Title and name of a curve -> columns of a history. With a single output,
# Keras omits its name.
_CURVES = {
    ("loss", "weighted sum"): ("loss",),
    ("loss", "main"): ("main_loss",),
    ("loss", "auxiliary"): ("aux_loss",),
    ("mean IoU", "training crops"): ("main_mean_iou", "mean_iou"),
    ("mean IoU", "validation"): ("val_mean_iou",),
    ("learning rate", "learning rate"): ("learning_rate",),
}
# Largest and smallest side of a cell of the matrix, in pixels.
_LARGEST_CELL, _SMALLEST_CELL = 72, 16


def training_curves(rows: Sequence[Mapping[str, float]]) -> Image.Image:
    """Plots loss, mean IoU and learning rate over the steps of a run.

    Args:
        rows: Rows of a history, see `keras_pspnet.callbacks.read_history`.
            Curves without values are left out.

    Returns:
        An RGB image, 960 pixels wide.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("`rows` must hold at least one row. Received: rows=[]")
    panels = _panels(rows)
    figure = new_figure(960, 280 * max(len(panels), 1))
    figure.set_layout_engine("constrained")
    steps = max(row["step"] for row in rows)
    axes = figure.subplots(max(len(panels), 1), squeeze=False)[:, 0]
    for plot, (title, curves) in zip(axes, panels.items(), strict=False):
        for (name, points), color in zip(curves.items(), COLORS, strict=False):
            # Markers would hide each other in a long run.
            marker = "o" if len(points) < 60 else None
            plot.plot(
                *zip(*points, strict=True),
                color,
                label=name,
                marker=marker,
                # Draw over the axis if the curve touches it.
                clip_on=False,
                zorder=3,
            )
        plot.set_title(title, loc="left")
        plot.set_xlabel("step")
        plot.set_xlim(0, 1.02 * steps)
        # Start at 0, so that heights can be compared.
        plot.set_ylim(min(plot.dataLim.ymin, 0), max(plot.get_ylim()[1], 0))
        plot.xaxis.set_major_formatter("{x:,.0f}")
        plot.grid(axis="y", color=_GRID, alpha=0.5)
        plot.spines[["top", "right"]].set_visible(False)
        if len(curves) > 1:
            plot.legend(frameon=False)
    return to_image(figure)


def confusion_plot(
    confusion: np.ndarray, labels: LabelSet, title: str = ""
) -> Image.Image:
    """Plots a confusion matrix, normalized over each true class.

    Rows are true classes, columns are predicted ones. The color of a cell
    shows its share of the row; the diagonal is the recall. Colors follow the
    square root of the share, so that small shares are visible. Cells that are
    large enough also show the percentage. Rows of classes without pixels are
    gray.

    Args:
        confusion: Pixel counts, integers `(classes, classes)`.
        labels: Names of the classes.
        title: Text above the matrix.

    Returns:
        An RGB image. The matrix is about 1000 pixels wide for up to 60
        classes, and 16 pixels a class for more.
    """
    from matplotlib.colors import PowerNorm

    count = labels.num_classes
    # For one or two classes, make cells as large as the axis labels need.
    largest = max(_LARGEST_CELL, 200 // count)
    cell = min(max(round(1000 / count), _SMALLEST_CELL), largest)
    total = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(
        confusion, total, out=np.full((count, count), np.nan), where=total > 0
    )
    figure = new_figure(count * cell, count * cell)
    # Fill the figure; names and title lie outside of it.
    plot = figure.add_axes((0, 0, 1, 1), facecolor=_UNSEEN)
    plot.imshow(shares, "Blues", PowerNorm(0.5, 0, 1))
    _name_classes(plot, labels.names, min(max(0.55 * cell, 8), 11))
    plot.set_xlabel("predicted class")
    plot.set_ylabel("true class (gray: no pixels)")
    plot.set_title(title, loc="left", pad=12)
    with warnings.catch_warnings():
        # Names in scripts that the font does not have are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        # Measured before thousands of numbers, which are inside, slow it down.
        box = figure.get_tightbbox().padded(0.1)
        if cell >= 24:
            _write_percentages(plot, shares)
        return to_image(figure, box)


def new_figure(width: int, height: int) -> Figure:
    """Makes a figure of a size in pixels, outside of the user's pyplot."""
    from matplotlib.figure import Figure

    return Figure((width / _DPI, height / _DPI), dpi=_DPI)


def to_image(figure: Figure, box: Bbox | None = None) -> Image.Image:
    """Renders a figure, or a box around it in inches, as an RGB image."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, bbox_inches=box)
    with Image.open(stream) as image:
        return image.convert("RGB")


def _panels(
    rows: Sequence[Mapping[str, float]],
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Returns title -> name of a curve -> (step, value), without empty ones."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (title, name), columns in _CURVES.items():
        points = [
            (row["step"], row[column])
            for column in columns
            for row in rows
            if math.isfinite(row.get(column, math.nan))
        ]
        if points:
            panels.setdefault(title, {})[name] = points
    return panels


def _write_percentages(plot: Axes, shares: np.ndarray) -> None:
    for row, column in np.argwhere(shares >= 0.0005):
        share = shares[row, column]
        plot.text(
            column,
            row,
            f"{100 * share:.1f}",
            ha="center",
            va="center",
            color="white" if share > 0.3 else _INK,
            fontsize=8,
        )


def _name_classes(plot: Axes, names: Sequence[str], size: float) -> None:
    shown = [shorten(name) for name in names]
    # A class name may look like a math formula.
    style: dict[str, Any] = {"fontsize": size, "parse_math": False}
    plot.set_xticks(range(len(names)), shown, rotation=90, **style)
    plot.set_yticks(range(len(names)), shown, **style)
    plot.tick_params(length=0, labeltop=True, labelbottom=False)
