"""Curves of a training run: loss, mean IoU and learning rate over steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from keras_pspnet.visualization.legend import Entry, font_of, legend, stack

_PAPER = (255, 255, 255)
_TEXT = (32, 33, 36)
_GRID = (224, 226, 229)
# Apart from each other for colour-blind people, too (Okabe and Ito).
_COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115))

_WIDTH, _HEIGHT = 960, 260
_LEFT, _RIGHT, _BOTTOM = 84, 48, 34
_SIZE = 18
# Drawn larger, then shrunk: Pillow's lines have hard edges.
_FINE = 3

# Title -> columns of a history, by what the legend calls them. With one
# output, Keras leaves the name of the output out.
_PANELS: dict[str, dict[str, tuple[str, ...]]] = {
    "loss": {
        "weighted sum": ("loss",),
        "main": ("main_loss",),
        "auxiliary": ("aux_loss",),
    },
    "mean IoU": {
        "training crops": ("main_mean_iou", "mean_iou"),
        "validation": ("val_mean_iou",),
    },
    "learning rate": {"learning rate": ("learning_rate",)},
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values to pixels.

    Args:
        low: The value at `start`.
        high: The value at `end`.
        start: Pixel.
        end: Pixel.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def training_curves(rows: Sequence[Mapping[str, float]]) -> Image.Image:
    """Draws the curves of a run.

    Args:
        rows: Of a history, see `keras_pspnet.history.read_history`. A curve
            without values is left out.

    Returns:
        An RGB picture, 960 pixels wide.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("`rows` must hold at least one row. Received: rows=[]")
    steps = max(row["step"] for row in rows)
    panels: list[Image.Image] = []
    for title, curves in _PANELS.items():
        found = {
            name: points
            for name, columns in curves.items()
            if (points := _points(rows, columns))
        }
        if len(found) == 1 and title == "loss":
            # There is no other that it would be the sum with.
            found = {"loss": next(iter(found.values()))}
        if found:
            panels += _panel(title, found, steps)
    return stack(panels, _WIDTH)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Finds round numbers in a range, to be marked on an axis.

    Args:
        low: Least value.
        high: Greatest value, above `low`.
        count: About how many.

    Returns:
        Multiples of 1, 2 or 5 times a power of ten, in rising order.
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(
        factor * power for factor in (1, 2, 5, 10) if factor * power >= rough
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _points(
    rows: Sequence[Mapping[str, float]], columns: tuple[str, ...]
) -> list[tuple[float, float]]:
    return [
        (row["step"], row[column])
        for column in columns
        for row in rows
        if math.isfinite(row.get(column, math.nan))
    ]


def _panel(
    title: str, curves: Mapping[str, list[tuple[float, float]]], steps: float
) -> list[Image.Image]:
    """Draws one pair of axes with its title and legend above."""
    values = [value for points in curves.values() for _, value in points]
    x = Scale(0.0, steps, _LEFT, _WIDTH - _RIGHT)
    # From 0, so that heights can be compared.
    low, high = min(0.0, *values), max(0.0, *values)
    high = high if high > low else low + 1.0
    y = Scale(low, 1.06 * high, _HEIGHT - _BOTTOM, _SIZE / 2)
    plot = _plot(curves, x, y)
    draw = ImageDraw.Draw(plot)
    font = font_of(_SIZE)
    for value in ticks(low, high):
        place = x.start - 8, y(value)
        draw.text(place, f"{value:g}", _TEXT, font, "rm")
    draw.text((x.start - 8, y.start + 8), "step", _TEXT, font, "rt")
    for step in ticks(0, steps):
        place = x(step), y.start + 8
        draw.text(place, f"{step:,g}", _TEXT, font, "mt")
    heading = Image.new("RGB", (_WIDTH, 2 * _SIZE), _PAPER)
    ImageDraw.Draw(heading).text(
        (_SIZE, 1.2 * _SIZE), title, _TEXT, font_of(1.3 * _SIZE), "lm"
    )
    panels = [heading]
    if len(curves) > 1:
        entries = [
            Entry(name, color)
            for name, color in zip(curves, _COLORS, strict=False)
        ]
        panels.append(legend(entries, _WIDTH, _SIZE))
    return [*panels, plot]


def _plot(
    curves: Mapping[str, list[tuple[float, float]]], x: Scale, y: Scale
) -> Image.Image:
    """Draws grid and curves, without any text."""
    plot = Image.new("RGB", (_FINE * _WIDTH, _FINE * _HEIGHT), _PAPER)
    draw = ImageDraw.Draw(plot)

    def fine(*pixels: float) -> list[float]:
        return [_FINE * pixel for pixel in pixels]

    for value in ticks(y.low, y.high / 1.06):
        line = fine(x.start, y(value), x.end, y(value))
        draw.line(line, _GRID, _FINE)
    for step in ticks(x.low, x.high):
        line = fine(x(step), y.start, x(step), y.start + 5)
        draw.line(line, _TEXT, _FINE)
    draw.line(fine(x.start, y.start, x.end, y.start), _TEXT, _FINE)
    for (_, points), color in zip(curves.items(), _COLORS, strict=False):
        path = [tuple(fine(x(step), y(value))) for step, value in points]
        if len(path) > 1:
            draw.line(path, color, 2 * _FINE, "curve")
        # Single points of a long run would hide each other.
        radius = _dot(len(path)) * _FINE
        for left, top in path:
            draw.circle((left, top), radius, color)
    return plot.resize((_WIDTH, _HEIGHT), Image.Resampling.BOX)


def _dot(count: int) -> float:
    """The radius of the dots, in pixels, smaller the more there are."""
    return float(np.clip(120 / count, 1, 4))
