"""Bilinear resizing of images and scores, in parts if needed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

# A range of rows or columns: the first, and the one after the last.
Span = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Axis:
    """Bilinear resizing along one axis, in parts if needed.

    Args:
        size: Number of samples.
        out_size: Number of samples after resizing.
        align_corners: True aligns the first and last samples before and after
            resizing, False uses half-pixel centers.
    """

    size: int
    out_size: int
    align_corners: bool = False

    def needed(self, first: int, last: int) -> Span:
        """Returns the samples that a range of resized samples depends on.

        Args:
            first: First resized sample of the range.
            last: The one after the last.

        Returns:
            The first sample needed, and the one after the last.
        """
        if self.size == self.out_size:
            return first, last
        # Before its center, only the first sample counts.
        low = math.floor(max(self._where(first), 0))
        high = math.floor(max(self._where(last - 1), 0)) + 2
        return low, min(high, self.size)

    def resize(
        self, samples: np.ndarray, axis: int, first: int, last: int
    ) -> np.ndarray:
        """Computes a range of resized samples.

        Args:
            samples: float32; along the axis, the samples of `needed`.
            axis: The axis, 0 or 1.
            first: First resized sample of the range.
            last: The one after the last.

        Returns:
            float32, `last - first` samples along the axis.
        """
        if self.size == self.out_size:
            return samples
        where = np.clip(self._where(np.arange(first, last)), 0, self.size - 1)
        before = where.astype("int64")
        after = np.minimum(before + 1, self.size - 1)
        weight = (where - before).astype("float32")
        weight = weight.reshape([-1] + [1] * (samples.ndim - 1 - axis))
        low = self.needed(first, last)[0]
        result = np.take(samples, before - low, axis)
        difference = np.take(samples, after - low, axis)
        difference -= result
        difference *= weight
        result += difference
        return result

    def _where(self, index: Any) -> Any:
        if self.align_corners:
            return index * ((self.size - 1) / max(self.out_size - 1, 1))
        return (index + 0.5) * (self.size / self.out_size) - 0.5


def axes_of(
    size: tuple[int, ...],
    out_size: tuple[int, ...],
    align_corners: bool = False,
) -> tuple[Axis, Axis]:
    """Returns the axes that resize height and width.

    Args:
        size: (height, width).
        out_size: (height, width) after resizing.
        align_corners: As in `Axis`.
    """
    return (
        Axis(size[0], out_size[0], align_corners),
        Axis(size[1], out_size[1], align_corners),
    )


def resize(
    image: np.ndarray,
    size: tuple[int, ...],
    rows: Span | None = None,
    columns: Span | None = None,
    align_corners: bool = False,
) -> np.ndarray:
    """Resizes an image or scores, bilinear without antialiasing.

    Args:
        image: (h, w, C).
        size: (height, width).
        rows: Rows of the result to compute, None for all.
        columns: Columns of the result, likewise.
        align_corners: As in `Axis`.

    Returns:
        float32 (rows, columns, C); not a copy if the size is the same.
    """
    down, across = axes_of(image.shape[:2], size, align_corners)
    rows, columns = rows or (0, size[0]), columns or (0, size[1])
    above, below = down.needed(*rows)
    before, after = across.needed(*columns)
    part = np.asarray(image[above:below, before:after], "float32")
    return across.resize(down.resize(part, 0, *rows), 1, *columns)


def split(size: int, step: int) -> tuple[Span, ...]:
    """Cuts 0..size into parts of equal length; the last may be shorter.

    Args:
        size: Length to cut.
        step: Length of the parts.
    """
    return tuple(
        (first, min(first + step, size)) for first in range(0, size, step)
    )
